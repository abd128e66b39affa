package mcp

import (
	"encoding/hex"
	"path"
	"strings"
)

// plainURI returns a URI as servers read it that decode it and resolve its dot segments
// (RFC 3986, sections 2.1 and 5.2.4), in whatever order.
func plainURI(uri string) string {
	for decoded := decodePercent(uri); decoded != uri; decoded = decodePercent(uri) {
		uri = decoded
	}
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

// decodePercent decodes what is well encoded, and leaves the rest as it is.
func decodePercent(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	decoded := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if b, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
				decoded = append(decoded, b...)
				i += 2
				continue
			}
		}
		decoded = append(decoded, s[i])
	}
	return string(decoded)
}
