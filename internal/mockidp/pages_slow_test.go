//go:build slow

package mockidp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"middletier/internal/mockidp"
	"middletier/internal/testkit/tooltest"
)

// application is a web app that shows what it gets, and notes who signs out.
type application struct {
	*httptest.Server
	mu        sync.Mutex // guards signedOut
	signedOut []string   // queries of the front-channel logout
}

func newApplication(t *testing.T) *application {
	a := &application{}
	mux := http.NewServeMux()
	mux.HandleFunc("/back", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		fmt.Fprintf(w, "<!DOCTYPE html><link rel=icon href=data:,><p id=got>%s code=%t state=%s error=%s</p>",
			r.Method, r.Form.Has("code"), url.QueryEscape(r.Form.Get("state")), url.QueryEscape(r.Form.Get("error")))
	})
	// The page that a hidden frame comes back to tells its parent what it got.
	mux.HandleFunc("/silent", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `<!DOCTYPE html><script>parent.got = location.hash</script>`)
	})
	mux.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `<!DOCTYPE html><link rel=icon href=data:,><iframe></iframe>`)
	})
	mux.HandleFunc("/out", func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.signedOut = append(a.signedOut, r.URL.RawQuery)
	})
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

// tab is a tab of Chromium that notes complaints, such as of a Content-Security-Policy.
type tab struct {
	t          *testing.T
	ctx        context.Context
	mu         sync.Mutex // guards complaints
	complaints []string
}

func newTab(t *testing.T) *tab {
	t.Helper()
	path := tooltest.Find(t, "chromium", "chromium")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	// Chromium lets a frame of another site have its cookies by default, Debian's does not.
	profile := filepath.Join(t.TempDir(), "Default")
	preferences := []byte(`{"profile": {"block_third_party_cookies": false, "cookie_controls_mode": 0}}`)
	if err := errors.Join(os.Mkdir(profile, 0o700), os.WriteFile(filepath.Join(profile, "Preferences"), preferences, 0o600)); err != nil {
		t.Fatal(err)
	}
	// As root, as in containers, Chromium has no sandbox; /dev/shm is small there.
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.UserDataDir(filepath.Dir(profile)),
		chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true), chromedp.IgnoreCertErrors, chromedp.WindowSize(390, 700))
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, b.note); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *tab) note(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *log.EventEntryAdded:
		b.complaints = append(b.complaints, fmt.Sprint(e.Entry.Level, " ", e.Entry.Text, " ", e.Entry.URL))
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, fmt.Sprint(e.ExceptionDetails.Text))
	}
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	for _, action := range actions {
		if _, err := chromedp.Run(b.ctx, action); err != nil {
			body, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.href + " " + document.body.innerText`))
			b.t.Fatalf("%v; at %s, complaints %q", err, body, b.complaints)
		}
	}
}

// ask evaluates a script that returns a text, or polls until it returns one that is not empty.
func (b *tab) ask(script string) string {
	b.t.Helper()
	got, err := chromedp.Run(b.ctx, chromedp.Poll[string](script))
	if err != nil {
		b.t.Fatalf("%s: %v; complaints %q", script, err, b.complaints)
	}
	return got
}

// The pages work in a real browser, by click and by keyboard, at a phone's width: choice,
// proof, consent, the form that posts itself, single sign-on in a hidden frame, and signing
// out. No policy stands in the way of any of them.
func TestSlowPagesInABrowser(t *testing.T) {
	app := newApplication(t)
	directory := testDirectory()
	directory.Apps[2].RedirectURIs = mockidp.RedirectURIs{SPA: []string{app.URL + "/back", app.URL + "/silent"}}
	directory.Apps[2].FrontChannelLogoutURI = app.URL + "/out"
	k := startWith(t, directory)
	b := newTab(t)
	address := func(changes ...string) string {
		query := asSPA(append([]string{"redirect_uri", app.URL + "/back", "response_mode", "form_post"}, changes...)...)
		return k.URL() + "/" + contoso + "/oauth2/v2.0/authorize?" + query.Encode()
	}
	choice := fmt.Sprintf(`button[name=user][value="%s"]`, aliceID)
	got := func() string { // what the application shows, after some redirects
		b.do(chromedp.WaitVisible(chromedp.CSS("#got")))
		return b.ask(`document.querySelector("#got").innerText`)
	}

	b.do(chromedp.Navigate(address("claims", `{"id_token":{"acrs":{"essential":true,"value":"c1"}}}`, "scope", "openid api://todo/Write")))
	for _, script := range []string{
		`document.documentElement.scrollWidth <= innerWidth ? "fits" : ""`,
		`document.querySelectorAll("h1").length == 1 && document.documentElement.lang == "en" ? "one" : ""`,
	} {
		b.ask(script)
	}
	b.do(chromedp.KeyEvent("\t"))
	b.ask(`document.activeElement.value == "` + aliceID + `" ? "focused" : ""`)
	b.do(chromedp.KeyEvent("\r"), chromedp.WaitVisible(chromedp.CSS(`button[value=prove]`)),
		chromedp.Click(chromedp.CSS(`button[value=prove]`)))
	b.do(chromedp.WaitVisible(chromedp.CSS(`button[value=consent]`)), chromedp.Click(chromedp.CSS(`button[value=consent]`)))
	if text := got(); text != "POST code=true state=a+state error=" {
		t.Errorf("form post: got %q", text)
	}

	b.do(chromedp.Navigate(app.URL + "/page"))
	frame := address("redirect_uri", app.URL+"/silent", "response_mode", "fragment", "prompt", "none")
	b.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`document.querySelector("iframe").src = %q; undefined`, frame)))
	if text := b.ask(`window.got`); !strings.Contains(text, "code=") {
		t.Errorf("hidden frame: got %q, want a code", text)
	}

	b.do(chromedp.Navigate(address("prompt", "login")), chromedp.WaitVisible(chromedp.CSS(choice)),
		chromedp.Click(chromedp.CSS(`button[value=cancel]`)))
	if text := got(); !strings.HasSuffix(text, "error=access_denied") {
		t.Errorf("cancelled: got %q", text)
	}

	back := form("post_logout_redirect_uri", app.URL+"/back", "state", "b")
	b.do(chromedp.Navigate(k.URL() + "/" + contoso + "/oauth2/v2.0/logout?" + back.Encode()))
	if text := got(); text != "GET code=false state=b error=" {
		t.Errorf("signed out: got %q", text)
	}
	app.mu.Lock()
	defer app.mu.Unlock()
	if len(app.signedOut) != 1 || !strings.Contains(app.signedOut[0], "sid=") {
		t.Errorf("front-channel logout: got %q, want one", app.signedOut)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.complaints) > 0 {
		t.Errorf("complaints: %q", b.complaints)
	}
}
