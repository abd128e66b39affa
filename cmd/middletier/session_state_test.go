package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"middletier/internal/credential"
	"middletier/internal/mockidp"
	"middletier/internal/testkit/redistest"
)

// wantSession: a call of page succeeds at each of these replicas, or is told to sign in.
func (p *page) wantSession(when string, alive bool, urls ...string) {
	p.w.t.Helper()
	for _, url := range urls {
		p.w.url = url
		r := p.call("GET", "/bff/api/todo/items", "")
		if (r.StatusCode == http.StatusOK) != alive || !alive && (r.StatusCode != http.StatusUnauthorized || r.kind() != "session-required") {
			p.w.t.Errorf("%s: got %d %s, want a session: %v", when, r.StatusCode, r.body, alive)
		}
	}
}

// Replicas share sessions in Redis, and what an operator deletes at one has ended at all.
func TestSessionsEndOnEveryReplica(t *testing.T) {
	t.Parallel()
	w := newStoppedSessionWorld(t, withRedis(redistest.Start(t)), patientWithRedis)
	first := w.startReady()
	admin := httptest.NewServer(first.api.Admin(new(slog.LevelVar)))
	t.Cleanup(admin.Close)
	urls := []string{w.url}
	w.startReady()
	urls = append(urls, w.url)
	alice, bob := w.signIn("alice"), w.signIn("bob") // at the second
	alice.wantSession("at first", true, urls...)
	bob.wantSession("at first", true, urls...)
	if r := w.ask("DELETE", admin.URL+"/cache/users/"+demoTenant+"/"+objectIDs["alice"]); r.StatusCode != http.StatusNoContent {
		t.Fatalf("got %d %s", r.StatusCode, r.body)
	}
	cookie := *alice.cookies[sessionName]
	for _, url := range []string{urls[1], urls[0]} { // the other replica first
		alice.cookies[sessionName] = &cookie // a refusal deletes it
		alice.wantSession("after alice's deletion", false, url)
	}
	bob.wantSession("after alice's deletion", true, urls...)
	if r := w.ask("DELETE", admin.URL+"/cache"); r.StatusCode != http.StatusNoContent {
		t.Fatalf("got %d %s", r.StatusCode, r.body)
	}
	bob.wantSession("after the deletion of everything", false, urls[1])
}

// While Redis cannot be read, nobody knows whether there is a session: pages try again, and
// keep the cookie.
func TestSessionsWaitForRedis(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	w := newSessionWorld(t, withRedis(redis), patientWithRedis)
	alice := w.signIn("alice")
	alice.wantSession("with Redis", true, w.url)
	cookie := alice.cookies[sessionName].Value
	redis.Kill()
	for _, path := range []string{"/bff/api/todo/items", "/bff/user", "/bff/api/todo/items"} {
		r := alice.call("GET", path, "")
		if r.StatusCode != http.StatusServiceUnavailable || r.kind() != "shared-cache-unavailable" || r.Header.Get("Retry-After") == "" ||
			r.problem.LoginURL != "" {
			t.Errorf("%s: got %d %s, want 503 shared-cache-unavailable with Retry-After", path, r.StatusCode, r.body)
		}
		if set := r.Header["Set-Cookie"]; set != nil {
			t.Errorf("%s: Set-Cookie: got %q, want the cookie to stay", path, set)
		}
	}
	if got := alice.cookies[sessionName]; got == nil || got.Value != cookie {
		t.Errorf("the cookie: got %v, want it as it was", got)
	}
	if r := w.newPage().call("GET", "/bff/api/todo/items", ""); r.StatusCode != http.StatusUnauthorized || r.kind() != "session-required" {
		t.Errorf("without a cookie: got %d %s, want 401 session-required", r.StatusCode, r.body)
	}
}

// The provider's page does not repeat a sign-out, so one that comes while Redis is frozen counts
// when Redis answers again, on every replica. The page does not wait for that.
func TestSignOutAtTheProviderWaitsForRedis(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	w := newStoppedSessionWorld(t, withRedis(redis), func(f *file) {
		f.TokenCache.Redis.Timeout = time.Second // three times it passes while Redis is frozen
	})
	w.startReady()
	urls := []string{w.url}
	w.startReady()
	urls = append(urls, w.url)
	alice, bob := w.signIn("alice"), w.signIn("bob")
	cookie := *alice.cookies[sessionName]
	user := alice.call("GET", "/bff/user", "")
	sid := regexp.MustCompile(`/bff/logout\?sid=([^"]+)`).FindStringSubmatch(user.body)
	if sid == nil {
		t.Fatalf("/bff/user: got %d %s, want a bff:logout_url", user.StatusCode, user.body)
	}
	redis.Freeze()
	for range 3 { // then Redis is left alone: what comes is not even sent
		if r := alice.call("GET", "/bff/user", ""); r.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("while Redis is frozen: got %d %s, want 503", r.StatusCode, r.body)
		}
	}
	if r := w.newPage().send("GET", "/signout-oidc?sid="+sid[1], ""); r.StatusCode != http.StatusOK {
		t.Errorf("/signout-oidc while Redis is frozen: got %d %s, want 200", r.StatusCode, r.body)
	}
	if log := w.log.String(); !strings.Contains(log, "not ended until Redis answers again") || strings.Contains(log, sid[1]) {
		t.Errorf("log: want a line that says that the sign-out waits, without the sid, in\n%s", log)
	}
	redis.Thaw()
	for _, url := range urls {
		w.url = url
		eventually(t, func() bool {
			alice.cookies[sessionName] = &cookie // a refusal deletes it
			return alice.call("GET", "/bff/user", "").StatusCode == http.StatusUnauthorized
		}, func() string { return "the session lives on" })
	}
	bob.wantSession("after alice's sign-out", true, urls...)
}

// A session's own access token that is refused, here since its signing key was revoked, is
// solved by a sign-in, and only once.
func TestSessionTokensOfRevokedKeys(t *testing.T) {
	t.Parallel()
	w := newStoppedSessionWorld(t, withRedis(redistest.Start(t)), patientWithRedis)
	w.startReady()
	alice := w.signIn("alice")
	alice.wantSession("at first", true, w.url)
	w.idp.RotateKeys(false)
	w.startReady() // a replica that never knew the key
	r := alice.call("GET", "/bff/api/todo/items", "")
	if r.StatusCode != http.StatusUnauthorized || r.kind() != "invalid-token" || r.problem.LoginURL != "/bff/login?returnUrl=%2F" {
		t.Fatalf("got %d %s, want 401 invalid-token with a loginUrl", r.StatusCode, r.body)
	}
	alice.follow(r.problem.LoginURL, "alice")
	alice.wantSession("after the sign-in", true, w.url)
}

// Calls of sessions count for the user's quota as those with tokens do.
func TestCallsOfSessionsHaveAQuota(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t, func(f *file) { f.Server.RateLimit = rateLimit{RequestsPerSecond: 0.01, Burst: 2} })
	alice, elsewhere, bob := w.signIn("alice"), w.signIn("alice"), w.signIn("bob")
	alice.wantSession("the first call", true, w.url)
	elsewhere.wantSession("the second, of another session", true, w.url)
	r := alice.call("GET", "/bff/api/todo/items", "")
	if r.StatusCode != http.StatusTooManyRequests || r.kind() != "rate-limited" || r.Header.Get("Retry-After") == "" {
		t.Errorf("the third: got %d %s, want 429 rate-limited", r.StatusCode, r.body)
	}
	bob.wantSession("bob's first", true, w.url)
}

// The user consents where the problem says, comes back to where the page was, and the call goes
// through.
func TestPagesAskForConsent(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t)
	alice := w.signIn("alice")
	w.idp.AddFault(mockidp.Fault{Flow: "on_behalf_of", Times: 1, Error: "invalid_grant", Suberror: "consent_required", ErrorCodes: []int{65001}})
	r := alice.call("GET", "/bff/api/todo/items", "", "Referer: "+webAppURL+"/lists/7?done=1")
	if r.StatusCode != http.StatusForbidden || r.kind() != "consent-required" || !strings.Contains(r.problem.LoginURL, "prompt=consent") {
		t.Fatalf("got %d %s, want 403 consent-required with a loginUrl", r.StatusCode, r.body)
	}
	if next := alice.follow(r.problem.LoginURL, "alice"); next != "/lists/7?done=1" {
		t.Errorf("after the consent: got %q, want the page", next)
	}
	alice.wantSession("after the consent", true, w.url)
}

// The metric of the certificate is about the web app's too.
func TestCertificateOfSessions(t *testing.T) {
	t.Parallel()
	certificate, path := newCertificate(t)
	directory := testDirectory()
	for i := range directory.Apps {
		if app := &directory.Apps[i]; app.ClientID == demoWeb {
			app.Secrets, app.Certificates = nil, certificate
			app.RedirectURIs.Web = []string{webAppURL + "/signin-oidc"}
		}
	}
	w := newStoppedWorldOf(t, directory, withSessions, func(f *file) {
		f.Session.ClientID = demoWeb
		f.Session.ClientCredentials = []credential.Config{{SourceType: "Path", CertificateDiskPath: path}}
	})
	p := w.startReady()
	w.signIn("alice").wantSession("with a certificate", true, w.url)
	if want := "middletier_credential_expiry_timestamp_seconds "; !strings.Contains(p.scrape(t), want) {
		t.Errorf("metrics: want %q", want)
	}
}
