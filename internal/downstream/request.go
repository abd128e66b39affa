package downstream

import (
	"net/http"
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

// rewrite makes out, a copy of the caller's request, the one to the API. Its headers are
// new: those of the caller's request must not change.
func (c *Client) rewrite(call *call, out *http.Request) {
	in := call.in
	h := make(http.Header, len(in.Header)+len(c.config.SetRequest)+len(call.values))
	for name, values := range in.Header {
		if !c.isStripped(name) {
			h[name] = values
		}
	}
	delete(h, "Te") // with Trailer, what is left of hopByHop
	delete(h, "Trailer")
	for _, list := range in.Header["Connection"] { // which is not in h
		deleteListed(h, list)
	}
	if httpguts.HeaderValuesContainsToken(in.Header["Te"], "trailers") && !c.isStripped("Te") {
		call.set(h, "Te", "trailers") // gRPC demands it
	}
	for name, value := range c.config.SetRequest {
		h.Set(name, value)
	}
	if len(in.Trailer) > 0 {
		c.rewriteTrailer(call, h, out)
	}
	call.set(h, "Authorization", "Bearer "+call.token)
	call.set(h, "X-Request-Id", call.RequestID)
	client := call.Forwarded.Complete(in)
	client.Prefix = call.publicPrefix()
	client.Write(func(name, value string) { call.set(h, name, value) }, in.RemoteAddr)

	if call.WebSocket != nil {
		askForUpgrade(h)
	}
	call.headers, call.headerErr = measure(h)
	if h["User-Agent"] == nil {
		call.set(h, "User-Agent", "") // otherwise net/http sends its own
	}
	out.Header, out.Host, out.Close = h, "", false
	out.URL = c.URL(call.Path, in.URL.RawQuery)
	out.URL.ForceQuery = in.URL.ForceQuery
	if in.ContentLength == 0 {
		out.Body = nil // so that it can be sent again
	}
}

// rewriteTrailer announces the trailers of the caller's request that may pass, beside the
// headers h.
func (c *Client) rewriteTrailer(call *call, h http.Header, out *http.Request) {
	trailer := call.in.Trailer.Clone()
	c.stripRequest(trailer)
	for name := range trailer {
		_, set := h[name]
		if set || !httpguts.ValidTrailerHeader(name) || httpguts.HeaderValuesContainsToken(call.in.Header["Connection"], name) {
			delete(trailer, name)
		}
	}
	if out.Trailer = trailer; call.upload != nil {
		call.upload.sent = trailer // the values arrive at the end of the body
	}
}

// stripRequest removes from a request's headers or trailers what is not for the API.
func (c *Client) stripRequest(h http.Header) {
	for name := range h {
		if c.isStripped(name) {
			delete(h, name)
		}
	}
}

// isStripped reports whether a header of a request is not for the API. A configured header
// replaces the caller's, in every spelling.
func (c *Client) isStripped(name string) bool {
	folded := fold(name)
	return isReserved(folded) || c.dropRequest.has(folded)
}

// set sets a header to one value, which is stored in c: a list for each value would be an
// allocation for each.
func (c *call) set(h http.Header, name, value string) {
	c.values[c.count] = value
	h[name] = c.values[c.count : c.count+1 : c.count+1]
	c.count++
}
