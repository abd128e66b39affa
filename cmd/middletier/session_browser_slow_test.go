//go:build slow

package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"middletier/internal/mockidp"
)

// scriptedPage is a page of the web app. Its functions are what the tests call.
const scriptedPage = `<!doctype html><title>app</title><link rel="icon" href="data:,"><body><script>
// ask sends a request as pages of the app do, and returns what the tests look at.
async function ask(method, path, body) {
  const response = await fetch(path, {method, body, headers: {"X-CSRF": "1", "Content-Type": "application/json"}});
  const text = await response.text();
  let document = {};
  try { document = JSON.parse(text); } catch {}
  return {status: response.status, type: String(document?.type ?? "").split("/").pop(), loginUrl: document?.loginUrl ?? "", text};
}
// silent signs in in a hidden frame, and returns what that says.
function silent() {
  return new Promise((done) => {
    addEventListener("message", (event) => done(JSON.stringify({origin: event.origin, ...event.data})), {once: true});
    const frame = Object.assign(document.createElement("iframe"), {src: "/bff/silent-login", hidden: true});
    document.body.append(frame);
  });
}
</script></body>`

// duendePage is a page as Duende's documentation of its BFF has them ("Building Browser-Based Client
// Applications with JavaScript or TypeScript", "BFF Silent Login Endpoint"), with the path of the API
// alone as it is here.
const duendePage = `<!doctype html><title>duende</title><link rel="icon" href="data:,"><body>
<button id="login">Login</button><button id="local">Call API</button><button id="logout">Logout</button>
<pre id="results"></pre><iframe id="bff-silent-login" hidden></iframe><script>
function log() {
  document.getElementById("results").innerText = "";
  Array.prototype.forEach.call(arguments, function (msg) {
    if (typeof msg !== "undefined") {
      if (msg instanceof Error) { msg = "Error: " + msg.message; }
      else if (typeof msg !== "string") { msg = JSON.stringify(msg, null, 2); }
      document.getElementById("results").innerText += msg + "\r\n";
    }
  });
}
let userClaims = null;
(async function () {
  var req = new Request("/bff/user", { headers: new Headers({ "X-CSRF": "1" }) });
  try {
    var resp = await fetch(req);
    if (resp.ok) {
      userClaims = await resp.json();
      log("user logged in", userClaims);
    } else if (resp.status === 401) {
      log("user not logged in");
      document.querySelector("#bff-silent-login").src = "/bff/silent-login";
    }
  } catch (e) { log("error checking user status"); }
})();
window.addEventListener("message", e => {
  if (e.data && e.data.source === "bff-silent-login" && e.data.isLoggedIn) {
    // we now have a user logged in silently, so reload this window
    window.location.reload();
  }
});
document.getElementById("login").addEventListener("click", function login() {
  window.location = "/bff/login?returnUrl=/duende";
}, false);
document.getElementById("local").addEventListener("click", async function localApi() {
  var req = new Request("/bff/api/todo/items", { headers: new Headers({ "X-CSRF": "1" }) });
  try {
    var resp = await fetch(req);
    let data;
    if (resp.ok) { data = await resp.json(); }
    log("Local API Result: " + resp.status, data);
  } catch (e) { log("error calling local API"); }
}, false);
document.getElementById("logout").addEventListener("click", function logout() {
  if (userClaims) {
    var logoutUrl = userClaims.find((claim) => claim.type === "bff:logout_url").value;
    window.location = logoutUrl;
  } else { window.location = "/bff/logout"; }
}, false);
</script></body>`

const (
	appHost     = "app.contoso.example"
	siblingHost = "evil.contoso.example" // of the same site
	foreignHost = "evil.example"
)

// webApp is a web app whose pages hold no token. A server that browsers trust, as far as these tests
// go, has the pages, unless the service has a web root, and passes on to the service what is not one.
type webApp struct {
	*world
	b      *browser
	origin string
	port   string

	mu   sync.Mutex      // guards seen
	seen []*http.Request // of the app's host
}

// thirdParties lets frames of other sites have their cookies, or not.
func thirdParties(t *testing.T, blocked bool) chromedp.ExecAllocatorOption {
	t.Helper()
	mode := map[bool]int{false: 0, true: 1}[blocked]
	folder := t.TempDir()
	preferences := fmt.Appendf(nil, `{"profile": {"block_third_party_cookies": %t, "cookie_controls_mode": %d}}`, blocked, mode)
	err := errors.Join(os.Mkdir(filepath.Join(folder, "Default"), 0o700),
		os.WriteFile(filepath.Join(folder, "Default", "Preferences"), preferences, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return chromedp.UserDataDir(folder)
}

// newWebApp starts the app, the platform and the ToDo API, and a browser.
// Third parties' cookies are blocked or not; register may change the directory, if it is not nil.
func newWebApp(t *testing.T, blocked bool, register func(*mockidp.Directory), change ...func(*file)) *webApp {
	t.Helper()
	a := &webApp{}
	server := httptest.NewUnstartedServer(a)
	_, a.port, _ = strings.Cut(server.Listener.Addr().String(), ":")
	a.origin = "https://" + appHost + ":" + a.port
	directory := testDirectory()
	for i, app := range directory.Apps {
		if app.ClientID == demoWeb {
			directory.Apps[i].RedirectURIs.Web = []string{a.origin + "/signin-oidc", a.origin + "/signout-callback-oidc"}
			directory.Apps[i].FrontChannelLogoutURI = a.origin + "/signout-oidc"
		}
	}
	if register != nil {
		register(&directory)
	}
	a.world = newStoppedWorldOf(t, directory, append(change, func(f *file) {
		f.Server.PublicURL = a.origin
		f.Session.Enabled, f.Session.ClientID, f.Session.ClientCredentials = true, demoWeb, secretCredential(testSecret)
	})...)
	withTodo(t, a.world)
	a.startReady()
	server.StartTLS()
	t.Cleanup(server.Close)
	a.b = newBrowser(t, chromedp.Flag("ignore-certificate-errors", true), thirdParties(t, blocked),
		chromedp.Flag("host-resolver-rules", "MAP *.example 127.0.0.1"))
	return a
}

// ServeHTTP is for http.Handler.
func (a *webApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	page := attackPage
	if host, _, _ := strings.Cut(r.Host, ":"); host == appHost {
		a.mu.Lock()
		a.seen = append(a.seen, r.Clone(context.Background()))
		a.mu.Unlock()
		switch hasSite := a.file.Server.WebRoot != ""; {
		case !hasSite && (r.URL.Path == "/" || r.URL.Path == "/page"):
			page = scriptedPage
		case !hasSite && r.URL.Path == "/duende":
			page = duendePage
		default:
			service, _ := url.Parse(a.url) // the kit's own
			proxy := httputil.NewSingleHostReverseProxy(service)
			proxy.ServeHTTP(w, r)
			return
		}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, page) // a browser that left does not need it
}

// requests returns what the app's host was asked for at a path.
func (a *webApp) requests(path string) (seen []*http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.seen {
		if r.URL.Path == path {
			seen = append(seen, r)
		}
	}
	return seen
}

func (a *webApp) open(path string) { a.t.Helper(); a.b.do(chromedp.Navigate(a.origin + path)) }

// signIn signs a user in, and comes back to the page.
func (a *webApp) signIn(name string) {
	a.t.Helper()
	a.open("/bff/login?returnUrl=/page")
	a.choose(name)
	a.atPage()
}

// choose clicks a user on the platform's page.
func (a *webApp) choose(name string) {
	a.t.Helper()
	a.b.awaitText("ul.users", name+"@contoso.example")
	ask(a.b, chromedp.Evaluate[any](fmt.Sprintf(
		`[...document.querySelectorAll("ul.users button")].find(b => b.innerText.includes("%s@")).click()`, name)))
}

func (a *webApp) atPage() {
	a.t.Helper()
	a.b.await(`location.host.startsWith("` + appHost + `") && location.pathname === "/page" && typeof ask === "function"`)
}

// follow goes where an answer's loginUrl leads.
func (a *webApp) follow(loginURL string) {
	a.t.Helper()
	if !strings.HasPrefix(loginURL, "/bff/login?") && !strings.HasPrefix(loginURL, a.origin+"/bff/login?") {
		a.t.Fatalf("loginUrl: got %q", loginURL)
	}
	ask(a.b, chromedp.Evaluate[any](fmt.Sprintf(`setTimeout(() => location.assign(%q)), null`, loginURL)))
}

// answered is what the page sees of an answer.
type answered struct {
	Status               int
	Type, LoginURL, Text string
}

// call sends a request from the page.
func (a *webApp) call(method, path string) answered {
	a.t.Helper()
	return ask(a.b, chromedp.Evaluate[answered](fmt.Sprintf(`ask(%q, %q)`, method, path), chromedp.EvalAwaitPromise))
}

// claim returns a claim of /bff/user, or "".
func (a *webApp) claim(name string) string {
	a.t.Helper()
	var claims []struct {
		Type  string
		Value any
	}
	got := a.call("GET", "/bff/user")
	if got.Status != http.StatusOK {
		return ""
	}
	if err := json.Unmarshal([]byte(got.Text), &claims); err != nil {
		a.t.Fatalf("/bff/user: %v in %s", err, got.Text)
	}
	for _, claim := range claims {
		if claim.Type == name {
			return fmt.Sprint(claim.Value)
		}
	}
	return ""
}

// wantUser checks who is signed in; "" is nobody.
func (a *webApp) wantUser(when, name string) {
	a.t.Helper()
	if got := a.claim("name"); got != name {
		a.t.Errorf("%s: signed in is %q, want %q", when, got, name)
	}
}

// cookies returns the browser's cookies of the app.
func (a *webApp) cookies() (all []*network.Cookie) {
	a.t.Helper()
	a.b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		got, err := cdp.Call(ctx, t, network.GetCookies, network.GetCookiesParams{URLs: []string{a.origin + "/"}})
		all = got.Cookies
		return err
	}))
	return all
}

// forgetCookie takes the session's cookie from the browser.
func (a *webApp) forgetCookie() {
	a.t.Helper()
	a.b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, network.DeleteCookies, network.DeleteCookiesParams{Name: "__Host-middletier", URL: a.origin + "/"})
		return err
	}))
}

// demandProof makes the API demand an authentication context, as one with Conditional Access does.
func (a *webApp) demandProof() {
	api := a.api.handler
	a.api.handle(func(w http.ResponseWriter, r *http.Request) {
		var token struct{ Acrs []string }
		payload := strings.Split(r.Header.Get("Authorization")+"..", ".")[1]
		claims, _ := base64.RawURLEncoding.DecodeString(payload)
		_ = json.Unmarshal(claims, &token) // without claims, it lacks the context
		if slices.Contains(token.Acrs, "c1") {
			api(w, r)
			return
		}
		const demand = "eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19" // acrs: c1
		w.Header().Set("WWW-Authenticate", `Bearer realm="", error="insufficient_claims", claims="`+demand+`"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
}

// A user signs in, and the page has no token: nothing in its storage, and a cookie that it cannot read. The
// browser sends that with the first load already, though it is Strict and the way there came from
// another site. The page calls the API, steps up, and signs out here and at the platform.
func TestSlowSessionInABrowser(t *testing.T) {
	a := newWebApp(t, true, nil)
	a.open("/page")
	got := a.call("GET", "/bff/api/todo/items")
	if got.Status != http.StatusUnauthorized || got.Type != "session-required" {
		t.Fatalf("before: got %+v, want 401 session-required", got)
	}
	a.follow(got.LoginURL)
	a.choose("alice")
	a.atPage()
	loads := a.requests("/page")
	if first := loads[len(loads)-1]; !strings.Contains(first.Header.Get("Cookie"), "__Host-middletier=") {
		t.Errorf("the first load behind the sign-in has the cookies %q, want the session's", first.Header.Get("Cookie"))
	}
	a.wantUser("after the sign-in", "alice")
	a.checkHeld()
	if got := a.call("GET", "/bff/api/todo/items"); got.Status != http.StatusOK {
		t.Errorf("call: got %+v", got)
	}
	a.b.do(chromedp.Reload())
	a.wantUser("after a reload", "alice")

	a.demandProof()
	got = a.call("GET", "/bff/api/todo/items")
	if got.Status != http.StatusUnauthorized || got.Type != "claims-challenge" {
		t.Fatalf("step-up: got %+v, want 401 claims-challenge", got)
	}
	a.follow(got.LoginURL)
	a.b.awaitText("button.main", "Prove it is me")
	a.b.click("button.main")
	a.atPage()
	if got := a.call("GET", "/bff/api/todo/items"); got.Status != http.StatusOK {
		t.Errorf("after the proof: got %+v", got)
	}

	ask(a.b, chromedp.Evaluate[any](fmt.Sprintf(`setTimeout(() => location.assign(%q)), null`, a.claim("bff:logout_url"))))
	a.b.await(`location.pathname === "/" && location.host.startsWith("` + appHost + `") && typeof ask === "function"`)
	a.wantUser("after the sign-out", "")
	if cookies := a.cookies(); len(cookies) != 0 {
		t.Errorf("after the sign-out: got the cookies %v", cookies)
	}
	a.open("/bff/login?returnUrl=/page")
	a.b.awaitText("ul.users", "alice@contoso.example") // the platform has forgotten the user too
}

// checkHeld checks what the browser and the page hold.
func (a *webApp) checkHeld() {
	a.t.Helper()
	page := ask(a.b, chromedp.Evaluate[string](`document.cookie + JSON.stringify({...localStorage, ...sessionStorage})`))
	if page != "{}" {
		a.t.Errorf("the page can read %q, want nothing", page)
	}
	cookies := a.cookies()
	if len(cookies) != 1 {
		a.t.Fatalf("cookies: got %v, want the session's alone", cookies)
	}
	c := cookies[0]
	if c.Name != "__Host-middletier" || !c.HTTPOnly || !c.Secure || c.SameSite != network.CookieSameSiteStrict || c.Path != "/" ||
		len(c.Value) < 22 || strings.Contains(c.Value, ".") {
		a.t.Errorf("cookie: got %+v", c)
	}
}

// The user consents to the middle tier's use of the API on the web app's consent page, at the address that
// the refused call names.
func TestSlowSessionConsentInABrowser(t *testing.T) {
	a := newWebApp(t, true, func(directory *mockidp.Directory) {
		directory.Grants = slices.DeleteFunc(directory.Grants, func(g mockidp.Grant) bool { return g.Client == "middletier" })
	})
	a.signIn("alice")
	got := a.call("GET", "/bff/api/todo/items")
	if got.Status != http.StatusForbidden || got.Type != "consent-required" {
		t.Fatalf("before: got %+v, want 403 consent-required", got)
	}
	a.follow(got.LoginURL)
	a.b.awaitText("main", "middletier wants to use todo for you")
	a.b.click(`button[value=consent]`)
	a.atPage()
	a.b.await(`ask("GET", "/bff/api/todo/items").then(r => r.status === 200)`)
}

// A session that nobody used ends. To ask who is signed in with slide=false is not a use.
func TestSlowSessionEndsIdleInABrowser(t *testing.T) {
	a := newWebApp(t, true, nil, func(f *file) { f.Session.IdleTimeout = 5 * time.Second })
	a.signIn("alice")
	if len(a.cookies()) != 1 {
		t.Errorf("got the cookies %v, want the session's", a.cookies())
	}
	eventually(t, func() bool { return a.call("GET", "/bff/user?slide=false").Status == http.StatusUnauthorized }, func() string {
		return "the session does not end"
	})
	if got := a.call("GET", "/bff/api/todo/items"); got.Status != http.StatusUnauthorized || got.Type != "session-required" {
		t.Errorf("got %+v, want 401 session-required", got)
	}
}

// Who signs out at the platform is signed out here, by a frame that has no cookie of ours where the browser
// blocks those of third parties: the platform's sid names the session.
func TestSlowSessionEndsWithThePlatformsInABrowser(t *testing.T) {
	for _, blocked := range []bool{true, false} {
		t.Run(fmt.Sprintf("third-party cookies blocked=%t", blocked), func(t *testing.T) {
			a := newWebApp(t, blocked, nil)
			a.signIn("alice")
			a.wantUser("before", "alice")
			a.b.do(chromedp.Navigate(a.idp.URL() + "/" + demoTenant + "/oauth2/v2.0/logout"))
			eventually(t, func() bool { return len(a.requests("/signout-oidc")) == 1 }, func() string { return "no frame" })
			frame := a.requests("/signout-oidc")[0]
			cookies := frame.Header.Get("Cookie")
			if query := frame.URL.Query(); query.Get("sid") == "" || query.Has("iss") || strings.Contains(cookies, "__Host-middletier=") {
				t.Errorf("the frame: got %s with %q", frame.URL, cookies)
			}
			a.b.await(`document.body.innerText.includes("signed out")`)
			a.open("/page")
			a.wantUser("afterwards", "")
		})
	}
}

// A hidden frame signs in the user whom the platform knows, where the browser lets the platform have its
// cookie there, and says so to pages of our origin only.
func TestSlowSilentLoginInABrowser(t *testing.T) {
	for _, blocked := range []bool{false, true} {
		t.Run(fmt.Sprintf("third-party cookies blocked=%t", blocked), func(t *testing.T) {
			a := newWebApp(t, blocked, nil)
			a.signIn("alice")
			a.forgetCookie()
			a.wantUser("without the cookie", "")
			message := ask(a.b, chromedp.Evaluate[string](`silent()`, chromedp.EvalAwaitPromise))
			want := fmt.Sprintf(`{"origin":%q,"source":"bff-silent-login","isLoggedIn":%t}`, a.origin, !blocked)
			if message != want {
				t.Errorf("message: got %s, want %s", message, want)
			}
			a.wantUser("afterwards", map[bool]string{false: "alice", true: ""}[blocked])
			for _, host := range []string{siblingHost, foreignHost} {
				a.b.do(chromedp.Navigate("https://" + host + ":" + a.port + "/"))
				for _, path := range []string{"/bff/silent-login", "/bff/silent-login-callback"} {
					heard := a.b.attack(`(async () => {
						const heard = [];
						addEventListener("message", (event) => heard.push(event.data));
						await frame("` + a.origin + path + `");
						await fetch(location.href); // a message that was posted has come
						return heard.length;
					})()`)
					if heard != "0" {
						t.Errorf("a page of %s heard %s messages of %s", host, heard, path)
					}
				}
			}
		})
	}
}

// Nothing that a page of another site does with the user's browser reaches the API, or ends or replaces the
// session. The same holds for a page of the same site, to whose requests the browser adds the Strict
// cookie, and that can set cookies for the whole domain.
func TestSlowOtherPagesCannotUseTheSession(t *testing.T) {
	a := newWebApp(t, false, nil)
	a.signIn("alice")
	if got := a.call("GET", "/bff/api/todo/items"); got.Status != http.StatusOK {
		t.Fatalf("call: got %+v", got)
	}
	session := a.cookies()[0].Value
	for _, host := range []string{foreignHost, siblingHost} {
		origin := "https://" + host + ":" + a.port
		calls := len(a.api.seen())
		for _, path := range []string{"/bff/api/todo/items", "/bff/user", "/bff/logout", "/bff/logout?sid=guessed", "/signout-oidc?sid=guessed"} {
			target := a.origin + path
			a.b.do(chromedp.Navigate(origin + "/"))
			for _, script := range []string{
				`read("` + target + `", {credentials: "include"})`,
				`read("` + target + `", {credentials: "include", headers: {"X-CSRF": "1"}})`, // asks first
				`read("` + target + `", {credentials: "include", mode: "no-cors"})`,
				`read("` + target + `", {credentials: "include", mode: "no-cors", method: "POST", body: "{}"})`,
				`load("img", {src: "` + target + `"})`,
				`load("script", {src: "` + target + `"})`,
				`post("` + target + `")`,
				`frame("` + target + `")`,
				`frame("` + target + `", {sandbox: "allow-scripts", referrerPolicy: "no-referrer"})`,
				`navigator.sendBeacon("` + target + `", "{}")`,
			} {
				got := a.b.attack(script)
				if slices.ContainsFunc([]string{"alice", "basic 200", "cors 200"}, func(s string) bool { return strings.Contains(got, s) }) {
					t.Errorf("%s from %s: got %q", script, host, got)
				}
			}
			ask(a.b, chromedp.Evaluate[any](fmt.Sprintf(`setTimeout(() => location.assign(%q)), null`, target)))
			a.b.await(fmt.Sprintf(`location.host === %q && location.pathname !== "/signin-oidc" && document.readyState === "complete"`,
				appHost+":"+a.port))
		}
		a.b.do(chromedp.Navigate(origin + "/"))
		ask(a.b, chromedp.Evaluate[any](`for (const name of ["__Host-middletier", "middletier", "__host-middletier"]) {
			for (const more of ["Domain=contoso.example; ", ""]) document.cookie = name + "=tossed; " + more + "Secure; Path=/";
		} null`))
		if len(a.api.seen()) != calls {
			t.Errorf("pages of %s reached the API %d times", host, len(a.api.seen())-calls)
		}
		a.open("/page")
		a.wantUser("after the attacks from "+host, "alice")
	}
	a.b.do(chromedp.Navigate("https://" + siblingHost + ":" + a.port + "/"))
	if got := ask(a.b, chromedp.Evaluate[string](`document.cookie`)); strings.Contains(got, session) {
		t.Errorf("a page of the same site reads the session's cookie in %q", got)
	}
}

// A page written for Duende's BFF works as it is.
func TestSlowPageForDuendesBFFWorks(t *testing.T) {
	a := newWebApp(t, false, nil)
	a.open("/duende")
	a.b.awaitText("#results", "user not logged in")
	a.b.click("#login")
	a.choose("bob")
	a.b.awaitText("#results", "user logged in")
	for _, want := range []string{`"bff:logout_url"`, `"bff:session_expires_in"`, `"bob"`} {
		a.b.awaitText("#results", want)
	}
	a.b.click("#local")
	a.b.awaitText("#results", "Local API Result: 200")
	a.forgetCookie()
	a.open("/duende") // signs in silently, and reloads
	a.b.awaitText("#results", "user logged in")
	a.b.click("#logout")
	a.b.await(`location.pathname === "/" && location.host.startsWith("` + appHost + `")`)
	a.open("/duende")
	a.b.awaitText("#results", "user not logged in")
}
