package obo

import "context"

// NewToken gets a new token, which nothing remembers, for programs that need one and end.
// r has no user. The error is an *Error, or ctx's.
func (c *Client) NewToken(ctx context.Context, r Request) (string, error) {
	request := tokenRequest{agent: r.Agent, tenant: r.Tenant, scopes: r.Scopes, fmiPath: r.FMIPath}
	vouching := tokenRequest{tenant: r.Tenant, scopes: []string{c.exchangeScope()}, fmiPath: r.Agent.ID}
	if r.Agent.ID != "" {
		g, err := c.exchange(ctx, vouching)
		if err != nil {
			return "", vouchingError(err, r.Agent, "the blueprint", r.Scopes)
		}
		request.vouchers.agent = g.token
	}
	if r.Flow() == AgentUser {
		vouching.agent, vouching.fmiPath, vouching.vouchers = Agent{ID: r.Agent.ID}, "", request.vouchers
		g, err := c.exchange(ctx, vouching)
		if err != nil {
			return "", vouchingError(err, r.Agent, "the agent", r.Scopes)
		}
		request.vouchers.user = g.token
	}
	g, err := c.exchange(ctx, request)
	return g.token, err
}
