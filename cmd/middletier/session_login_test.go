package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"middletier/internal/testkit/redistest"
)

// Where the web app is the service itself, a user who did not consent to an API is asked for that
// again.
func TestRefusedConsentIsAskedForAgain(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t, func(f *file) { f.Session.ClientID, f.Session.ClientCredentials = "", nil })
	page := w.newPage()
	scope := w.file.DownstreamAPIs["todo"].Scopes[0]
	at, err := url.Parse(page.send("GET", "/bff/login?scope="+url.QueryEscape(scope), "").Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	r := page.sendAs("GET", "/signin-oidc?error=access_denied&state="+at.Query().Get("state"), "", true)
	login, err := url.Parse(r.problem.LoginURL)
	if err != nil || r.kind() != "consent-required" || login.Query().Get("scope") != scope {
		t.Errorf("got %d %s, want a loginUrl that asks for %s", r.StatusCode, r.body, scope)
	}
}

// Who may call with any of several scopes is asked to consent to the first, which is the least.
func TestMissingScopeIsAskedForAlone(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t, func(f *file) {
		f.Session.Scopes = []string{"ToDoList.Read"}
		d := f.DownstreamAPIs["todo"]
		for i := range d.Access {
			d.Access[i].Scopes = []string{"ToDoList.ReadWrite", "ToDoList.All"}
		}
		f.DownstreamAPIs["todo"] = d
	})
	r := w.signIn("alice").call("GET", "/bff/api/todo/items", "")
	login, err := url.Parse(r.problem.LoginURL)
	if got := login.Query().Get("scope"); err != nil || r.kind() != "insufficient-scope" || !strings.HasSuffix(got, "/ToDoList.ReadWrite") {
		t.Errorf("got %d %s, want a loginUrl that asks for ToDoList.ReadWrite", r.StatusCode, r.body)
	}
}

// A sign-out forgets the user's tokens, also those that were got for other tokens of theirs.
func TestSignOutOfASessionForgetsTokens(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t)
	token := w.alice()
	call := func(want int) {
		t.Helper()
		if r := w.call("GET", "/api/todo/items", token, ""); r.StatusCode != http.StatusOK || w.idp.Count("on_behalf_of") != want {
			t.Errorf("got %d %s and %d exchanges, want %d", r.StatusCode, r.body, w.idp.Count("on_behalf_of"), want)
		}
	}
	call(1)
	call(1)
	page := w.signIn("alice")
	if r := page.send("GET", page.sessionClaim("bff:logout_url"), ""); r.StatusCode != http.StatusFound {
		t.Fatalf("the sign-out: got %d %s", r.StatusCode, r.body)
	}
	call(2)
}

// A sign-in that began at one replica ends at another.
func TestSignInEndsAtAnotherReplica(t *testing.T) {
	t.Parallel()
	w := newStoppedSessionWorld(t, withRedis(redistest.Start(t)), patientWithRedis)
	w.startReady()
	page := w.newPage()
	location := page.send("GET", "/bff/login", "").Header.Get("Location")
	w.startReady() // requests go to this one now
	callback := page.atPlatform(location, "alice")
	if r := page.sendAs("GET", strings.TrimPrefix(callback, webAppURL), "", true); r.StatusCode != http.StatusOK {
		t.Fatalf("the callback: got %d %s", r.StatusCode, r.body)
	}
	page.wantSession("after the sign-in", true, w.url)
}

// A window is sent to the sign-in below the base path, and the log says why.
func TestWindowsBelowABasePath(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t, func(f *file) { f.Server.BasePath = "/base" })
	window := []string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: cross-site"} // no Sec-Fetch-Dest
	r := w.send("GET", w.url+"/base/bff/api/todo/items", "", nil, window...)
	if want := "/base/bff/login?returnUrl=%2Fbase%2Fbff%2Fapi%2Ftodo%2Fitems"; r.StatusCode != 302 || r.Header.Get("Location") != want {
		t.Errorf("got %d to %q %s, want %q", r.StatusCode, r.Header.Get("Location"), r.body, want)
	}
	lines := w.log.lines(t)
	if line := lines[len(lines)-1]; line["status"] != 302.0 || line["problem"] != "session-required" {
		t.Errorf("log line: got %v, want that a session is required", line)
	}
}

// A user who types the address of a page that reads who is signed in, with an extension that adds
// the header, is no other site.
func TestTypedAddressIsNoOtherSite(t *testing.T) {
	t.Parallel()
	page := newSessionWorld(t).signIn("alice")
	typed := []string{"X-CSRF: 1", "Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}
	if r := page.send("GET", "/bff/user", "", typed...); r.StatusCode != http.StatusOK {
		t.Errorf("got %d %s, want the user", r.StatusCode, r.body)
	}
}
