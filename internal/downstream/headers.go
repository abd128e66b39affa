package downstream

import (
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
)

// isOurs reports whether a request header, named in canonical form, is the
// service's own to set, or must not reach an API from outside: what it carries
// would be believed there. Servers that map header names to variables take an
// underscore for a dash, so we do too.
func isOurs(name string) bool {
	if strings.Contains(name, "_") {
		name = http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
	}
	switch name {
	case "Authorization", "Cookie", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
		"X-Request-Id", "Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "Host", "Content-Length":
		return true
	}
	return strings.HasPrefix(name, "Proxy-") ||
		strings.HasPrefix(name, "X-Ms-Token-") ||
		strings.HasPrefix(name, "X-Ms-Client-Principal")
}

// rewrite makes the request to the API of the caller's. ReverseProxy has taken
// the hop-by-hop headers out already, and those that Connection names.
func (c *Client) rewrite(p *httputil.ProxyRequest) {
	x, h := exchangeOf(p.In), p.Out.Header
	for name := range h {
		if isOurs(name) {
			delete(h, name)
		}
	}
	for _, name := range c.config.DropRequest {
		h.Del(name)
	}
	for name, value := range c.config.SetRequest {
		h.Set(name, value)
	}
	x.set(h, "Authorization", "Bearer "+x.token)
	x.set(h, "X-Request-Id", x.RequestID)
	x.setForwarded(h, p.In)

	p.Out.URL = c.URL(x.Path, p.In.URL.RawQuery)
	p.Out.URL.ForceQuery = p.In.URL.ForceQuery
	p.Out.Host = ""
}

// set sets a header to one value, which is kept in x: six lists of one would be
// six allocations.
func (x *exchange) set(h http.Header, name, value string) {
	x.values[x.count] = value
	h[name] = x.values[x.count : x.count+1 : x.count+1]
	x.count++
}

// setForwarded says who called, afresh: what came in is not believed.
// (RFC 7239, and the de facto X-Forwarded headers.)
func (x *exchange) setForwarded(h http.Header, in *http.Request) {
	proto := "http"
	if in.TLS != nil {
		proto = "https"
	}
	x.set(h, "X-Forwarded-Host", in.Host)
	x.set(h, "X-Forwarded-Proto", proto)
	node := "unknown"
	if ip, _, err := net.SplitHostPort(in.RemoteAddr); err == nil {
		x.set(h, "X-Forwarded-For", ip)
		if node = ip; strings.Contains(ip, ":") {
			node = `"[` + ip + `]"`
		}
	}
	// Quoted as RFC 9110, section 5.6.4, says.
	x.set(h, "Forwarded", "for="+node+`;host="`+quoting.Replace(in.Host)+`";proto=`+proto)
}

var quoting = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// modifyResponse takes out of an API's answer what is not for the caller, and
// lets streams run on.
func (c *Client) modifyResponse(resp *http.Response) error {
	x := exchangeOf(resp.Request)
	for name := range resp.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			delete(resp.Header, name)
		}
	}
	if !c.config.KeepCookies {
		resp.Header.Del("Set-Cookie")
	}
	for _, name := range c.config.DropResponse {
		resp.Header.Del(name)
	}
	resp.Header.Del("X-Request-Id") // ours is set
	if x.Broken != nil {
		resp.Body = &notedBody{resp.Body, x}
	}
	if isStream(resp) {
		x.unlimit()
	} else {
		x.limit(x.end)
	}
	return nil
}

// isStream reports whether an answer may take as long as it takes.
func isStream(resp *http.Response) bool {
	if resp.ContentLength < 0 || resp.ContentLength >= streamFrom {
		return true
	}
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(kind), "text/event-stream")
}
