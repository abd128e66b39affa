package mcp

import (
	"encoding/hex"
	"path"
	"strings"
)

// plainURI returns a URI as servers read it that decode it and resolve its dot segments
// (RFC 3986, sections 2.1 and 5.2.4), in whatever order.
func plainURI(uri string) string {
	uri = decodePercent(uri)
	scheme, rest, ok := strings.Cut(strings.ReplaceAll(uri, `\`, "/"), "://")
	if !ok {
		return uri
	}
	host, rest, hasPath := strings.Cut(rest, "/")
	if !hasPath {
		return scheme + "://" + host
	}
	cleaned := path.Clean("/" + rest)
	if strings.HasSuffix(rest, "/") && cleaned != "/" {
		cleaned += "/"
	}
	return scheme + "://" + host + cleaned
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
