package facade

import (
	"cmp"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"middletier/internal/door"
)

const (
	// maxBody bounds bodies and queries. Codes and refresh tokens of Entra have up to some 2 KB.
	maxBody = 16 << 10

	// maxParameters is more than any client sends.
	maxParameters = 50

	// bodyTimeout is how long a body may take to arrive.
	bodyTimeout = 10 * time.Second
)

// parameters are those of a request. One without a value is absent (RFC 6749, section 3.1).
type parameters struct {
	values    map[string]string
	repeated  []string // the names that are there more than once, which have no value
	resources []string // the values of resource
}

// get returns the value of a parameter, "" if it is absent or there more than once.
func (p parameters) get(name string) string { return p.values[name] }

// isRepeated reports whether any parameter is there more than once. Only resource may be (RFC
// 8707, section 2).
func (p parameters) isRepeated() bool {
	return slices.ContainsFunc(p.repeated, func(name string) bool { return name != "resource" })
}

// parseParameters reads a query or a form.
func parseParameters(text string) (parameters, error) {
	if len(text) > maxBody {
		return parameters{}, invalidRequest("The request is too long.")
	}
	if strings.Count(text, "&") >= maxParameters {
		return parameters{}, invalidRequest("The request has too many parameters.")
	}
	fields, err := url.ParseQuery(text)
	if err != nil {
		return parameters{}, invalidRequest("The parameters are not application/x-www-form-urlencoded.")
	}
	p := parameters{values: map[string]string{}, resources: fields["resource"]}
	for name, values := range fields {
		switch {
		case !isText(name), slices.ContainsFunc(values, func(value string) bool { return !isText(value) }):
			return parameters{}, invalidRequest("A parameter holds control characters, or is not valid UTF-8.")
		case len(values) > 1:
			p.repeated = append(p.repeated, name)
		case values[0] != "":
			p.values[name] = values[0]
		}
	}
	return p, nil
}

// isText reports whether s is valid and has no control characters.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// readForm reads the parameters in the body of r.
func readForm(r *http.Request) (parameters, error) {
	body, err := readBody(r, "application/x-www-form-urlencoded")
	if err != nil {
		return parameters{}, err
	}
	p, err := parseParameters(string(body))
	if err == nil && p.isRepeated() {
		err = errRepeated
	}
	return p, err
}

// readBody reads the body of r, which must be of one type.
func readBody(r *http.Request, contentType string) ([]byte, error) {
	kind, details, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := strings.ToLower(cmp.Or(details["charset"], "utf-8"))
	if err != nil || kind != contentType || charset != "utf-8" || len(r.Header["Content-Type"]) > 1 || r.Header["Content-Encoding"] != nil {
		return nil, invalidRequest("The body must be " + contentType + ", in UTF-8 and not compressed.")
	}
	event := door.EventOf(r)
	if event.Upload == nil {
		return nil, nil
	}
	return event.Upload.ReadAll(maxBody, event.Start.Add(bodyTimeout))
}
