package main

import (
	"net/http"
	"strings"
	"testing"

	"middletier/internal/validate"
)

// The user's token may come from the platform's sign-in, in a header that a cookie
// causes. It is one token like any other, but not for pages of other origins.
func TestTokenOfThePlatformsSignIn(t *testing.T) {
	t.Parallel()
	const header = "X-MS-TOKEN-AAD-ACCESS-TOKEN: "
	on := func(f *file) {
		f.Server.EasyAuth, f.Server.PublicURL = true, "https://Api.contoso.example:443/"
		f.Server.CORS.AllowedOrigins = []string{"https://listed.example"}
	}
	w, off := newWorld(t, on), newWorld(t)
	for _, world := range []*world{w, off} { // with a policy of its own
		world.api.handle(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Security-Policy", "default-src 'self'")
		})
	}
	alice, expired := w.alice(), w.idp.UserClaims("alice", "app", "middletier", "ToDoList.ReadWrite")
	expired["exp"] = 1
	own := "Origin: https://api.contoso.example"
	for _, row := range []struct {
		name   string
		bearer string
		lines  []string
		status int
		kind   string
	}{
		{"alone", "", []string{header + alice}, 200, ""},
		{"of our own page", "", []string{header + alice, own, "Sec-Fetch-Site: same-origin"}, 200, ""},
		{"the user opens the URL", "", []string{header + alice, "Sec-Fetch-Site: none"}, 200, ""},
		{"of a listed page, by an old browser", "", []string{header + alice, "Origin: https://listed.example"}, 200, ""},
		{"another site", "", []string{header + alice, "Sec-Fetch-Site: cross-site"}, 403, "cross-site-request"},
		{"another site, listed", "", []string{header + alice, "Origin: https://listed.example", "Sec-Fetch-Site: cross-site"}, 403, "cross-site-request"},
		{"another origin of our site", "", []string{header + alice, "Sec-Fetch-Site: same-site"}, 403, "cross-site-request"},
		{"another origin that says same-origin", "", []string{header + alice, "Origin: https://evil.example", "Sec-Fetch-Site: same-origin"}, 403, "cross-site-request"},
		{"a second value", "", []string{header + alice, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"}, 403, "cross-site-request"},
		{"an unknown site", "", []string{header + alice, "Sec-Fetch-Site: next-door"}, 403, "cross-site-request"},
		{"another origin", "", []string{header + alice, "Origin: https://evil.example"}, 403, "cross-site-request"},
		{"a frame without an origin", "", []string{header + alice, "Origin: null"}, 403, "cross-site-request"},
		{"ours over http", "", []string{header + alice, "Origin: http://api.contoso.example"}, 403, "cross-site-request"},
		{"ours with another port", "", []string{header + alice, "Origin: https://api.contoso.example:8443"}, 403, "cross-site-request"},
		{"an origin that begins like ours", "", []string{header + alice, "Origin: https://api.contoso.example.evil.example"}, 403, "cross-site-request"},
		{"two origins", "", []string{header + alice, own, "Origin: https://evil.example"}, 403, "cross-site-request"},
		{"another site, expired", "", []string{header + w.idp.Sign(expired), "Sec-Fetch-Site: cross-site"}, 403, "cross-site-request"},
		{"both", alice, []string{header + alice}, 400, "invalid-request"},
		{"both, Basic", "", []string{header + alice, "Authorization: Basic eDp5"}, 400, "invalid-request"},
		{"both, one empty", "", []string{header + alice, "Authorization: "}, 400, "invalid-request"},
		{"twice", "", []string{header + alice, header + alice}, 400, "invalid-request"},
		{"a list", "", []string{header + alice + "," + alice}, 400, "invalid-request"},
		{"with a scheme", "", []string{header + "Bearer " + alice}, 400, "invalid-request"},
		{"empty", "", []string{header}, 401, "missing-token"},
		{"no token", "", []string{header + "x"}, 401, "invalid-token"},
		{"expired", "", []string{header + w.idp.Sign(expired)}, 401, "invalid-token"},
		{"of an application", "", []string{header + w.daemon()}, 403, "wrong-token-type"},
		{"huge", "", []string{header + strings.Repeat("x", validate.MaxTokenSize+1)}, 431, "headers-too-large"},
		{"another header of the sign-in", "", []string{"X-MS-TOKEN-AAD-ID-TOKEN: " + alice}, 401, "missing-token"},
		{"in the spelling of CGI", "", []string{"X_MS_TOKEN_AAD_ACCESS_TOKEN: " + alice}, 401, "missing-token"},
		{"Authorization alone, of another site", alice, []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example"}, 200, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := w.say("/api/todo/items", row.bearer, row.lines...)
			kind := ""
			if r.StatusCode != 200 {
				kind = r.kind()
			}
			if r.StatusCode != row.status || kind != row.kind {
				t.Errorf("got %d %s, want %d %s", r.StatusCode, r.body, row.status, row.kind)
			}
			policy := strings.Join(r.Header["Content-Security-Policy"], "; ")
			brought := strings.HasPrefix(row.lines[0], header)
			if strings.Contains(policy, "sandbox") != brought || brought && r.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("got %v", r.Header)
			}
			if r.StatusCode == 200 && !strings.Contains(policy, "default-src 'self'") {
				t.Errorf("the API's own policy is lost: got %q", policy)
			}
			for name := range w.api.last(t).Header {
				if strings.Contains(strings.ReplaceAll(strings.ToUpper(name), "_", "-"), "X-MS-TOKEN") {
					t.Errorf("the API got %s", name)
				}
			}
		})
	}
	if r := off.say("/api/todo/items", "", header+off.alice()); r.StatusCode != 401 || r.kind() != "missing-token" ||
		r.Header.Get("Content-Security-Policy") != "" {
		t.Errorf("switched off: got %d %s %v", r.StatusCode, r.body, r.Header)
	}
}

// The origin of our own pages is what a trusted proxy says, without publicUrl; /signout
// is as careful as /api.
func TestSignOutOfThePlatformsSignIn(t *testing.T) {
	w := withProxies(t, []string{"127.0.0.0/8"}, func(f *file) { f.Server.EasyAuth = true })
	for _, row := range []struct {
		origin, site string
		status       int
	}{
		{"https://api.contoso.example", "same-origin", 204},
		{"http://api.contoso.example", "", 403},
		{"https://evil.example", "cross-site", 403},
		{"", "same-site", 403},
	} {
		req, err := http.NewRequest("POST", w.url+"/signout", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Ms-Token-Aad-Access-Token", w.alice())
		req.Header.Set("X-Forwarded-Proto", "https")
		req.Header.Set("X-Forwarded-Host", "API.contoso.example")
		for name, value := range map[string]string{"Origin": row.origin, "Sec-Fetch-Site": row.site} {
			if value != "" {
				req.Header.Set(name, value)
			}
		}
		if r := w.do(req); r.StatusCode != row.status || r.Header.Get("Content-Security-Policy") != "sandbox" {
			t.Errorf("%s %s: got %d %s %v, want %d", row.origin, row.site, r.StatusCode, r.body, r.Header, row.status)
		}
	}
}
