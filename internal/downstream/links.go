package downstream

import (
	"net"
	"net/http"
	"net/url"
	"strings"
)

// linkHeaders are the headers of a response that name one resource, and that clients
// follow by themselves (RFC 9110, sections 8.7 and 10.2.2).
var linkHeaders = [...]string{"Location", "Content-Location"}

// rewriteLinks replaces links of a response to URLs below the base URL by the public
// ones. A client that followed the API's own link would bypass this service, and send the
// API a token that is meant for this service.
func (c *Client) rewriteLinks(call *call, h http.Header) {
	for _, name := range linkHeaders {
		links := h[name]
		for i, link := range links {
			if public := c.publicLink(call, link); public != "" {
				links[i] = public
				if call.PublicURLVaries {
					h.Add("Cache-Control", "private") // a shared cache would serve this caller's Host to others
				}
			}
		}
	}
}

// publicLink returns the public URL for link, or "" if link need not change: it leads
// elsewhere, or to the right URL when it is resolved against the caller's.
func (c *Client) publicLink(call *call, link string) string {
	if call.PublicURL == nil {
		return ""
	}
	ref, err := url.Parse(link)
	if err != nil || ref.Opaque != "" || ref.User != nil || strings.Contains(link, `\`) { // browsers treat a backslash as a slash
		return ""
	}
	from := c.URL(call.Path, call.in.URL.RawQuery)
	from.Opaque = ""
	target := from.ResolveReference(ref)
	path := target.EscapedPath()
	if !isSameOrigin(target, c.base) || !isBelow(path, c.prefix) {
		return ""
	}
	rest := path[len(c.prefix):]
	if hasDotSegment(rest) || isPublicAlready(call, c.prefix, link, path) {
		return ""
	}
	base := call.PublicURL(call.in)
	public := base + rest
	if target.RawQuery != "" || target.ForceQuery {
		public += "?" + target.RawQuery
	}
	if target.Fragment != "" {
		public += "#" + target.EscapedFragment()
	}
	if ref.Host == "" && !strings.HasPrefix(link, "/") {
		if caller, err := url.Parse(base + call.Path.raw); err == nil && caller.ResolveReference(ref).String() == public {
			return ""
		}
	}
	return public
}

// isPublicAlready reports whether a link without a host begins with the prefix that
// X-Forwarded-Prefix gave the API, so that the link is public already. If the API has
// paths below the same prefix itself, as the request shows, it is not.
func isPublicAlready(call *call, base, link, path string) bool {
	if !strings.HasPrefix(link, "/") || strings.HasPrefix(link, "//") {
		return false
	}
	prefix := call.publicPrefix()
	return prefix != "" && isBelow(path, prefix) && !isBelow(base+call.Path.raw, prefix)
}

// isBelow reports whether path is prefix, or prefix followed by a slash and more.
func isBelow(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// isSameOrigin compares scheme, host and port (RFC 3986, section 6.2).
func isSameOrigin(a, b *url.URL) bool {
	return schemeOf(a) == schemeOf(b) && strings.EqualFold(a.Hostname(), b.Hostname()) && portOf(a) == portOf(b)
}

// schemeOf returns the scheme in links: http for h2c.
func schemeOf(u *url.URL) string {
	if u.Scheme == schemeH2C {
		return "http"
	}
	return u.Scheme // net/url writes it in lower case
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

// addressOf returns the address to dial for u. Most have a port, and cost no allocation.
func addressOf(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	return net.JoinHostPort(u.Hostname(), portOf(u))
}

// hasDotSegment reports whether browsers would resolve a segment of an escaped path
// as "." or ".." (URL Standard, section 4.4).
func hasDotSegment(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		switch strings.ReplaceAll(strings.ToLower(segment), "%2e", ".") {
		case ".", "..":
			return true
		}
	}
	return false
}
