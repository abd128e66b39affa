package obo

import "context"

// AppToken gets a new token as ourselves, which nothing remembers, for programs
// that need one and end. scope is RESOURCE/.default, tenant "" for our own. The
// error is an *Error, or ctx's.
func (c *Client) AppToken(ctx context.Context, tenant, scope string) (string, error) {
	g, err := c.exchange(ctx, tokenRequest{tenant: tenant, scopes: []string{scope}})
	return g.token, err
}
