package downstream

import (
	"net/http"
	"net/http/httputil"
	"strings"

	"golang.org/x/net/http/httpguts"

	"middletier/internal/forwarded"
)

// fold returns the name that a header, named in canonical form, has in every list
// of headers. Servers that map header names to variables (CGI, WSGI, Rack) take an
// underscore for a dash, so we do too. An ordinary name costs no allocation.
func fold(name string) string {
	if strings.IndexByte(name, '_') < 0 {
		return name
	}
	return http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
}

// names is a set of header names, folded.
type names map[string]struct{}

// add adds a name in any spelling.
func (n names) add(name string) { n[fold(http.CanonicalHeaderKey(name))] = struct{}{} }

// has reports whether a folded name is in n.
func (n names) has(name string) bool {
	_, ok := n[name]
	return ok
}

// isOurs reports whether a request header, named as fold does, is the service's
// own to set, or must not reach an API from outside: what it carries would be
// believed there.
func isOurs(name string) bool {
	switch name {
	case "Authorization", "Cookie", "X-Request-Id", "Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "Host", "Content-Length":
		return true
	}
	return forwarded.IsHeader(name) ||
		strings.HasPrefix(name, "Proxy-") ||
		strings.HasPrefix(name, "X-Ms-Token-") ||
		strings.HasPrefix(name, "X-Ms-Client-Principal")
}

// rewrite makes the request to the API of the caller's. ReverseProxy has taken
// the hop-by-hop headers out already, and those that Connection names.
func (c *Client) rewrite(p *httputil.ProxyRequest) {
	x, h := exchangeOf(p.In), p.Out.Header
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
		if x.upload != nil {
			x.upload.sent = trailer // their values come with the body's end
		}
	}
	x.set(h, "Authorization", "Bearer "+x.token)
	x.set(h, "X-Request-Id", x.RequestID)
	client := x.Forwarded.Complete(p.In)
	client.Prefix = x.prefix()
	client.Write(func(name, value string) { x.set(h, name, value) }, p.In.RemoteAddr)

	x.headers, x.unsendable = measure(h)

	p.Out.URL = c.URL(x.Path, p.In.URL.RawQuery)
	p.Out.URL.ForceQuery = p.In.URL.ForceQuery
	p.Out.Host = ""
}

// stripRequest takes out of a request's headers or trailers what is not for the
// API. A caller's header never stands beside one that is configured.
func (c *Client) stripRequest(h http.Header) {
	for name := range h {
		if folded := fold(name); isOurs(folded) || c.dropRequest.has(folded) {
			delete(h, name)
		}
	}
}

// set sets a header to one value, which is kept in x: six lists of one would be
// six allocations.
func (x *exchange) set(h http.Header, name, value string) {
	x.values[x.count] = value
	h[name] = x.values[x.count : x.count+1 : x.count+1]
	x.count++
}
