//go:build slow

package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"middletier/internal/testkit/tooltest"
)

// browserTimeout is how long a test in a browser may take on a busy machine.
const browserTimeout = 90 * time.Second

// browser is a tab of a real Chromium that notes what goes on in it.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex // guards the rest
	requests   []string
	complaints []string // of the page's scripts and of the browser itself
}

// newBrowser starts a browser for one test. Without Chromium the test is
// skipped, in CI it fails.
func newBrowser(t *testing.T, more ...chromedp.ExecAllocatorOption) *browser {
	t.Helper()
	path := tooltest.Find(t, "chromium", "chromium")
	ctx, cancel := context.WithTimeout(context.Background(), browserTimeout)
	t.Cleanup(cancel)
	// As root, as in containers, Chromium has no sandbox; /dev/shm is small there.
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true))
	ctx, cancel = chromedp.NewExecAllocator(ctx, append(options, more...)...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, b.note); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *browser) note(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	case *log.EventEntryAdded:
		b.complaints = append(b.complaints, fmt.Sprint(e.Entry.Level, " ", e.Entry.Text, " ", e.Entry.URL))
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, fmt.Sprint(e.ExceptionDetails.Text, " ", e.ExceptionDetails.Exception.Description))
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			for _, a := range e.Args {
				b.complaints = append(b.complaints, string(a.Value)+a.Description)
			}
		}
	}
}

// do runs actions in the tab, or ends the test.
func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	for _, action := range actions {
		ask(b, action)
	}
}

// ask returns what an action finds out, or ends the test.
func ask[T any](b *browser, action chromedp.Action[T]) T {
	b.t.Helper()
	got, err := chromedp.Run(b.ctx, action)
	if err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.t.Fatalf("%v; requests %q, complaints %q", err, b.requests, b.complaints)
	}
	return got
}

// The page shows every operation. It loads nothing from other servers, and its
// policy has no exceptions.
func TestSlowDocsPageInABrowser(t *testing.T) {
	w := newWorld(t, func(f *file) { f.Server.BasePath = "/middle" })
	b := newBrowser(t)
	doc, _ := w.description("/middle/openapi.json")
	operations := 0
	for _, item := range doc.Paths.Map() {
		operations += len(item.Operations())
	}
	b.do(chromedp.Navigate(w.url + "/middle/docs"))
	ask(b, chromedp.Poll[bool](fmt.Sprintf(`document.querySelectorAll(".opblock").length == %d`, operations)))
	overview := ask(b, chromedp.Text(chromedp.CSS("#viewer")))
	shown := ask(b, chromedp.Evaluate[string](
		`[...document.querySelectorAll(".opblock-summary-path")].map(e => e.innerText.replaceAll("\u200b", "")).join(" ")`))
	b.do(chromedp.Click(chromedp.CSS(".opblock-get .opblock-summary-control")),
		chromedp.WaitVisible(chromedp.CSS(".opblock-body .responses-table")))
	opened := ask(b, chromedp.Text(chromedp.CSS(".opblock-body")))
	for path := range doc.Paths.Map() {
		if !strings.Contains(" "+shown+" ", " "+path+" ") {
			t.Errorf("%s is not shown in %q", path, shown)
		}
	}
	if !strings.Contains(overview, "on behalf of a user") ||
		!strings.Contains(opened, "needs any one of the scopes ToDoList.Read, ToDoList.ReadWrite") || !strings.Contains(opened, "/problems/") {
		t.Errorf("got %s\n%s", overview, opened)
	}
	files := w.url + "/middle/docs/" +
		ask(b, chromedp.Evaluate[string](`versions.swaggerUI.version`)) + "/" // so that none is kept beyond its version
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.requests, files+"swagger-ui-bundle.js") || !slices.Contains(b.requests, files+"swagger-ui.css") {
		t.Errorf("requests: got %q, want the viewer below %s", b.requests, files)
	}
	for _, url := range b.requests {
		if !strings.HasPrefix(url, w.url+"/middle/") && !strings.HasPrefix(url, "data:") {
			t.Errorf("the page asked for %s", url)
		}
	}
	if len(b.complaints) > 0 {
		t.Errorf("complaints: %q", b.complaints)
	}
}

// The pages can be read on a phone without scrolling sideways; of the problem pages,
// the one with the longest lines is tried. Their policies allow their styles.
func TestSlowPagesOnAPhone(t *testing.T) {
	w := newWorld(t)
	b := newBrowser(t)
	fits := func(page string) {
		t.Helper()
		if width := ask(b, chromedp.Evaluate[int](`document.documentElement.scrollWidth`)); width > 390 {
			t.Errorf("%s is %d wide, want 390", page, width)
		}
	}
	b.do(chromedp.EmulateViewport(390, 844), chromedp.Navigate(w.url+"/problems/claims-challenge"))
	fits("/problems/claims-challenge")
	b.do(chromedp.Navigate(w.url+"/docs"),
		chromedp.Click(chromedp.CSS(".opblock-get .opblock-summary-control")),
		chromedp.WaitVisible(chromedp.CSS(".opblock-body .responses-table")))
	fits("/docs")
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.complaints) > 0 {
		t.Errorf("complaints: %q", b.complaints)
	}
}

// newSite serves a page of another origin.
func newSite(t *testing.T) string {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!doctype html><title>a page</title><link rel="icon" href="data:,">`))
	}))
	t.Cleanup(site.Close)
	return site.URL
}

// A page of a listed origin can call the service and read its errors; a page of
// another origin can read nothing.
func TestSlowPagesCallFromABrowser(t *testing.T) {
	listed, other := newSite(t), newSite(t)
	w := newWorld(t, func(f *file) { f.Server.CORS.AllowedOrigins = []string{listed} })
	withTodo(t, w)
	b := newBrowser(t)
	type result struct {
		Status                     int
		ID, Challenge, Body, Error string
	}
	call := func(method, path, token, body string) result {
		t.Helper()
		return ask(b, chromedp.Evaluate[result](fmt.Sprintf(`fetch(%q, {method: %q, body: %s, headers: {Authorization: "Bearer " + %q, "Content-Type": "application/json", "X-Request-ID": "from-a-page"}}).then(
			async r => ({status: r.status, id: r.headers.get("X-Request-ID"), challenge: r.headers.get("WWW-Authenticate") ?? "", body: await r.text()}),
			e => ({error: String(e)}))`, w.url+path, method, body, token), chromedp.EvalAwaitPromise))
	}
	b.do(chromedp.Navigate(listed))
	if got := call("GET", "/api/todo/items", "nonsense", "null"); got.Status != 401 || got.ID != "from-a-page" ||
		!strings.HasPrefix(got.Challenge, `Bearer error="invalid_token"`) || !strings.Contains(got.Body, "/problems/invalid-token") {
		t.Errorf("with a bad token: got %+v", got)
	}
	if got := call("POST", "/api/todo/items", w.alice(), `'{"title":"from a page"}'`); got.Status != 201 ||
		!strings.Contains(got.Body, "from a page") {
		t.Errorf("with a good one: got %+v", got)
	}
	if got := call("DELETE", "/api/todo/items/1", w.bob(), "null"); got.Status != 403 ||
		!strings.Contains(got.Challenge, "insufficient_scope") {
		t.Errorf("with too little: got %+v", got)
	}
	if got := call("PUT", "/api/todo/items", w.alice(), "null"); got.Error == "" {
		t.Errorf("with a method that no rule mentions: got %+v", got)
	}
	before := len(w.log.lines(t))
	b.do(chromedp.Navigate(other))
	if got := call("GET", "/api/todo/items", w.alice(), "null"); got.Error == "" || got.Body != "" {
		t.Errorf("from an origin that is not listed: got %+v", got)
	}
	if lines := w.log.lines(t)[before:]; len(lines) != 1 || lines[0]["method"] != "OPTIONS" {
		t.Errorf("from an origin that is not listed: %v came, want the preflight only", lines)
	}
}
