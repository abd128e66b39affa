package downstream

import (
	"net/http"
	"net/http/httputil"
	"strings"

	"golang.org/x/net/http/httpguts"

	"middletier/internal/forwarded"
)

// fold returns the name under which a header, named in canonical form, is looked up in
// lists of headers. Servers that map header names to variables (CGI, WSGI, Rack) treat an
// underscore as a dash, and so does fold. An ordinary name costs no allocation.
func fold(name string) string {
	if strings.IndexByte(name, '_') < 0 {
		return name
	}
	return http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
}

// names is a set of folded header names.
type names map[string]struct{}

// add adds a name in any spelling.
func (n names) add(name string) { n[fold(http.CanonicalHeaderKey(name))] = struct{}{} }

// has reports whether a folded name is in n.
func (n names) has(name string) bool {
	_, ok := n[name]
	return ok
}

// IsReserved reports whether a request header, named in any spelling, never reaches an API
// as its sender wrote it.
func IsReserved(name string) bool { return isReserved(fold(http.CanonicalHeaderKey(name))) }

// isReserved reports whether a request header, by its folded name, is set by this service
// only, or must not reach an API from outside, because the API would trust it.
func isReserved(name string) bool {
	switch name {
	case "Authorization", "Cookie", "X-Request-Id",
		"Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "Host", "Content-Length":
		return true
	}
	return forwarded.IsHeader(name) ||
		strings.HasPrefix(name, "Proxy-") ||
		strings.HasPrefix(name, "X-Ms-Token-") ||
		strings.HasPrefix(name, "X-Ms-Client-Principal")
}

// rewrite makes the caller's request the one to the API. ReverseProxy has already removed
// the hop-by-hop headers, and those that Connection names.
func (c *Client) rewrite(p *httputil.ProxyRequest) {
	call, h := callOf(p.In), p.Out.Header
	c.stripRequest(h)
	for name, value := range c.config.SetRequest {
		h.Set(name, value)
	}
	if trailer := p.Out.Trailer; len(trailer) > 0 {
		c.stripRequest(trailer)
		for name := range trailer {
			_, set := h[name]
			if set || !httpguts.ValidTrailerHeader(name) || httpguts.HeaderValuesContainsToken(p.In.Header["Connection"], name) {
				delete(trailer, name)
			}
		}
		if call.upload != nil {
			call.upload.sent = trailer // the values arrive at the end of the body
		}
	}
	call.set(h, "Authorization", "Bearer "+call.token)
	call.set(h, "X-Request-Id", call.RequestID)
	client := call.Forwarded.Complete(p.In)
	client.Prefix = call.publicPrefix()
	client.Write(func(name, value string) { call.set(h, name, value) }, p.In.RemoteAddr)

	call.headers, call.headerErr = measure(h)

	p.Out.URL = c.URL(call.Path, p.In.URL.RawQuery)
	p.Out.URL.ForceQuery = p.In.URL.ForceQuery
	p.Out.Host = ""
}

// stripRequest removes from a request's headers or trailers what is not for the API. A
// configured header replaces the caller's, in every spelling.
func (c *Client) stripRequest(h http.Header) {
	for name := range h {
		if folded := fold(name); isReserved(folded) || c.dropRequest.has(folded) {
			delete(h, name)
		}
	}
}

// set sets a header to one value, which is stored in c: a list for each value would be an
// allocation for each.
func (c *call) set(h http.Header, name, value string) {
	c.values[c.count] = value
	h[name] = c.values[c.count : c.count+1 : c.count+1]
	c.count++
}
