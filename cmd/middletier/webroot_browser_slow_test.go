//go:build slow

package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// siteFiles are a small single-page application. What is inline in its page is not to run or count.
var siteFiles = map[string]string{
	"index.html": `<!doctype html><title>site</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="/assets/style.css"><style>main { color: rgb(255, 0, 0) }</style>
<main id="route" style="letter-spacing: 9px"></main><img id="logo" src="/assets/logo.svg" onload="window.inlineHandler = true">
<script>window.inlineScript = true</script><script src="/assets/app.js"></script>`,
	"assets/style.css": `main { color: rgb(0, 0, 255) }`,
	"assets/logo.svg":  `<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7"/>`,
	"assets/app.js": scriptedPage[strings.Index(scriptedPage, "<script>")+len("<script>"):strings.Index(scriptedPage, "</script>")] + `
const show = () => { document.getElementById("route").textContent = location.pathname; };
addEventListener("popstate", show);
function visit(path) { history.pushState({}, "", path); show(); }
// reach says whether a request of the page is let go.
async function reach(url) { try { await fetch(url, {mode: "no-cors"}); return "sent"; } catch { return "blocked"; } }
show();
parent.postMessage("the site runs in " + (parent === window ? "a window" : "a frame"), "*");`,
}

// newWebAppWithFiles is a web app whose files the service has.
func newWebAppWithFiles(t *testing.T) *webApp {
	t.Helper()
	folder := t.TempDir()
	for name, text := range siteFiles {
		path := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return newWebApp(t, false, nil, withSite(folder))
}

// awaitRoute waits until the application shows a route.
func (a *webApp) awaitRoute(path string) {
	a.t.Helper()
	a.b.await(`location.pathname === "` + path + `" && document.getElementById("route")?.textContent === "` + path + `"`)
}

// A single-page application runs under the policy of the web root: with files of its own, the session, and
// the hidden frame of the silent sign-in. Nothing inline runs, and nothing is sent elsewhere.
func TestSlowWebRootInABrowser(t *testing.T) {
	a := newWebAppWithFiles(t)
	a.open("/bff/login?returnUrl=/lists/7")
	a.choose("alice")
	a.awaitRoute("/lists/7") // there is no such file: index.html has the application
	a.wantUser("at a route of the application", "alice")
	if got := a.call("GET", "/bff/api/todo/items"); got.Status != http.StatusOK {
		t.Errorf("call: got %+v", got)
	}
	ask(a.b, chromedp.Evaluate[any](`visit("/lists/8"), null`))
	a.awaitRoute("/lists/8")
	a.b.do(chromedp.Reload())
	a.awaitRoute("/lists/8")
	ask(a.b, chromedp.Evaluate[any](`history.back(), null`))
	a.awaitRoute("/lists/7")
	if got := a.call("GET", "/assets/missing.js"); got.Status != http.StatusNotFound || got.Type != "not-found" {
		t.Errorf("a file that is not there: got %+v, want 404 not-found", got)
	}

	a.b.await(`document.readyState === "complete"`)
	var page struct {
		Color, Spacing                      string
		Image                               int
		Script, Handler                     bool
		OwnOrigin, ForeignOrigin, OtherPort string
	}
	text := ask(a.b, chromedp.Evaluate[string](`(async () => {
		const style = getComputedStyle(document.getElementById("route"));
		return JSON.stringify({
			color: style.color, spacing: style.letterSpacing, image: document.getElementById("logo").naturalWidth,
			script: "inlineScript" in window, handler: "inlineHandler" in window,
			ownOrigin: await reach("/healthz"), foreignOrigin: await reach("https://`+foreignHost+`:`+a.port+`/"),
			otherPort: await reach("`+a.idp.URL()+`/"),
		});
	})()`, chromedp.EvalAwaitPromise))
	if err := json.Unmarshal([]byte(text), &page); err != nil {
		t.Fatal(err)
	}
	if page.Color != "rgb(0, 0, 255)" || page.Image != 7 || page.OwnOrigin != "sent" {
		t.Errorf("got %s, want the style sheet, the image and requests to the own origin", text)
	}
	if page.Script || page.Handler || page.Spacing == "9px" || page.ForeignOrigin != "blocked" || page.OtherPort != "blocked" {
		t.Errorf("got %s, want nothing inline, and no request to other origins", text)
	}

	a.forgetCookie()
	a.wantUser("without the cookie", "")
	message := ask(a.b, chromedp.Evaluate[string](`silent()`, chromedp.EvalAwaitPromise))
	if want := `{"origin":"` + a.origin + `","source":"bff-silent-login","isLoggedIn":true}`; message != want {
		t.Errorf("the hidden frame: got %s, want %s", message, want)
	}
	a.wantUser("after the silent sign-in", "alice")
}

// Pages of other origins, those of a sibling host included, cannot frame the application. One of its own
// can.
func TestSlowWebRootIsFramedByItsOwnPagesOnly(t *testing.T) {
	a := newWebAppWithFiles(t)
	const framed = `new Promise((done) => {
		addEventListener("message", (event) => done(String(event.data)));
		const frame = Object.assign(document.createElement("iframe"), {src: "%"});
		frame.onload = () => setTimeout(() => done("silence"), 1000); // a message of its script would have come before
		document.body.append(frame);
	})`
	script := strings.ReplaceAll(framed, "%", a.origin+"/lists/7")
	a.open("/")
	a.awaitRoute("/")
	if got := ask(a.b, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise)); got != "the site runs in a frame" {
		t.Errorf("framed by its own page: got %q", got)
	}
	for _, host := range []string{siblingHost, foreignHost} {
		a.b.do(chromedp.Navigate("https://" + host + ":" + a.port + "/"))
		if got := ask(a.b, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise)); got != "silence" {
			t.Errorf("framed by %s: got %q, want nothing", host, got)
		}
	}
	a.b.mu.Lock()
	defer a.b.mu.Unlock()
	if text := strings.Join(a.b.complaints, "\n"); strings.Count(text, "frame-ancestors") < 2 {
		t.Errorf("the browser says\n%s\nwant it to refuse two frames", text)
	}
}
