package downstream

import (
	"net/http"
	"strings"
)

// makePrivate makes a response one for the caller's own browser, and for the cookie that the
// request had. Shared caches keep no answer to a request with Authorization, unless they are
// told to (RFC 9111, section 3.5), but know nothing of what our cookies mean.
func makePrivate(h http.Header) {
	var directives []string
	isPrivate := false
	for _, value := range h["Cache-Control"] {
		hasNames := strings.Contains(value, `"`) // private="X" is about the header X alone
		for directive := range strings.SplitSeq(value, ",") {
			directive = strings.TrimSpace(directive)
			name, _, _ := strings.Cut(strings.ToLower(directive), "=")
			switch name {
			case "", "public", "s-maxage":
				continue
			case "private", "no-store":
				isPrivate = isPrivate || !hasNames
			}
			directives = append(directives, directive)
		}
	}
	if !isPrivate {
		directives = append([]string{"private"}, directives...)
	}
	for name := range h {
		if folded := fold(name); folded == "Cache-Control" || isForSharedCaches(folded) {
			delete(h, name)
		}
	}
	h["Cache-Control"] = []string{strings.Join(directives, ", ")}
	h.Add("Vary", "Cookie")
}

// isForSharedCaches reports whether a header is for shared caches alone, which heed it before
// Cache-Control (RFC 9213, section 2.2; nginx's own; that of Edge Side Includes).
func isForSharedCaches(folded string) bool {
	return strings.HasSuffix(folded, "Cdn-Cache-Control") || folded == "X-Accel-Expires" || folded == "Surrogate-Control"
}
