package mcp

import (
	"encoding/hex"
	"path"
	"strings"

	"golang.org/x/net/idna"
)

// plainURI returns the same text for all spellings of a URI, or of a pattern of URIs: as it is
// read by servers that decode it, resolve its dot segments (RFC 3986, sections 2.1 and 5.2.4),
// or normalize it (URL Standard, section 4.4, as Pydantic and Node.js do), in whatever order.
func plainURI(uri string) string {
	bare := withoutQuery(uri)
	return plainPath(bare) + fold(decodePercent(uri[len(bare):]))
}

// withoutQuery returns a URI up to its query or fragment.
func withoutQuery(uri string) string {
	if i := strings.IndexAny(uri, "?#"); i >= 0 {
		return uri[:i]
	}
	return uri
}

// webPorts are the default ports of schemes whose URLs have a host, however many slashes they
// have (URL Standard, section 4.2).
var webPorts = map[string]string{"http": "80", "https": "443", "ws": "80", "wss": "443", "ftp": "21"}

// maxHost is longer than any host name in UTF-8 (RFC 1035, section 2.3.4): to encode a longer one
// is expensive.
const maxHost = 1 << 10

// plainPath is plainURI for a URI without query and fragment.
func plainPath(uri string) string {
	uri = withSlashes(fold(decodePercent(uri)))
	scheme, rest, ok := strings.Cut(uri, ":")
	if !ok || strings.Contains(scheme, "/") {
		return cleanPath(uri)
	}
	isFile := scheme == "file"
	if isFile {
		rest = strings.Replace(rest, "|", ":", 1) // behind a drive's letter
	}
	below := strings.TrimLeft(rest, "/")
	slashes := len(rest) - len(below)
	port, isWeb := webPorts[scheme]
	switch {
	case isWeb, slashes == 2:
		host, rest, hasPath := strings.Cut(below, "/")
		if hasPath || (isWeb || isFile) && !strings.Contains(host, "*") { // a pattern's host may go on
			rest = cleanPath("/" + rest)
		}
		return scheme + "://" + plainHost(scheme, host, port) + rest
	case slashes > 2, isFile:
		return scheme + "://" + cleanPath("/"+below)
	}
	return scheme + ":" + cleanPath(rest)
}

func withSlashes(uri string) string { return strings.ReplaceAll(uri, `\`, "/") }

// isAmbiguousURI reports whether it depends on the order of steps what plainURI is: a slash
// is encoded before the path, or a path with empty segments goes up.
func isAmbiguousURI(uri string) bool {
	uri = withSlashes(withoutQuery(uri))
	_, rest, ok := strings.Cut(uri, ":")
	if !ok {
		rest = uri
	}
	rest = strings.TrimLeft(rest, "/")
	host, _, _ := strings.Cut(rest, "/")
	path := withSlashes(decodePercent(rest))
	return strings.ContainsAny(decodePercent(host), `/\?#`) || strings.Contains(path, "//") && strings.Contains(path, "/..")
}

// plainHost returns the host of a URI without user name and default port, and in ASCII.
func plainHost(scheme, host, port string) string {
	host = host[strings.LastIndexByte(host, '@')+1:]
	host = strings.TrimSuffix(strings.TrimSuffix(host, ":"+port), ":")
	if scheme == "file" && host == "localhost" { // RFC 8089, section 2
		return ""
	}
	if len(host) > maxHost {
		return host
	}
	if ascii, err := idna.Punycode.ToASCII(host); err == nil {
		return ascii
	}
	return host
}

// cleanPath returns a path without dot segments and empty segments.
func cleanPath(p string) string {
	if p == "" {
		return ""
	}
	cleaned := path.Clean(p)
	if cleaned != "/" && (strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.") || strings.HasSuffix(p, "/..")) {
		cleaned += "/"
	}
	return cleaned
}

// decodePercent decodes until nothing is left that is well encoded, in one pass: a decoded
// byte may end an escape or begin one.
func decodePercent(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	decoded := make([]byte, 0, len(s))
	for _, c := range []byte(s) {
		decoded = append(decoded, c)
		for {
			escape := len(decoded) - 3
			if escape < 0 || decoded[escape] != '%' {
				break
			}
			var b [1]byte
			if _, err := hex.Decode(b[:], decoded[escape+1:]); err != nil {
				break
			}
			decoded = append(decoded[:escape], b[0])
		}
	}
	return string(decoded)
}
