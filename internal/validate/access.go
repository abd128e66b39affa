package validate

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Rule says what a caller's token must hold for the requests it matches, or which
// application it must come from.
type Rule struct {
	Methods        []string `yaml:"methods" doc:"HTTP methods that the rule is for; empty: all." example:"[GET, HEAD] | [POST, PUT, PATCH, DELETE]"`
	Paths          []string `yaml:"paths" doc:"Paths that the rule is for: * is one segment or a part of one, ** any number; empty: /**." details:"Paths that an API may read as other ones are refused; those that differ in case only must be allowed in both." example:"[\"/**\"]"`
	Scopes         []string `yaml:"scopes" doc:"Delegated scopes of which a user's token must hold one; empty: users are refused." details:"A challenge names the first one: list the least first." example:"[ToDoList.Read, ToDoList.ReadWrite] | [ToDoList.ReadWrite]"`
	AppPermissions []string `yaml:"appPermissions" doc:"App permissions (roles) of which an app-only token must hold one; empty: applications are refused, but for clients." example:"[ToDoList.Read.All, ToDoList.ReadWrite.All] | [ToDoList.ReadWrite.All]"`
	Clients        []string `yaml:"clients" doc:"Client IDs of applications that need no app permission on /app; others still do." details:"Their tokens must be app-only: azp or appid, no scp, and idtyp app or the same oid and sub. A list restricts nobody: that is azureAd.allowedClients."`
}

// Access decides by method and path what a caller may do. The first rule that
// matches decides. If none matches, the request is refused.
type Access struct {
	rules   []rule
	allow   []string // methods that the rules name, sorted; nil: all
	clients []string // applications that the rules name, in lower case
	paths   bool     // a rule depends on the path
	folds   bool     // a rule has a path that folding changes
}

type rule struct {
	Rule
	patterns [][]string // segments of the paths
	folded   [][]string // segments of the folded paths
}

// AccessError is a refusal by Access. Either Allow or Needed may be set. If neither is,
// no caller of this kind, user or application, can be allowed the request: there are no
// rules, none matches, or the one that matches names nothing for callers of this kind.
type AccessError struct {
	Allow  []string // the methods of the API, if no rule names the request's
	Needed []string // the scopes or app permissions of which the caller needs one
}

func (e *AccessError) Error() string {
	switch {
	case e.Allow != nil:
		return "no access rule names the method"
	case len(e.Needed) > 0:
		return fmt.Sprintf("the token has none of %s", strings.Join(e.Needed, ", "))
	}
	return "no access rule allows the request"
}

// NewAccess compiles rules. It reports every mistake by its key, relative to the
// list of rules.
func NewAccess(rules []Rule, report func(key, problem string)) *Access {
	a := &Access{}
	all := len(rules) == 0
	for i, r := range rules {
		compiled := rule{Rule: r}
		for j, path := range r.Paths {
			pattern, err := parsePattern(path)
			if err != nil {
				report(fmt.Sprintf("[%d].paths[%d]", i, j), err.Error())
			}
			folded := foldPath(path)
			compiled.patterns = append(compiled.patterns, pattern)
			compiled.folded = append(compiled.folded, splitPath(folded))
			a.folds = a.folds || folded != path
			a.paths = a.paths || !isAnyPath(pattern)
		}
		CheckPermissions(r.Scopes, r.AppPermissions, func(key, problem string) { report(fmt.Sprintf("[%d].%s", i, key), problem) })
		compiled.Clients = nil
		for j, client := range r.Clients {
			if !IsGUID(client) {
				report(fmt.Sprintf("[%d].clients[%d]", i, j), notClientID)
			}
			compiled.Clients = append(compiled.Clients, strings.ToLower(client))
		}
		a.clients = append(a.clients, compiled.Clients...)
		if len(r.Scopes) == 0 && len(r.AppPermissions) == 0 && len(r.Clients) == 0 {
			report(fmt.Sprintf("[%d]", i), "a rule needs scopes, appPermissions or clients")
		}
		compiled.Methods = nil
		for j, m := range r.Methods {
			switch {
			case isEchoing(m):
				report(fmt.Sprintf("[%d].methods[%d]", i, j), "is never forwarded: the API's answer could contain our token")
			case !httpguts.ValidHeaderFieldName(m): // both are tokens (RFC 9110, section 9.1)
				report(fmt.Sprintf("[%d].methods[%d]", i, j), "is not a method")
			}
			compiled.Methods = append(compiled.Methods, strings.ToUpper(m))
		}
		all = all || len(r.Methods) == 0
		a.allow = append(a.allow, compiled.Methods...)
		a.rules = append(a.rules, compiled)
	}
	slices.Sort(a.allow)
	a.allow = slices.Compact(a.allow)
	if all {
		a.allow = nil
	}
	return a
}

// CheckPermissions reports every name of a rule's scopes and app permissions that is none,
// by its key, relative to the rule.
func CheckPermissions(scopes, appPermissions []string, report func(key, problem string)) {
	for key, names := range map[string][]string{"scopes": scopes, "appPermissions": appPermissions} {
		if i := slices.IndexFunc(names, func(n string) bool { return !isScope(n) }); i >= 0 {
			report(fmt.Sprintf("%s[%d]", key, i), "is not one name of a scope or app permission")
		}
	}
}

// DecidedBy returns the rules for an endpoint whose methods belong together. For each path,
// the rule for method decides about all methods; if none is for it, the first for the path.
func (a *Access) DecidedBy(method string) *Access {
	joined := *a
	joined.allow, joined.rules = nil, nil
	for _, named := range []bool{true, false} {
		for _, r := range a.rules {
			if named == (len(r.Methods) == 0 || slices.Contains(r.Methods, method)) {
				r.Methods = nil
				joined.rules = append(joined.rules, r)
			}
		}
	}
	return &joined
}

// Check returns nil if a rule allows caller the request, else an *AccessError or
// ErrPath. path is the decoded path below the API. If rules name paths, every
// reading of path must be allowed, since an API may use any of them.
func (a *Access) Check(caller *Caller, method, path string) error {
	if isEchoing(method) && len(a.rules) > 0 {
		return &AccessError{Allow: a.Methods()}
	}
	if a.allow != nil && !slices.Contains(a.allow, method) {
		return &AccessError{Allow: a.allow}
	}
	if !a.paths {
		return a.check(caller, method, reading{})
	}
	return a.checkReadings(caller, method, path)
}

// UserScopes returns the scopes of the rule for a request: a user's token needs one of
// them. It returns nil if no rule lets users make the request. path is the decoded path
// below the API, of which only the reading as it is counts: the result is advice, and
// Check decides.
func (a *Access) UserScopes(method, path string) []string {
	rule, _ := a.RuleFor(method, path)
	return rule.Scopes
}

// RuleFor returns the rule for a request, under the same conditions, and false if there is none.
func (a *Access) RuleFor(method, path string) (Rule, bool) {
	plain := reading{segments: splitPath(path)}
	i := slices.IndexFunc(a.rules, func(r rule) bool { return r.matches(method, plain) })
	if i < 0 || isEchoing(method) {
		return Rule{}, false
	}
	return a.rules[i].Rule, true
}

// isScope reports whether s is a scope token (RFC 6749, section 3.3). Challenges
// hold it unescaped.
func isScope(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

// isEchoing reports whether an API may answer method with the request itself and
// so with our token (TRACE: RFC 9110, section 9.3.8; IIS calls it TRACK), or the
// method cannot be forwarded (CONNECT).
func isEchoing(method string) bool {
	return strings.EqualFold(method, "TRACE") || strings.EqualFold(method, "TRACK") || strings.EqualFold(method, "CONNECT")
}

// Methods returns the methods that the rules can allow.
func (a *Access) Methods() []string {
	if a.allow != nil {
		return a.allow
	}
	return []string{"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
}

func (a *Access) check(caller *Caller, method string, path reading) error {
	for i := range a.rules {
		r := &a.rules[i]
		if !r.matches(method, path) {
			continue
		}
		if caller.id.app && caller.id.listable && slices.Contains(r.Clients, strings.ToLower(caller.id.client)) {
			return nil
		}
		return caller.CheckHolds(r.Scopes, r.AppPermissions)
	}
	return &AccessError{}
}

func (r *rule) matches(method string, path reading) bool {
	if len(r.Methods) > 0 && !slices.Contains(r.Methods, method) {
		return false
	}
	if len(r.patterns) == 0 {
		return true
	}
	patterns := r.patterns
	if path.folded {
		patterns = r.folded
	}
	return slices.ContainsFunc(patterns, func(p []string) bool { return matchPath(p, path.segments) })
}

// isAnyPath reports whether a pattern matches all paths, like the default.
func isAnyPath(pattern []string) bool {
	return len(pattern) > 0 && !slices.ContainsFunc(pattern, func(s string) bool { return s != "**" })
}

// splitPath splits a path into its segments. A slash at the end makes no
// difference, so that it cannot bypass a rule.
func splitPath(path string) []string {
	path = strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

// parsePattern reads a path pattern into its segments.
func parsePattern(pattern string) ([]string, error) {
	if !strings.HasPrefix(pattern, "/") {
		return nil, errors.New("a path begins with a slash")
	}
	segments := splitPath(pattern)
	for _, s := range segments {
		switch {
		case s == "":
			return nil, errors.New("a path has no empty segments")
		case s != "**" && strings.Contains(s, "**"):
			return nil, errors.New("** stands for whole segments")
		case strings.ContainsAny(s, "?#%\\"):
			return nil, errors.New("a path is written decoded, without query or backslash")
		case isAmbiguous(s):
			return nil, errors.New("matches no path: names with surrounding spaces, a dot at the end or :$ are refused")
		}
	}
	return segments, nil
}

// matchPath reports whether path matches pattern. It backtracks to the last ** only,
// so that its time is bounded by the product of both lengths.
func matchPath(pattern, path []string) bool {
	i, star, mark := 0, -1, 0
	for j := 0; j < len(path); {
		switch {
		case i < len(pattern) && pattern[i] == "**":
			star, mark = i, j
			i++
		case i < len(pattern) && matchSegment(pattern[i], path[j]):
			i, j = i+1, j+1
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(pattern) && pattern[i] == "**" {
		i++
	}
	return i == len(pattern)
}

// matchSegment reports whether s matches pattern, in which each * stands for
// any characters.
func matchSegment(pattern, s string) bool {
	if !strings.Contains(pattern, "*") {
		return s == pattern
	}
	parts := strings.Split(pattern, "*")
	last := len(parts) - 1
	if len(s) < len(parts[0])+len(parts[last]) || !strings.HasPrefix(s, parts[0]) || !strings.HasSuffix(s, parts[last]) {
		return false
	}
	s = s[len(parts[0]) : len(s)-len(parts[last])]
	for _, part := range parts[1:last] {
		_, after, ok := strings.Cut(s, part)
		if !ok {
			return false
		}
		s = after
	}
	return true
}

// Rules returns the rules in their order, with methods in upper case.
func (a *Access) Rules() []Rule {
	var rules []Rule
	for _, r := range a.rules {
		rules = append(rules, r.Rule)
	}
	return rules
}

// lists reports whether a rule names the application client. A nil Access names none.
func (a *Access) lists(client string) bool {
	return a != nil && slices.Contains(a.clients, strings.ToLower(client))
}

// listsAny reports whether a rule names any application.
func (a *Access) listsAny() bool { return a != nil && len(a.clients) > 0 }

// DependsOnPath reports whether any rule names paths, other than all of them.
func (a *Access) DependsOnPath() bool { return a.paths }

// Scopes returns all delegated scopes in the rules.
func (a *Access) Scopes() []string {
	var scopes []string
	for _, r := range a.rules {
		scopes = append(scopes, r.Scopes...)
	}
	return scopes
}
