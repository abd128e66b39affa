package sidecar

import (
	"cmp"
	"net/url"
	"slices"
	"strings"

	"middletier/internal/obo"
	"middletier/internal/validate"
)

var (
	errTargetMissing = invalidForm("audience, resource or scope must name an API.")
	errTarget        = &oauthError{
		"invalid_target", "audience and resource must name one API of this service: by its name, base URL or App ID URI.",
	}
	errKindOfToken = &oauthError{"invalid_target", "The API is not configured for tokens of this kind."}
	errAmbiguous   = &oauthError{"invalid_target", "The request matches more than one API: name it in audience, as it is configured."}
	errScope       = &oauthError{"invalid_scope", "scope must be scopes that are configured for one API of this service."}
)

// target is an API that may be meant, with the scopes of the token.
type target struct {
	API
	scopes []string
	app    bool // the token is the application's
}

// target returns what a request asks for. caller is nil for a token as the application,
// client for the application beside this service. Only what is configured can be had.
func (s *Server) target(form form, caller *validate.Caller, client *TokenClient) (options, error) {
	scopes, err := form.scopes()
	if err != nil {
		return options{}, err
	}
	names, err := form.targets()
	if err != nil {
		return options{}, err
	}
	if len(names)+len(scopes) == 0 {
		return options{}, errTargetMissing
	}
	found := s.targets(caller, client)
	for _, name := range names {
		if found = named(found, name); len(found) == 0 {
			return options{}, errTarget
		}
	}
	if caller != nil && !caller.IsApp() && slices.ContainsFunc(found, target.forUsers) {
		found = slices.DeleteFunc(found, func(t target) bool { return !t.forUsers() }) // of two for one resource, the one for users
	}
	found = slices.DeleteFunc(found, func(t target) bool { return len(t.scopes) == 0 })
	if len(found) == 0 {
		return options{}, errKindOfToken
	}
	var matching []target
	for _, t := range found {
		if t.narrow(scopes) {
			matching = append(matching, t)
		}
	}
	if len(matching) == 0 {
		return options{}, errScope
	}
	if slices.ContainsFunc(matching, target.withoutAgent) { // an agent is meant if its API is named alone
		matching = slices.DeleteFunc(matching, func(t target) bool { return !t.withoutAgent() })
	}
	for _, other := range matching[1:] {
		if !matching[0].sameToken(other) {
			return options{}, errAmbiguous
		}
	}
	return matching[0].options()
}

// targets returns the APIs for which client gets tokens, in the order of their names.
func (s *Server) targets(caller *validate.Caller, client *TokenClient) []target {
	var targets []target
	for name, api := range s.config.APIs {
		if client != nil && !slices.ContainsFunc(client.APIs, func(own string) bool { return strings.EqualFold(own, name) }) {
			continue
		}
		api.RequestAppToken = api.RequestAppToken || caller == nil
		t := target{API: api, scopes: api.Scopes}
		if t.app = api.RequestAppToken || caller.IsApp() || len(api.Scopes) == 0; t.app {
			t.scopes = nil
			if api.AppScope != "" {
				t.scopes = []string{api.AppScope}
			}
		}
		targets = append(targets, t)
	}
	slices.SortFunc(targets, func(a, b target) int { return cmp.Compare(a.Name, b.Name) })
	return targets
}

func (t target) forUsers() bool { return !t.app }

func (t target) withoutAgent() bool { return t.Agent == obo.Agent{} }

// named returns those of targets that a request calls name: by their own name, else by
// their base URL or resource.
func named(targets []target, name string) []target {
	for _, is := range []func(target) bool{
		func(t target) bool { return strings.EqualFold(t.Name, name) },
		func(t target) bool { return t.BaseURL != "" && sameURL(t.BaseURL, name) },
		func(t target) bool { return t.isResource(name) },
	} {
		found := slices.DeleteFunc(slices.Clone(targets), func(t target) bool { return !is(t) })
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// isResource reports whether name is the App ID URI, or the client ID, of the resource
// with which the scopes begin. One slash at the end makes no difference.
func (t target) isResource(name string) bool {
	resource := strings.TrimSuffix(strings.TrimSuffix(obo.AppScope(t.scopes), "/.default"), "/")
	return resource != "" && strings.EqualFold(resource, strings.TrimSuffix(name, "/"))
}

// narrow leaves those scopes that are asked for, all if none are. It reports whether t has
// all of them. A short name is that of a scope without its resource.
func (t *target) narrow(asked []string) bool {
	if len(asked) == 0 {
		return true
	}
	var scopes []string
	for _, scope := range t.scopes {
		if slices.ContainsFunc(asked, func(name string) bool { return isScope(scope, name) }) {
			scopes = append(scopes, scope)
		}
	}
	for _, name := range asked {
		if !slices.ContainsFunc(t.scopes, func(scope string) bool { return isScope(scope, name) }) {
			return false
		}
	}
	t.scopes = scopes
	return true
}

func isScope(scope, name string) bool {
	return scope == name || !strings.Contains(name, "/") && strings.HasSuffix(scope, "/"+name)
}

// sameToken reports whether the tokens for two APIs are the same, whichever is meant.
func (t target) sameToken(u target) bool {
	return slices.Equal(t.scopes, u.scopes) && t.app == u.app && t.Tenant == u.Tenant && t.Agent == u.Agent
}

// options returns the settings of the API, with the scopes of t.
func (t target) options() (options, error) {
	if !t.app {
		t.Scopes = t.scopes
	}
	return newOptions(t.API, overrides{})
}

// sameURL compares URLs by what they mean (RFC 3986, section 6.2): letters of scheme and
// host in any case, a default port, one slash at the end.
func sameURL(a, b string) bool {
	x, y := normalURL(a), normalURL(b)
	return x == y && x != ""
}

// normalURL returns one spelling of a URL, "" for what is none.
func normalURL(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return ""
	}
	port := cmp.Or(u.Port(), map[string]string{"http": "80", "h2c": "80", "https": "443"}[u.Scheme])
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port + strings.TrimSuffix(u.EscapedPath(), "/")
}
