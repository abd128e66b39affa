package downstream

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Path is a request path below an API, in two forms: decoded for access rules, and raw as
// it is sent. Only ParsePath and Client.ParsePath make one, so a Path is always below the API's base URL.
type Path struct {
	decoded string
	raw     string
}

// Decoded returns the path decoded once, for access rules.
func (p Path) Decoded() string { return p.decoded }

// ErrPath says that a path is refused: it is malformed, or a server might read it as
// another path than the one that was checked.
var ErrPath = errors.New("the path cannot be forwarded safely")

// ParsePath parses the part of a request target after the API's name, as received. It
// begins with a slash or is empty. ParsePath refuses dot segments, encoded slashes and
// dots, backslashes, NUL and control characters, empty segments other than the last (also
// those with only parameters), and invalid UTF-8; all of it also if percent-encoded twice.
func ParsePath(raw string) (Path, error) { return parsePath(raw, false) }

// ParsePath is the function ParsePath for a call to c's API. If Config.EncodedSlashes is
// set, it accepts encoded slashes. Decoded has them as slashes, and all else holds for
// the segments between those too.
func (c *Client) ParsePath(raw string) (Path, error) { return parsePath(raw, c.config.EncodedSlashes) }

// ParseRelative parses a path that a configuration or an application names, relative to the
// base URL: with or without a slash at its beginning, and with a query. Characters that a
// URL cannot have are percent-encoded, and a fragment is dropped. "" is the base URL as it
// is written. The error is ErrPath or ErrQuery.
func (c *Client) ParseRelative(relative string) (path Path, query string, err error) {
	relative, _, _ = strings.Cut(relative, "#")
	relative, query, _ = strings.Cut(relative, "?")
	relative = strings.TrimLeft(relative, "/")
	if relative != "" || strings.HasSuffix(c.base.Path, "/") {
		relative = "/" + relative
	}
	if path, err = c.ParsePath(encodeForURL(relative)); err != nil {
		return Path{}, "", err
	}
	query = encodeForURL(query)
	return path, query, CheckQuery(query)
}

// encodeForURL percent-encodes what is not allowed in a URL (RFC 3986, section 2), except
// for control characters, backslashes and the percent signs of what is encoded already.
func encodeForURL(s string) string {
	const notAllowed = ` "<>^` + "`{|}"
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= utf8.RuneSelf || strings.IndexByte(notAllowed, c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// decodedSlashes decodes slashes only. No other escape can result, since none holds a
// slash.
var decodedSlashes = strings.NewReplacer("%2F", "/", "%2f", "/")

func parsePath(raw string, encodedSlashes bool) (Path, error) {
	decoded, err := url.PathUnescape(raw)
	if err != nil || raw != "" && raw[0] != '/' || !utf8.ValidString(decoded) {
		return Path{}, ErrPath
	}
	if !isVisibleASCII(raw) || strings.ContainsAny(raw, `\?#`) {
		return Path{}, ErrPath
	}
	escaped := raw
	if encodedSlashes {
		escaped = decodedSlashes.Replace(raw)
	}
	if strings.ContainsFunc(decoded, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }) ||
		hidesSyntax(escaped) || hidesSyntax(decoded) {
		return Path{}, ErrPath
	}
	rest, first, more := decoded, true, true
	for ; more; first = false {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		name, _, _ := strings.Cut(segment, ";") // "..;x" is ".." to servers that drop parameters
		if name == "." || name == ".." || name == "" && !first && more {
			return Path{}, ErrPath
		}
	}
	return Path{decoded, raw}, nil
}

// ErrQuery says that a query is refused: it holds bytes that are not allowed in a request
// line.
var ErrQuery = errors.New("the query cannot be forwarded safely")

// CheckQuery returns ErrQuery for a query with bytes up to 0x20 or from 0x7f. HTTP/2 can
// carry them, but in HTTP/1.1 the first would end the request line (RFC 9112, section
// 3.2).
func CheckQuery(raw string) error {
	if !isVisibleASCII(raw) {
		return ErrQuery
	}
	return nil
}

// isVisibleASCII reports whether s has only bytes that may be in a request line.
func isVisibleASCII(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// URL returns the URL to send a call to: path and query below the base URL, byte for
// byte.
func (c *Client) URL(path Path, query string) *url.URL {
	u := &url.URL{Scheme: c.base.Scheme, Host: c.base.Host, RawQuery: query, RawPath: c.prefix + path.raw}
	if decoded := strings.TrimSuffix(c.base.Path, "/"); decoded == c.prefix && path.decoded == path.raw {
		u.Path = u.RawPath // nothing is encoded
	} else {
		u.Path = decoded + path.decoded
	}
	// net/url encodes some characters in its own way. Opaque is sent unchanged, but
	// without the host that an HTTP proxy needs.
	if u.RawPath != "" && u.RawPath != u.EscapedPath() {
		u.Opaque = u.RawPath
	}
	return u
}

// hidesSyntax reports whether s holds the percent-encoding of a character that
// would change what the path means: a slash, a dot, a backslash, NUL, or a
// percent sign that could hide one of them.
func hidesSyntax(s string) bool {
	if strings.IndexByte(s, '%') < 0 { // every usual path
		return false
	}
	for i := 0; i+2 < len(s); i++ {
		if s[i] != '%' {
			continue
		}
		switch strings.ToLower(s[i+1 : i+3]) {
		case "2f", "2e", "5c", "00":
			return true
		}
	}
	return false
}
