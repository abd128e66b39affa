//go:build slow

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"
)

// attackPage has what a page tries in order to get a token from the sidecar listener.
const attackPage = `<!doctype html><title>attack</title><script>
// read returns what a page can read of an answer.
async function read(url, init) {
  try {
    const response = await fetch(url, init);
    return response.type + " " + response.status + " " + await response.text();
  } catch (error) {
    return String(error);
  }
}
// load lets an element load something, and waits for the end of it.
function load(name, attributes) {
  return new Promise((done) => {
    const element = Object.assign(document.createElement(name), attributes);
    element.onload = element.onerror = () => done(name);
    document.head.append(element);
  });
}
// post sends a form into a frame.
function post(action) {
  return new Promise((done) => {
    const frame = Object.assign(document.createElement("iframe"), {name: "frame" + Math.random()});
    document.body.append(frame);
    const form = Object.assign(document.createElement("form"), {method: "POST", target: frame.name, action});
    document.body.append(form);
    frame.onload = () => done("form");
    form.submit();
  });
}
// opened waits until a connection is open, or cannot be opened.
function opened(source) {
  return new Promise((done) => {
    source.onopen = () => done("open");
    source.onerror = () => { source.close(); done("refused"); };
  });
}
// frame opens an address in a frame.
function frame(src, attributes) {
  return new Promise((done) => {
    const element = Object.assign(document.createElement("iframe"), attributes, {src});
    element.onload = () => done("frame");
    document.body.append(element);
  });
}
</script><body></body>`

// attack runs a script of the page, and returns what it returns.
func (b *browser) attack(script string) string {
	b.t.Helper()
	return ask(b, chromedp.Evaluate[string]("(async () => String(await "+script+"))()", chromedp.EvalAwaitPromise))
}

// A name of the attacker's that comes to resolve to this machine (DNS rebinding) makes the sidecar
// listener a server of the attacker's page, whose scripts may read its answers. Its Host is what gives
// it away.
func TestSlowSidecarRefusesRebinding(t *testing.T) {
	w := newSidecar(t, asMicrosofts)
	rebound := &rebinding{sidecar: strings.TrimPrefix(w.side, "http://")}
	port := rebound.start(t)
	b := newBrowser(t, chromedp.Flag("host-resolver-rules", "MAP evil.example 127.0.0.1"))
	b.do(chromedp.Navigate("http://evil.example:" + port + "/"))
	rebound.now.Store(true)
	if got := b.attack(`read("/healthz")`); got != "basic 200 Healthy" {
		t.Fatalf("the page reads %q from /healthz, want it to reach the sidecar listener", got)
	}
	before := len(w.log.lines(t))
	for _, script := range []string{
		`read("/AuthorizationHeaderUnauthenticated/graph-app")`,
		`read("/AuthorizationHeaderUnauthenticated/graph-app", {referrerPolicy: "no-referrer", cache: "no-store"})`,
		`read("/DownstreamApiUnauthenticated/graph-app", {method: "POST", body: "{}", headers: {"Content-Type": "application/json"}})`,
		`read("/oauth2/token", {method: "POST", body: new URLSearchParams({grant_type: "client_credentials", audience: "todo"})})`,
		`read("/openapi/v1.json")`,
	} {
		if got := b.attack(script); !strings.HasPrefix(got, "basic 4") {
			t.Errorf("%s: the page reads %q, want a refusal", script, got)
		}
	}
	w.wantRefused(before, 5)
}

// rebinding is a server of a page, and once the name has come to resolve to this machine, a
// way to the sidecar listener.
type rebinding struct {
	sidecar string // its address
	now     atomic.Bool
}

// start listens, and returns the port.
func (r *rebinding) start(t *testing.T) (port string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() }) // ends the loop
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go r.serve(conn)
		}
	}()
	_, port, _ = net.SplitHostPort(listener.Addr().String())
	return port
}

// serve answers one connection: with the page, once, or as the sidecar listener does.
func (r *rebinding) serve(conn net.Conn) {
	defer conn.Close()
	first := make([]byte, 64<<10)
	n, err := conn.Read(first)
	if err != nil {
		return
	}
	if !r.now.Load() {
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
			len(attackPage), attackPage)
		return
	}
	sidecar, err := net.Dial("tcp", r.sidecar)
	if err != nil {
		return
	}
	defer sidecar.Close()
	_, _ = sidecar.Write(first[:n])
	go func() {
		_, _ = io.Copy(sidecar, conn)
		_ = sidecar.Close() // the browser has left
	}()
	_, _ = io.Copy(conn, sidecar)
}

// wantRefused wants that so many requests were refused since then, that nothing else was
// answered, and that no token was got for any.
func (w *world) wantRefused(before, want int) {
	w.t.Helper()
	refused := 0
	for _, line := range w.log.lines(w.t)[before:] {
		switch line["status"] {
		case 400.0, 403.0:
			refused++
		default:
			w.t.Errorf("answered: %v", line)
		}
	}
	if refused < want || w.exchanges() > 0 || len(w.api.seen()) > 0 {
		w.t.Errorf("got %d refusals, %d exchanges and %d calls of the API, want %d or more, and none",
			refused, w.exchanges(), len(w.api.seen()), want)
	}
}

// Pages of this machine's browser that come from elsewhere, another port of this machine included, cannot
// use the sidecar listener: whatever they send has an Origin or a Sec-Fetch-Site that says so.
func TestSlowSidecarRefusesOtherPages(t *testing.T) {
	w := newSidecar(t, asMicrosofts)
	page := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(rw, attackPage)
	}))
	t.Cleanup(page.Close)
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(page.URL, "http://"))
	_, sidecarPort, _ := net.SplitHostPort(strings.TrimPrefix(w.side, "http://"))
	b := newBrowser(t, chromedp.Flag("host-resolver-rules", "MAP evil.example 127.0.0.1"))
	for _, origin := range []string{"http://localhost:" + port, "http://127.0.0.1:" + port, "http://evil.example:" + port} {
		for _, host := range []string{"http://localhost:" + sidecarPort, "http://127.0.0.1:" + sidecarPort} {
			b.do(chromedp.Navigate(origin + "/"))
			get, post := host+"/AuthorizationHeaderUnauthenticated/graph-app", host+"/DownstreamApiUnauthenticated/graph-app"
			before := len(w.log.lines(t))
			for _, script := range []string{
				`read("` + get + `")`,
				`read("` + get + `", {mode: "no-cors"})`,
				`read("` + get + `", {headers: {"X-Requested-With": "fetch"}})`, // asks first
				`read("` + post + `", {method: "POST", mode: "no-cors", body: "{}"})`,
				`load("img", {src: "` + get + `"})`,
				`load("script", {src: "` + get + `"})`,
				`load("link", {rel: "stylesheet", href: "` + get + `"})`,
				`post("` + post + `")`,
				`frame("` + get + `")`,
				`frame("` + get + `", {sandbox: "allow-scripts", referrerPolicy: "no-referrer"})`,
				`navigator.sendBeacon("` + post + `", "{}")`,
				`opened(new WebSocket("` + strings.Replace(get, "http", "ws", 1) + `"))`,
				`opened(new EventSource("` + get + `"))`,
			} {
				if got := b.attack(script); strings.Contains(got, "200") || strings.Contains(got, "Bearer") || got == "open" {
					t.Errorf("%s of %s: the page gets %q", script, origin, got)
				}
			}
			w.wantRefused(before, 9)
		}
	}
	// A user who types the address into the browser is the one at this machine.
	b.do(chromedp.Navigate(w.side + "/AuthorizationHeaderUnauthenticated/graph-app"))
	if got := ask(b, chromedp.Evaluate[string](`document.body.innerText`)); !strings.Contains(got, "Bearer ") {
		t.Errorf("the address bar: got %q", got)
	}
}
