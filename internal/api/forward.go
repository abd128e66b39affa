package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/downstream"
	"middletier/internal/obo"
	"middletier/internal/problem"
	"middletier/internal/validate"
)

// route is one of the two routes to an API. The kind of the token decides which one is
// right; the error for the wrong one names the other.
type route struct {
	prefix string
	app    bool
}

var (
	userRoute = route{"/api/", false}
	appRoute  = route{"/app/", true}
)

var (
	errUserOnApp = problem.New("wrong-token-type", "The token is for a user. Calls on behalf of a user go to /api/{name}/.")
	errAppOnly   = problem.New("wrong-token-type", "This API is called as the application only. Calls without a user go to /app/{name}/.")
	errAgentOnly = problem.New("wrong-token-type", "This API is called as an agent's user only. Calls without a user go to /app/{name}/.")
)

// forward sends a call to {prefix}{name}/{path…} on to the API, with a token for it, and
// passes the API's answer back.
func (s *Server) forward(route route) echo.HandlerFunc {
	prefix := s.config.BasePath + route.prefix
	label := routeName(prefix + "*") // made once
	locations := map[string]apiLocation{}
	for name := range s.config.APIs {
		locations[name] = apiLocation{prefix + name, func(r *http.Request) string { return s.baseURL(r) + route.prefix + name }}
	}
	return func(c echo.Context) error {
		r := c.Request()
		event := door.EventOf(r)
		name, path, err := splitTarget(door.RawPath(r), prefix)
		if err != nil {
			return err
		}
		api, ok := s.config.APIs[name]
		if !ok {
			return problem.ErrUnknownAPI
		}
		event.API, event.Route = name, label
		target, err := permit(r, event.Caller, api, route, path)
		if err != nil {
			return err
		}
		inspect, err := api.inspect(r, event.Caller, target)
		if err != nil {
			return err
		}
		event.Forwarded = true
		location := locations[name]
		call := downstream.Call{
			Path: target, Token: s.tokenFor(event, api, route), RequestID: event.ID, Forwarded: s.proxies.Client(r),
			Prefix: location.path, PublicURL: location.url, PublicURLVaries: s.config.PublicURL == "",
			Private: route == sessionRoute, Truncated: &event.AnswerErr, Inspect: inspect,
		}
		if isHandshake(r) {
			return s.forwardWebSocket(c, api, route, call)
		}
		err = api.Client.Forward(c.Response(), r, call)
		if err == nil {
			passTrial(event)
		}
		return err
	}
}

// passTrial ends the trial of the call's token, if there is one: any answer but 401 came.
func passTrial(event *door.Event) {
	if event.Trial != nil {
		event.Trial.Passed()
	}
}

// permit returns the path of a call if the caller may make it: the token is of the route's
// kind, path and query are well formed, and the API's access rule allows the method.
func permit(r *http.Request, caller *validate.Caller, api API, route route, path string) (downstream.Path, error) {
	if caller.IsApp() != route.app {
		if route.app {
			return downstream.Path{}, errUserOnApp
		}
		return downstream.Path{}, problem.ErrAppOnUser
	}
	if api.Agent.User != "" && !route.app {
		return downstream.Path{}, errAgentOnly
	}
	if api.AppOnly && !route.app {
		return downstream.Path{}, errAppOnly
	}
	target, err := api.Client.ParsePath(path)
	if err != nil {
		return downstream.Path{}, err
	}
	if err := downstream.CheckQuery(r.URL.RawQuery); err != nil {
		return downstream.Path{}, err
	}
	if err := api.checkAccess(caller, r.Method, target.Decoded()); err != nil {
		return downstream.Path{}, err
	}
	for _, method := range overridingMethods(r.Header) { // the API may use this method instead
		if err := api.checkAccess(caller, method, target.Decoded()); err != nil {
			return downstream.Path{}, err
		}
	}
	return target, nil
}

// apiLocation is the path and the URL of an API on one of its routes. It is made once.
type apiLocation struct {
	path string
	url  func(r *http.Request) string
}

// splitTarget splits an escaped path into the API's name and the rest. The rest begins
// with a slash or is empty.
func splitTarget(escaped, prefix string) (name, path string, err error) {
	rest, ok := strings.CutPrefix(escaped, prefix)
	if !ok {
		return "", "", problem.ErrUnknownAPI
	}
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[:i], rest[i:], nil
	}
	return rest, "", nil
}

// tokenFor returns the source of tokens for a call: an exchange of the caller's token, or
// client credentials.
func (s *Server) tokenFor(event *door.Event, api API, route route) downstream.TokenFunc {
	return func(ctx context.Context, rejected downstream.Rejection) (string, error) {
		token, err := s.door.GetToken(ctx, event, func(ctx context.Context) (obo.Flow, obo.Token, error) {
			return s.fetchToken(ctx, event.Caller, api, route, obo.Challenge{RejectedToken: rejected.Token, Claims: rejected.Claims})
		})
		return token.Value, err
	}
}

// fetchToken gets the token for a call, by the flow that it returns.
func (s *Server) fetchToken(
	ctx context.Context, caller *validate.Caller, api API, route route, challenge obo.Challenge,
) (flow obo.Flow, t obo.Token, err error) {
	switch {
	case api.Agent.ID != "":
		r := obo.Request{Agent: api.Agent, Tenant: api.Tenant, Scopes: []string{api.AppScope}, Challenge: challenge}
		switch {
		case !route.app:
			user := door.AssertionOf(caller)
			r.User, r.Tenant, r.Scopes = &user, "", api.Scopes
		case api.Agent.User != "":
			r.Scopes = api.Scopes
		}
		t, err = s.config.Tokens.Token(ctx, r)
		return r.Flow(), t, err
	case route.app:
		t, err = s.config.Tokens.ForApp(ctx, api.Tenant, api.AppScope, challenge)
		return obo.ClientCredentials, t, err
	}
	t, err = s.config.Tokens.OnBehalfOf(ctx, door.AssertionOf(caller), api.Scopes, challenge)
	return obo.OnBehalfOf, t, err
}
