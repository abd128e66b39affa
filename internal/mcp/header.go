package mcp

import (
	"encoding/base64"
	"mime"
	"net/http"
	"strings"
)

// checkContent refuses a body that a server may read as another text than parse does.
func checkContent(h http.Header) error {
	types := values(h, "Content-Type")
	if len(types) != 1 || len(values(h, "Content-Encoding")) > 0 {
		return errContent
	}
	kind, parameters, err := mime.ParseMediaType(types[0])
	charset, given := parameters["charset"]
	if err != nil || kind != "application/json" || given && !strings.EqualFold(charset, "utf-8") {
		return errContent
	}
	return nil
}

// checkHeader compares the headers that repeat method and name with the message. Clients
// of revisions before 2026-07-28 do not send them.
func checkHeader(h http.Header, m message) error {
	switch methods := values(h, "Mcp-Method"); {
	case len(methods) > 1, len(methods) == 1 && methods[0] != m.method:
		return errHeader
	}
	names := values(h, "Mcp-Name")
	if len(names) == 0 {
		return nil
	}
	name, ok := decode(names[0])
	if !ok || len(names) > 1 || !m.hasName(name) {
		return errHeader
	}
	return nil
}

// hasName reports whether name is what Mcp-Name must be. Extensions of the protocol say
// which member is repeated for their own methods, so any that they use may be.
func (m message) hasName(name string) bool {
	s := m.subject()
	switch {
	case s.name != nil:
		return name == *s.name
	case s.needsName:
		return false
	}
	for _, member := range []text{m.params.name, m.params.uri, m.params.taskID} {
		if member.isString && member.value == name {
			return true
		}
	}
	return name == ""
}

// decode returns the name in a value of Mcp-Name. One that is not plain ASCII is base64,
// which has one spelling here.
func decode(value string) (name string, ok bool) {
	encoded, ok := strings.CutPrefix(value, "=?base64?")
	if !ok {
		return value, true
	}
	if encoded, ok = strings.CutSuffix(encoded, "?="); !ok {
		return value, true
	}
	decoded, err := base64.StdEncoding.Strict().DecodeString(encoded)
	return string(decoded), err == nil && base64.StdEncoding.EncodeToString(decoded) == encoded
}

// values returns the values of a header, named in canonical form. Servers that map header
// names to variables (CGI, WSGI, Rack) treat an underscore as a dash.
func values(h http.Header, name string) []string {
	list := h[name]
	for other, more := range h {
		if len(other) == len(name) && strings.Contains(other, "_") && strings.EqualFold(strings.ReplaceAll(other, "_", "-"), name) {
			list = append(list[:len(list):len(list)], more...)
		}
	}
	return list
}
