package downstream

import (
	"mime"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
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
	h["Authorization"] = []string{"Bearer " + x.token}
	h["X-Request-Id"] = []string{x.RequestID}
	setForwarded(h, p.In)

	p.Out.URL = &url.URL{
		Scheme: c.base.Scheme, Host: c.base.Host,
		Path: strings.TrimSuffix(c.base.Path, "/") + x.Path.decoded, RawPath: c.prefix + x.Path.raw,
		RawQuery: p.In.URL.RawQuery, ForceQuery: p.In.URL.ForceQuery,
	}
	// net/url writes some characters in its own way. Opaque is sent as it is, but
	// loses the host that an HTTP proxy needs.
	if raw := p.Out.URL.RawPath; raw != "" && raw != p.Out.URL.EscapedPath() {
		p.Out.URL.Opaque = raw
	}
	p.Out.Host = ""
}

// setForwarded says who called, afresh: what came in is not believed.
// (RFC 7239, and the de facto X-Forwarded headers.)
func setForwarded(h http.Header, in *http.Request) {
	proto := "http"
	if in.TLS != nil {
		proto = "https"
	}
	h["X-Forwarded-Host"] = []string{in.Host}
	h["X-Forwarded-Proto"] = []string{proto}
	node := "unknown"
	if ip, _, err := net.SplitHostPort(in.RemoteAddr); err == nil {
		h["X-Forwarded-For"] = []string{ip}
		if node = ip; strings.Contains(ip, ":") {
			node = `"[` + ip + `]"`
		}
	}
	h["Forwarded"] = []string{"for=" + node + ";host=" + quote(in.Host) + ";proto=" + proto}
}

var quoting = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// quote writes s as a quoted string (RFC 9110, section 5.6.4).
func quote(s string) string { return `"` + quoting.Replace(s) + `"` }

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
		resp.Body = &notedBody{resp.Body, x.Broken}
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
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return resp.ContentLength < 0 || resp.ContentLength >= streamFrom || kind == "text/event-stream"
}
