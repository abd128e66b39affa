// Package mcp decides what a message to a server of the Model Context Protocol needs, by
// its method and the name of the tool.
//
// A message is read so strictly that the server cannot read another method or name in it:
// what JSON parsers, frameworks or proxies understand differently is refused. Rules of
// revision 2025-11-25 and 2026-07-28 of the protocol, section "Transports".
package mcp

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// maxName is the length of the longest method and name that rules decide on, in bytes. Few
// servers accept a longer Mcp-Name, and folding can make a text many times as long.
const maxName = 8 << 10

// Rule says what a caller's token must hold for the messages it matches.
type Rule struct {
	Methods        []string `yaml:"methods" doc:"Methods of messages that the entry is for, such as tools/call; empty: all, without notifications." example:"[tools/call]"`
	Names          []string `yaml:"names" doc:"Names of tools or prompts, or URIs of resources, that the entry is for: * is any number of characters; empty: all messages." details:"Case matters, but a name that differs in case only from one of another entry is refused." example:"[\"delete_*\"]"`
	Scopes         []string `yaml:"scopes" doc:"Delegated scopes of which a user's token must hold one; empty: users are refused." details:"A challenge names the first one: list the least first." example:"[ToDoList.ReadWrite]"`
	AppPermissions []string `yaml:"appPermissions" doc:"App permissions (roles) of which an app-only token must hold one; empty: applications are refused." example:"[ToDoList.ReadWrite.All]"`
}

// Error says why a message is refused, whoever sends it. Detail is a fixed sentence for the
// sender.
type Error struct{ Detail string }

func (e *Error) Error() string { return "message: " + e.Detail }

var (
	errContent = &Error{"A message to an MCP server must be application/json in UTF-8, without Content-Encoding."}
	errJSON    = &Error{"The message is not one JSON object in UTF-8, has a member twice, or is nested too deeply."}
	errBatch   = &Error{"A request holds one message: batches are refused."}
	errMember  = &Error{"A server may read a member of the message as another one: its name differs in case or form only."}
	errForm    = &Error{"The message is neither a request, a notification nor a response of JSON-RPC 2.0 with parameters by name."}
	errLong    = &Error{"The method, the name of the tool or prompt, or the URI of the resource is longer than 8 KiB."}
	errUnnamed = &Error{"The message lacks the name of the tool or prompt, or the URI of the resource."}
	errHeader  = &Error{"Mcp-Method or Mcp-Name differs from the message, is there twice, or is not encoded as base64."}
	errReading = &Error{"A server may read the message's method or name as another one, for which another entry of tools decides."}
)

// Rules decide by method and name. The first rule that matches decides.
type Rules struct{ rules []rule }

// rule is a Rule with its patterns as lax servers read them.
type rule struct {
	*Rule
	folded, foldedURIs Rule
}

// NewRules compiles rules. It reports every mistake in methods and names by its key,
// relative to the list of rules.
func NewRules(rules []Rule, report func(key, problem string)) *Rules {
	r := &Rules{}
	for i := range rules {
		rules[i].check(func(key, problem string) { report(fmt.Sprintf("[%d].%s", i, key), problem) })
		compiled := rule{Rule: &rules[i]}
		compiled.folded, compiled.foldedURIs = rules[i].fold(false), rules[i].fold(true)
		r.rules = append(r.rules, compiled)
	}
	return r
}

// fold returns the rule with folded methods and names.
func (r Rule) fold(uris bool) Rule {
	var folded Rule
	for _, method := range r.Methods {
		folded.Methods = append(folded.Methods, fold(method))
	}
	for _, name := range r.Names {
		folded.Names = append(folded.Names, foldName(name, uris))
	}
	return folded
}

func (r Rule) check(report func(key, problem string)) {
	for i, method := range r.Methods {
		key := fmt.Sprintf("methods[%d]", i)
		switch folded := fold(method); {
		case method == "" || strings.ContainsAny(method, "* ") || hasControl(method):
			report(key, "must be one method, such as tools/call; it is no pattern")
		case strings.HasPrefix(folded, notifications):
			report(key, "has no effect: notifications are never refused")
		case folded != method && nameMembers[folded] != "":
			report(key, "must be written "+folded)
		}
	}
	for i, name := range r.Names {
		if name == "" || hasControl(name) {
			report(fmt.Sprintf("names[%d]", i), "must be a name or a pattern, such as delete_*")
		}
	}
	if len(r.Names) > 0 && len(r.Methods) > 0 && !slices.ContainsFunc(r.Methods, func(m string) bool { return nameMembers[m] != "" }) {
		report("names", "match nothing: only messages of tools/call, prompts/get and resources/read have a name")
	}
}

// CoversToolCalls reports whether the rule matches every call of a tool.
func (r Rule) CoversToolCalls() bool {
	return (len(r.Methods) == 0 || slices.Contains(r.Methods, callTool)) &&
		(len(r.Names) == 0 || slices.ContainsFunc(r.Names, func(name string) bool { return strings.Trim(name, "*") == "" }))
}

// None reports whether there are no rules, so that no message has to be read.
func (r *Rules) None() bool { return r == nil || len(r.rules) == 0 }

// Rules returns the rules as they were given.
func (r *Rules) Rules() []Rule {
	var rules []Rule
	if r != nil {
		for _, rule := range r.rules {
			rules = append(rules, *rule.Rule)
		}
	}
	return rules
}

// Scopes returns all delegated scopes in the rules.
func (r *Rules) Scopes() []string {
	var scopes []string
	if r != nil {
		for _, rule := range r.rules {
			scopes = append(scopes, rule.Scopes...)
		}
	}
	return scopes
}

// Match returns the rule that decides on a message, or nil if none does: no rule matches,
// or it is a response or a notification. header is that of the request, body the whole
// message. The error is an *Error.
func (r *Rules) Match(header http.Header, body []byte) (*Rule, error) {
	if err := checkContent(header); err != nil {
		return nil, err
	}
	m, err := parse(body)
	if err != nil {
		return nil, err
	}
	if err := checkHeader(header, m); err != nil {
		return nil, err
	}
	if m.method == "" || m.isNotification() {
		return nil, nil
	}
	return r.decide(m)
}

// decide returns the rule for a request. It must be the same however a server reads
// method and name: as they are, or folded.
func (r *Rules) decide(m message) (*Rule, error) {
	exact := m.subject()
	if exact.isLong() {
		return nil, errLong
	}
	lax := m.subjectOf(fold(m.method))
	if lax.isLong() {
		return nil, errLong
	}
	readings := lax.readings()
	switch {
	case hasControl(m.method), exact.hasControl(), readings[0].hasControl(), lax.name != nil && lax.isURI() && isAmbiguousURI(*lax.name):
		return nil, errReading
	case exact.needsName && exact.name == nil:
		return nil, errUnnamed
	}
	first := slices.IndexFunc(r.rules, func(r rule) bool { return exact.matches(*r.Rule) })
	for _, reading := range readings {
		if first != slices.IndexFunc(r.rules, func(r rule) bool { return reading.matches(r.foldedFor(reading)) }) {
			return nil, errReading
		}
	}
	if first < 0 {
		return nil, nil
	}
	return r.rules[first].Rule, nil
}

// foldedFor returns the folded rule that s is compared with.
func (r rule) foldedFor(s subject) Rule {
	if s.isURI() {
		return r.foldedURIs
	}
	return r.folded
}

// subject is what rules look at.
type subject struct {
	method    string
	name      *string // nil: none
	path      *string // what of a URI some servers look at alone; nil: there is nothing else
	needsName bool
}

// hasControl reports whether the name has a control character. Names have none, and a
// server may cut a string at NUL.
func (s subject) hasControl() bool { return s.name != nil && hasControl(*s.name) }

func (s subject) isLong() bool {
	return len(s.method) > maxName || s.name != nil && len(*s.name) > maxName
}

func (s subject) matches(r Rule) bool {
	if len(r.Methods) > 0 && !slices.Contains(r.Methods, s.method) {
		return false
	}
	return len(r.Names) == 0 || s.name != nil &&
		slices.ContainsFunc(r.Names, func(pattern string) bool { return matchGlob(pattern, s.nameFor(pattern)) })
}

// nameFor returns what is compared with pattern: if it has a query, the server looks at that.
func (s subject) nameFor(pattern string) string {
	if s.path == nil || strings.ContainsAny(pattern, "?#") {
		return *s.name
	}
	return *s.path
}

// matchGlob reports whether name matches pattern, in which each * stands for any number
// of characters.
func matchGlob(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	last := len(parts) - 1
	if last == 0 {
		return pattern == name
	}
	rest, ok := strings.CutPrefix(name, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1:last] {
		if _, rest, ok = strings.Cut(rest, part); !ok {
			return false
		}
	}
	return strings.HasSuffix(rest, parts[last])
}
