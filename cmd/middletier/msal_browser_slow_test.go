//go:build slow

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// pageClient is the client ID of the page of clients/javascript/msal-browser.
const pageClient = "99999999-0000-4000-8000-000000000001"

// todoPage is that page in a browser. It and the platform are of different sites, and
// nobody has consented to what it wants.
type todoPage struct {
	*browser
	stack  *stack
	origin string
}

// newTodoPage starts everything, and opens the page.
func newTodoPage(t *testing.T) *todoPage {
	t.Helper()
	javascriptClients(t)
	p := &todoPage{stack: startPlatform(t)}
	p.origin = p.serve(t)
	p.stack.startService("Server__CORS__AllowedOrigins__0=" + p.origin)
	p.stack.manage("POST", "/mock/apps", map[string]any{
		"name": "page", "tenantId": demoTenant, "clientId": pageClient,
		"redirectUris": map[string]any{"spa": []string{p.origin + "/", p.origin + "/redirect.html"}},
	})
	p.browser = newBrowser(t, chromedp.IgnoreCertErrors, withForeignCookies(t))
	p.do(chromedp.Navigate(p.origin + "/"))
	p.shows("nobody", "ready")
	return p
}

// withForeignCookies makes the browser send the platform's cookie from a frame of another
// site, without which MSAL cannot see there that a user is signed in. Chromium allows that
// by default, Debian's does not.
func withForeignCookies(t *testing.T) chromedp.ExecAllocatorOption {
	profile := filepath.Join(t.TempDir(), "Default")
	if err := os.Mkdir(profile, 0o700); err != nil {
		t.Fatal(err)
	}
	writeTo(t, filepath.Join(profile, "Preferences"), `{"profile": {"block_third_party_cookies": false, "cookie_controls_mode": 0}}`)
	return chromedp.UserDataDir(filepath.Dir(profile))
}

// serve serves the page, with MSAL.js as its package has it, and returns its origin.
func (p *todoPage) serve(t *testing.T) string {
	library := filepath.Join(javascript, "node_modules", "@azure", "msal-browser", "lib")
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(filepath.Join(javascript, "msal-browser"))))
	mux.Handle("/msal-browser.min.js", http.FileServer(http.Dir(library)))
	mux.Handle("/msal-redirect-bridge.min.js", http.FileServer(http.Dir(filepath.Join(library, "redirect-bridge"))))
	mux.HandleFunc("/settings.js", func(w http.ResponseWriter, _ *http.Request) {
		settings, _ := json.Marshal(map[string]any{ // strings always encode
			"platform": p.stack.platform, "service": p.stack.service, "tenant": demoTenant, "clientId": pageClient,
			"scopes": []string{"api://" + demoMiddleTier + "/ToDoList.ReadWrite"}, "loginHint": "alice@contoso.example",
		})
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = fmt.Fprintf(w, "const settings = %s;\n", settings)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
}

// press presses a button of the page.
func (p *todoPage) press(id string) {
	p.t.Helper()
	p.do(chromedp.Click(chromedp.CSS("#" + id)))
}

// shows waits until the page shows a result, and compares it and who is signed in. On the
// way there may be other pages.
func (p *todoPage) shows(user, result string) {
	p.t.Helper()
	var got struct{ User, Result string }
	eventually(p.t, func() bool {
		now, err := chromedp.Run(p.ctx, chromedp.Evaluate[[]string](
			`["user", "result"].map(id => document.getElementById(id)?.textContent ?? "")`))
		if err != nil || now[1] == "" {
			return false // between two pages, or not there yet
		}
		got.User, got.Result = now[0], now[1]
		return true
	}, func() string {
		p.mu.Lock()
		defer p.mu.Unlock()
		where, _ := chromedp.Run(p.ctx, chromedp.Evaluate[string](`location.href + " " + document.body.innerText`))
		return fmt.Sprintf("no result on %s; complaints %q", where, p.complaints)
	})
	if got.User != user || got.Result != result {
		p.t.Errorf("got %+v, want %s and %s", got, user, result)
	}
}

// choose presses the button with a text on a page of the platform, when that is there.
func (b *browser) choose(text string) {
	b.t.Helper()
	b.finds(text, "button?.click();")
}

// offers waits for a button, such as one that only the next page has.
func (b *browser) offers(text string) {
	b.t.Helper()
	b.finds(text, "")
}

// finds waits for a button, and does something with it.
func (b *browser) finds(text, does string) {
	b.t.Helper()
	find := chromedp.Evaluate[bool](fmt.Sprintf(`(() => {
		const button = [...document.querySelectorAll("button")].find(button => button.innerText.includes(%q));
		%s
		return Boolean(button);
	})()`, text, does))
	eventually(b.t, func() bool {
		found, err := chromedp.Run(b.ctx, find)
		return err == nil && found // between two pages there is an error
	}, func() string { return fmt.Sprintf("no button %q", text) })
}

// inPopup returns the tab that an action opens, which is none of those before: one that
// closes is reported once more.
func (b *browser) inPopup(action func(), before ...*browser) *browser {
	b.t.Helper()
	opened := chromedp.WaitNewTarget(b.ctx, func(tab *target.Info) bool {
		return !slices.ContainsFunc(before, func(old *browser) bool { return tab.TargetID == old.tab() })
	})
	action()
	select {
	case id := <-opened:
		ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithTargetID(id))
		b.t.Cleanup(cancel)
		return &browser{t: b.t, ctx: ctx}
	case <-b.ctx.Done():
		b.t.Fatal("no window opened")
		return nil
	}
}

// tab is the browser's name for the tab.
func (b *browser) tab() target.ID { return chromedp.FromContext(b.ctx).Target.TargetID }

// A page signs users in with MSAL.js by redirect, gets their consent, and calls the
// service across origins, with new tokens too, until the user signs out.
func TestSlowMSALSignsInAPage(t *testing.T) {
	p := newTodoPage(t)
	p.stack.addItems()
	p.press("signInByRedirect")
	p.choose(alice)
	p.choose("Accept")
	p.shows(alice, "ready")
	p.press("list")
	p.shows(alice, "tea")
	p.press("renew")
	p.shows(alice, "tea")

	// A tab that knows nothing finds the user signed in, in a hidden frame.
	ask(p.browser, chromedp.Evaluate[bool](`localStorage.clear(), sessionStorage.clear(), true`))
	p.do(chromedp.Reload())
	p.shows("nobody", "ready")
	p.press("signInSilently")
	p.shows(alice, "signed in")
	p.press("list")
	p.shows(alice, "tea")

	p.press("signOut")
	p.shows("nobody", "ready")
	p.press("signInSilently")
	p.shows("nobody", "InteractionRequiredAuthError login_required")
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, complaint := range p.complaints {
		if !strings.Contains(complaint, "allow-same-origin") { // MSAL's own, of its frame
			t.Errorf("complaint: %s", complaint)
		}
	}
}

// A page signs a user in with MSAL.js in a window of its own, if they consent.
func TestSlowMSALSignsInAWindow(t *testing.T) {
	p := newTodoPage(t)
	p.stack.addItems()
	popup := p.inPopup(func() { p.press("signInByPopup") })
	popup.choose(bob)
	popup.offers("Accept") // Cancel is on the page before, too
	popup.choose("Cancel")
	p.shows("nobody", "ServerError access_denied")
	popup = p.inPopup(func() { p.press("signInByPopup") }, popup)
	popup.choose("Accept")
	p.shows(bob, "signed in")
	p.press("list")
	p.shows(bob, "coffee")
}

// A page answers a claims challenge of the service: the user proves more, and the new token
// says so.
func TestSlowMSALAnswersClaimsChallenges(t *testing.T) {
	p := newTodoPage(t)
	p.stack.addItems()
	p.press("signInByRedirect")
	p.choose(alice)
	p.choose("Accept")
	p.shows(alice, "ready")
	p.stack.manage("POST", "/mock/faults", map[string]any{
		"flow": "on_behalf_of", "times": 1, "error": "interaction_required", "error_codes": []int{50076},
		"claims": `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`,
	})
	p.press("list")
	p.choose("Prove it is me")
	p.shows(alice, "tea, c1")
	p.press("renew")
	p.shows(alice, "tea, c1")
}
