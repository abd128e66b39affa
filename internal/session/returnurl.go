package session

import (
	"net/url"
	"strings"
)

// maxReturnURL bounds a URL to return to, in bytes.
const maxReturnURL = 2 << 10

// localURL returns text, a path of our own origin with query and fragment, as it can stand in a
// header. ok is false for whatever a browser, or a server that decodes a path once more, might
// take for another origin's URL.
func localURL(text string) (local string, ok bool) {
	if len(text) > maxReturnURL || !strings.HasPrefix(text, "/") || strings.ContainsFunc(text, isUnsafe) {
		return "", false
	}
	path := text
	if end := strings.IndexAny(text, "?#"); end >= 0 {
		path = text[:end]
	}
	for range maxDecodings {
		if !isPlain(path) {
			return "", false
		}
		decoded, err := url.PathUnescape(path)
		if err != nil {
			return "", false
		}
		if decoded == path {
			return escapeRest(text), true
		}
		path = decoded
	}
	return "", false // nobody encodes a path so often
}

// maxDecodings bounds how often a path is decoded in search of what it hides.
const maxDecodings = 4

// isPlain reports whether a path, decoded or not, stays what it is.
func isPlain(path string) bool {
	if strings.HasPrefix(path, "//") || strings.ContainsFunc(path, isUnsafe) {
		return false
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if strings.TrimSpace(first) != first {
		return false
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// isUnsafe reports whether browsers drop a character, or read it as a slash.
func isUnsafe(c rune) bool { return c < ' ' || c == 0x7f || c == '\\' }

// escapeRest escapes what cannot stand in a header or an attribute as it is.
func escapeRest(text string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(text) {
		if c <= ' ' || c > '~' || strings.IndexByte("\"<>`{}|^", c) >= 0 {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}
