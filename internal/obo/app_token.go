package obo

import "context"

// AppToken gets a new token as ourselves, which nothing remembers, for programs
// that need one and end. scope is RESOURCE/.default. The error is an *Error.
func (c *Client) AppToken(ctx context.Context, scope string) (string, error) {
	g, err := c.ForApp(ctx, scope)
	return g.token, err
}
