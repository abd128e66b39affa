package main

import (
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"middletier/internal/mockidp"
)

const (
	webAppURL   = "https://app.contoso.example" // where browsers reach a service with sessions
	sessionName = "__Host-middletier"
)

// sessionDirectory is the directory of a service with sessions.
func sessionDirectory() mockidp.Directory {
	directory := testDirectory()
	for i := range directory.Apps {
		if app := &directory.Apps[i]; app.ClientID == demoWeb {
			app.RedirectURIs.Web = []string{webAppURL + "/signin-oidc", webAppURL + "/signout-callback-oidc"}
		}
	}
	return directory
}

// newStoppedSessionWorld is newStoppedWorld with sessions of the web app that the directory has.
func newStoppedSessionWorld(t *testing.T, change ...func(*file)) *world {
	t.Helper()
	return newStoppedSessionWorldOf(t, sessionDirectory(), change...)
}

// newStoppedSessionWorldOf is newStoppedSessionWorld with a directory of the test's own.
func newStoppedSessionWorldOf(t *testing.T, directory mockidp.Directory, change ...func(*file)) *world {
	t.Helper()
	return newStoppedWorldOf(t, directory, append([]func(*file){withSessions, func(f *file) {
		f.Session.ClientID = demoWeb
	}}, change...)...)
}

func newSessionWorld(t *testing.T, change ...func(*file)) *world {
	t.Helper()
	w := newStoppedSessionWorld(t, change...)
	w.startReady()
	return w
}

// page is a user's browser with a page of the service's own origin.
type page struct {
	w        *world
	cookies  map[string]*http.Cookie // of the service
	platform *http.Client            // with the cookies of the platform
}

func (w *world) newPage() *page {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	client := &http.Client{Transport: w.transport(), Jar: jar, CheckRedirect: noRedirects.CheckRedirect}
	return &page{w, map[string]*http.Cookie{}, client}
}

// signIn returns a page whose user, by name, has a session.
func (w *world) signIn(user string) *page {
	w.t.Helper()
	p := w.newPage()
	p.follow("/bff/login", user)
	return p
}

// send sends a request with the page's cookies and header lines. A request that begins at
// another site has no Strict cookies.
func (p *page) send(method, path, body string, lines ...string) *reply {
	p.w.t.Helper()
	return p.sendAs(method, path, body, false, lines...)
}

func (p *page) sendAs(method, path, body string, crossSite bool, lines ...string) *reply {
	p.w.t.Helper()
	for _, c := range p.cookies {
		if !crossSite || c.SameSite != http.SameSiteStrictMode {
			lines = append(lines, "Cookie: "+c.Name+"="+c.Value)
		}
	}
	r := p.w.send(method, p.w.url+path, "", strings.NewReader(body), lines...)
	for _, c := range r.Cookies() {
		if p.cookies[c.Name] = c; c.MaxAge < 0 {
			delete(p.cookies, c.Name)
		}
	}
	return r
}

// call is a fetch of a script of the page.
func (p *page) call(method, path, body string, more ...string) *reply {
	p.w.t.Helper()
	return p.send(method, path, body, append(append([]string(nil), ownPage...), more...)...)
}

var (
	formAction = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
	formFlow   = regexp.MustCompile(`name="flow" value="([^"]*)"`)
	goOn       = regexp.MustCompile(`http-equiv="refresh" content="0;url=([^"]*)"`)
)

// follow opens a login URL, does what the platform's pages ask of the user, and returns where
// the browser is at the end.
func (p *page) follow(loginURL, user string) string {
	t := p.w.t
	t.Helper()
	r := p.send("GET", loginURL, "")
	if r.StatusCode != http.StatusFound {
		t.Fatalf("%s: got %d %s, want 302", loginURL, r.StatusCode, r.body)
	}
	callback := p.atPlatform(r.Header.Get("Location"), user)
	r = p.sendAs("GET", strings.TrimPrefix(callback, webAppURL), "", true)
	next := goOn.FindStringSubmatch(r.body)
	if r.StatusCode != http.StatusOK || next == nil {
		t.Fatalf("the callback: got %d %s, want a page that goes on; log:\n%s", r.StatusCode, r.body, p.w.log)
	}
	return html.UnescapeString(next[1])
}

// atPlatform opens a URL of the platform, and returns the URL of ours that it redirects to.
func (p *page) atPlatform(location, user string) string {
	t := p.w.t
	t.Helper()
	form := url.Values(nil)
	for range 6 {
		method := "GET"
		if form != nil {
			method = "POST"
		}
		req, err := http.NewRequest(method, location, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		if form != nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set("Origin", p.w.idp.URL())
			req.Header.Set("Sec-Fetch-Site", "same-origin")
		}
		r := p.w.doAs(p.platform, req)
		if next := r.Header.Get("Location"); next != "" {
			if !strings.HasPrefix(next, webAppURL) {
				t.Fatalf("the platform sends the browser to %s", next)
			}
			return next
		}
		action, flow := formAction.FindStringSubmatch(r.body), formFlow.FindStringSubmatch(r.body)
		if action == nil || flow == nil {
			t.Fatalf("no form in the platform's answer %d: %s", r.StatusCode, r.body)
		}
		form = url.Values{"flow": {html.UnescapeString(flow[1])}, "action": {"choose"}, "user": {objectIDs[user]}}
		for _, other := range []string{"consent", "prove"} {
			if strings.Contains(r.body, `value="`+other+`"`) {
				form.Set("action", other)
			}
		}
		location = p.w.idp.URL() + html.UnescapeString(action[1])
	}
	t.Fatal("the platform asks for ever")
	return ""
}

// objectIDs are those of the demo's users.
var objectIDs = map[string]string{
	"alice": "aaaaaaaa-0000-4000-8000-000000000001", "bob": "bbbbbbbb-0000-4000-8000-000000000002",
}
