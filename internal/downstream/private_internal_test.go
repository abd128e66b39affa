package downstream

import (
	"net/http"
	"slices"
	"testing"
)

// An answer to a request with a session's cookie stays out of shared caches, whatever the API
// says, and is not used for another cookie.
func TestAnswersOfSessionsArePrivate(t *testing.T) {
	for _, row := range []struct {
		sent []string
		want string
	}{
		{nil, "private"},
		{[]string{""}, "private"},
		{[]string{"max-age=60"}, "private, max-age=60"},
		{[]string{"public, max-age=60"}, "private, max-age=60"},
		{[]string{"PUBLIC,S-MaxAge=60 , must-revalidate"}, "private, must-revalidate"},
		{[]string{"public", "max-age=60"}, "private, max-age=60"},
		{[]string{"private, max-age=60"}, "private, max-age=60"},
		{[]string{"max-age=60", "Private"}, "max-age=60, Private"},
		{[]string{"no-store"}, "no-store"},
		{[]string{"public, no-store"}, "no-store"},
		{[]string{"no-cache"}, "private, no-cache"},
		{[]string{`private="X-A"`}, `private, private="X-A"`},
		{[]string{`max-age=60, x="a, no-store, b"`}, `private, max-age=60, x="a, no-store, b"`},
	} {
		h := http.Header{"Cache-Control": row.sent, "Vary": {"Accept"}, "Expires": {"0"}}
		for _, name := range []string{"CDN-Cache-Control", "Cloudflare-CDN-Cache-Control", "Surrogate-Control", "X-Accel-Expires"} {
			h.Set(name, "max-age=60")
		}
		makePrivate(h)
		if got := h["Cache-Control"]; !slices.Equal(got, []string{row.want}) {
			t.Errorf("Cache-Control %q: got %q, want %q", row.sent, got, row.want)
		}
		if got := h["Vary"]; !slices.Equal(got, []string{"Accept", "Cookie"}) || len(h) != 3 {
			t.Errorf("Cache-Control %q: got headers %v, want no other of caches, and Vary: Accept, Cookie", row.sent, h)
		}
	}
}
