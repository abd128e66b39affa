package downstream

import (
	"net/http"
	"net/url"
	"strings"
)

// linkHeaders are the headers of an answer that lead to one resource, and that
// clients follow by themselves (RFC 9110, sections 8.7 and 10.2.2).
var linkHeaders = [...]string{"Location", "Content-Location"}

// rewriteLinks writes links of an answer that lead below the base URL as the
// caller's own: followed as they are, they would lead past this service, with the
// caller's token for it.
func (c *Client) rewriteLinks(x *exchange, h http.Header) {
	for _, name := range linkHeaders {
		links := h[name]
		for i, link := range links {
			if own := c.ownLink(x, link); own != "" {
				links[i] = own
				if x.OwnURLVaries {
					h.Add("Cache-Control", "private") // a shared cache would give this caller's Host to others
				}
			}
		}
	}
}

// ownLink returns link as the caller reaches it, or "" where it can stay: it leads
// elsewhere, or the same way from the caller's URL.
func (c *Client) ownLink(x *exchange, link string) string {
	if x.OwnURL == nil {
		return ""
	}
	ref, err := url.Parse(link)
	if err != nil || ref.Opaque != "" || ref.User != nil || strings.Contains(link, `\`) { // which browsers take for a slash
		return ""
	}
	from := c.URL(x.Path, x.in.URL.RawQuery)
	from.Opaque = ""
	target := from.ResolveReference(ref)
	path := target.EscapedPath()
	if !isSameOrigin(target, c.base) || !isBelow(path, c.prefix) {
		return ""
	}
	rest := path[len(c.prefix):]
	if hasDotSegment(rest) || isCallersAlready(x, c.prefix, link, path) {
		return ""
	}
	base := x.OwnURL(x.in)
	own := base + rest
	if target.RawQuery != "" || target.ForceQuery {
		own += "?" + target.RawQuery
	}
	if target.Fragment != "" {
		own += "#" + target.EscapedFragment()
	}
	if ref.Host == "" && !strings.HasPrefix(link, "/") {
		if caller, err := url.Parse(base + x.Path.raw); err == nil && caller.ResolveReference(ref).String() == own {
			return ""
		}
	}
	return own
}

// isCallersAlready reports whether a link without a host begins with the prefix that
// the API was told in X-Forwarded-Prefix, and so is the caller's own already. It does
// not count where the API has paths below that name itself, as the request shows.
func isCallersAlready(x *exchange, base, link, path string) bool {
	told := x.prefix()
	return strings.HasPrefix(link, "/") && !strings.HasPrefix(link, "//") && told != "" && isBelow(path, told) && !isBelow(base+x.Path.raw, told)
}

// isBelow reports whether path is prefix or goes on behind it with a slash.
func isBelow(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// isSameOrigin compares scheme, host and port as RFC 3986, section 6.2, says.
func isSameOrigin(a, b *url.URL) bool {
	return schemeOf(a) == schemeOf(b) && strings.EqualFold(a.Hostname(), b.Hostname()) && portOf(a) == portOf(b)
}

// schemeOf returns the scheme that others see: h2c is http.
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
