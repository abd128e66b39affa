package sidecar

import (
	"cmp"
	"maps"
	"net/http"
	"strings"

	"middletier/internal/door"
	"middletier/internal/obo"
	"middletier/internal/problem"
)

// options are what one request asks for: the settings of its API, with what the query
// changes. Requests may share them, so nobody changes them: see plainOptions.
type options struct {
	*API
	override *overrides
}

// plainOptions are the options of all requests for one API without a query.
type plainOptions struct {
	name    string // of the API, as configured
	options options
	err     error // the API has no scopes
}

// newPlainOptions returns those of all APIs, by name as in apis.
func newPlainOptions(apis map[string]API) map[string]plainOptions {
	plain := make(map[string]plainOptions, len(apis))
	for name, api := range apis {
		o, err := newOptions(api, overrides{})
		plain[name] = plainOptions{api.Name, o, err}
	}
	return plain
}

var (
	errAgentGate = invalid("Agent parameters are not accepted on this route: sidecar.allowOverrides is false for it. " +
		"Without them the token would be another identity's.")
	errSessionGate = invalid("Keys of long-running sessions are not accepted on this route: sidecar.allowOverrides is false for it.")
)

// readOptions reads what r asks for of the API called name. Parameters count if open, the
// gate of the route, is true. bare: an API that is not configured is known by the scopes
// of the query.
func (s *Server) readOptions(r *http.Request, name string, open, bare bool) (options, error) {
	event := door.EventOf(r)
	name = strings.ToLower(name)
	if r.URL.RawQuery == "" {
		plain, known := s.plain[name]
		if !known {
			return options{}, problem.ErrUnknownAPI
		}
		event.API = plain.name
		return plain.options, plain.err
	}
	api, known := s.config.APIs[name]
	event.API = api.Name
	q, err := readQuery(r.URL.RawQuery)
	if err != nil {
		return options{}, err
	}
	if !open {
		if !known {
			return options{}, problem.ErrUnknownAPI
		}
		if err := q.checkClosed(); err != nil {
			return options{}, err
		}
		s.logIgnored(event, q.names(), "overrides are ignored: the gate of this route in sidecar.allowOverrides is closed")
		return newOptions(api, overrides{})
	}
	override, err := q.overrides()
	if err != nil {
		return options{}, err
	}
	agent, given, err := q.agentParameters()
	if err != nil {
		return options{}, err
	}
	if !known && !(bare && len(override.Scopes) > 0) {
		return options{}, problem.ErrUnknownAPI
	}
	if override.RelativePath != "" && api.Client != nil { // also where no call follows: it is the caller's mistake
		if api.path, api.query, err = api.Client.ParseRelative(override.RelativePath); err != nil {
			return options{}, err
		}
	}
	if given {
		api.Agent = agent
	}
	s.logIgnored(event, override.ignored, "overrides are ignored: they never count")
	o, err := newOptions(api, override)
	if err == nil && o.RequestAppToken && override.SessionKey != "" {
		s.logIgnored(event, []string{"AcquireTokenOptions.LongRunningWebApiSessionKey"},
			"overrides are ignored: an application's token has no long-running session")
	}
	return o, err
}

// newOptions returns the settings of api with the override. The API of other requests
// does not change.
func newOptions(api API, o overrides) (options, error) {
	if len(o.Scopes) > 0 {
		api.Scopes, api.AppScope, api.AppScopes = o.Scopes, "", false
		if strings.HasSuffix(o.Scopes[0], "/.default") {
			api.AppScope = o.Scopes[0] // as the application there is one scope, the first
		}
	}
	if len(api.Scopes) == 0 && api.AppScope == "" {
		return options{}, errNoScopes
	}
	api.RequestAppToken = api.RequestAppToken || o.RequestAppToken || len(api.Scopes) == 0 && api.AppScopes
	if len(o.Scopes) > 0 && !api.RequestAppToken && obo.CheckScopes(o.Scopes) != nil {
		return options{}, errScopes
	}
	api.RelativePath = cmp.Or(o.RelativePath, api.RelativePath)
	api.HTTPMethod = cmp.Or(o.HTTPMethod, api.HTTPMethod)
	api.AcceptHeader = cmp.Or(o.AcceptHeader, api.AcceptHeader)
	api.ContentType = cmp.Or(o.ContentType, api.ContentType)
	api.ExtraHeader, api.ExtraQuery = merge(api.ExtraHeader, o.ExtraHeader), merge(api.ExtraQuery, o.ExtraQuery)
	return options{&api, &o}, nil
}

// appByDefault reports whether a request without a user gets the application's token
// without asking for it.
func (o options) appByDefault() bool {
	return o.AppScopes || len(o.Scopes) == 1 && strings.HasSuffix(o.Scopes[0], "/.default")
}

// checkClosed refuses what a closed gate cannot ignore: without it, the request would get
// the token of another identity.
func (q query) checkClosed() error {
	if _, given, _ := q.agentParameters(); given {
		return errAgentGate
	}
	if q.hasSessionKey() {
		return errSessionGate
	}
	return nil
}

// logIgnored says which parameters had no effect. Values are not logged.
func (s *Server) logIgnored(event *door.Event, names []string, message string) {
	if len(names) > 0 {
		s.config.Log.WarnContext(event, message, "overrides", strings.Join(names, ", "), "api", event.API, "requestId", event.ID)
	}
}

// merge returns a map with the entries of both, in which those of changes win.
func merge(settings, changes map[string]string) map[string]string {
	if len(changes) == 0 {
		return settings
	}
	merged := maps.Clone(settings)
	if merged == nil {
		merged = map[string]string{}
	}
	maps.Copy(merged, changes)
	return merged
}
