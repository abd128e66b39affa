package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// demoProcess is a demo that runs.
type demoProcess struct {
	*process
	t    *testing.T
	url  string // of the page, without a slash at the end
	host string
}

// printedPage is the first line that the demo prints: the address of its page.
var printedPage = regexp.MustCompile(`^(http://(127\.0\.0\.1:\d+))/ is ready`)

func startDemo(t *testing.T) *demoProcess {
	t.Helper()
	return startDemoAt(t, "0")
}

func startDemoAt(t *testing.T, port string) *demoProcess {
	t.Helper()
	p := startProcess(t, nil, "demo", "--port", port)
	p.await(t, "Ctrl-C stops it.")
	found := printedPage.FindStringSubmatch(p.stdout.String())
	if found == nil {
		t.Fatalf("the demo does not print the address of its page first:\n%s", p.stdout.String())
	}
	return &demoProcess{p, t, found[1], found[2]}
}

// send makes a request of the page's own origin, with headers "Name: value".
func (d *demoProcess) send(method, path, body string, headers ...string) *http.Response {
	d.t.Helper()
	req, err := http.NewRequest(method, d.url+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		req.Header.Set(name, value)
		if name == "Host" {
			req.Host = value
		}
	}
	resp, err := noRedirects.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// read is send, with the body read to its end.
func (d *demoProcess) read(method, path, body string, headers ...string) (*http.Response, string) {
	d.t.Helper()
	resp := d.send(method, path, body, headers...)
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return resp, string(text)
}

// platform returns the URL of the demo's identity platform.
func (d *demoProcess) platform() string {
	return regexp.MustCompile(`https://127\.0\.0\.1:\d+`).FindString(d.stdout.String())
}

// preset returns a token of the platform.
func (d *demoProcess) preset(name string) string {
	d.t.Helper()
	output, err := runScript(d.t, d.t.TempDir(), "curl -sk "+d.platform()+"/mock/tokens/"+name)
	if err != nil {
		d.t.Fatalf("%v: %s", err, output)
	}
	return strings.TrimSpace(output)
}

// preparedRequest is what the demo tells its page to send.
type preparedRequest struct{ RequestID, Token, Method, Path, Body string }

// press does what a button of the page does, and returns the answer.
func (d *demoProcess) press(name string) (*http.Response, string) {
	d.t.Helper()
	var prepared preparedRequest
	resp, text := d.read("POST", "/demo/cases/"+name, `{"user":"bob"}`, "Content-Type: application/json")
	if err := json.Unmarshal([]byte(text), &prepared); err != nil || resp.StatusCode != 200 {
		d.t.Fatalf("%s: got %d %s", name, resp.StatusCode, text)
	}
	return d.read(prepared.Method, prepared.Path, prepared.Body, "Authorization: Bearer "+prepared.Token,
		"X-Request-ID: "+prepared.RequestID, "Content-Type: application/json")
}

// shownFlow is a flow as the page gets it.
type shownFlow struct {
	ID                            int
	RequestID, Case, Method, Path string
	Caller                        map[string]any
	Steps                         []struct {
		Kind, Grant, Scope, Method, Path string
		Status                           int
		Error, Suberror, Description     string
		Token                            map[string]any
		Done                             bool
	}
	Done       bool
	Status     int
	Problem    struct{ Type string }
	Challenge  string
	RetryAfter string
	Timing     struct {
		Validate, Token, API float64
		Source               string
	}
	Milliseconds float64
}

// flows reads the page's events until done is true of the flows that came, by their IDs.
func (d *demoProcess) flows(done func(map[int]shownFlow) bool, headers ...string) (map[int]shownFlow, string) {
	d.t.Helper()
	resp := d.send("GET", "/demo/flow", "", headers...)
	defer resp.Body.Close()
	timeout := time.AfterFunc(20*time.Second, func() { resp.Body.Close() })
	defer timeout.Stop()
	all, raw := map[int]shownFlow{}, ""
	lines := bufio.NewReader(resp.Body)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			d.t.Fatalf("the stream ended with %v after\n%s", err, raw)
		}
		raw += line
		data, ok := strings.CutPrefix(line, "data: {")
		if !ok {
			continue
		}
		var flow shownFlow
		if err := json.Unmarshal([]byte("{"+data), &flow); err != nil {
			d.t.Fatalf("%v in %s", err, line)
		}
		all[flow.ID] = flow
		if done(all) {
			return all, raw
		}
	}
}

// finished reports whether the flow with an ID has come and is done.
func finished(id int) func(map[int]shownFlow) bool {
	return func(all map[int]shownFlow) bool { return all[id].Done }
}

// The page learns what a call did: which token came, which one the API got, and where that
// came from. It gets no token.
func TestDemoShowsTheFlow(t *testing.T) {
	t.Parallel()
	d := startDemo(t)
	alice := d.preset("alice")
	for range 2 {
		if resp, text := d.read("GET", "/api/todo/items?secret=x", "", "Authorization: Bearer "+alice); resp.StatusCode != 200 {
			t.Fatalf("got %d %s", resp.StatusCode, text)
		}
	}
	all, raw := d.flows(finished(2))
	first, second := all[1], all[2]
	if len(first.Steps) != 2 || first.Steps[0].Kind != "exchange" || first.Steps[0].Status != 200 ||
		first.Steps[0].Scope != "api://todo/.default" || first.Steps[1].Kind != "api" || first.Steps[1].Status != 200 ||
		first.Timing.Source != "identity_provider" || first.Timing.Token <= 0 || first.Status != 200 || first.Path != "/api/todo/items" {
		t.Errorf("the first call: got %+v", first)
	}
	if len(second.Steps) != 1 || second.Steps[0].Kind != "api" || second.Timing.Source != "memory" {
		t.Errorf("the second call: got %+v", second)
	}
	for _, flow := range []shownFlow{first, second} {
		got := flow.Steps[len(flow.Steps)-1].Token
		if flow.Caller["aud"] != demoMiddleTier || got["aud"] != demoToDo || got["azp"] != demoMiddleTier || got["name"] != "alice" {
			t.Errorf("tokens: got %v, for the API %v", flow.Caller, got)
		}
	}
	if strings.Contains(raw, "eyJ") || strings.Contains(raw, "secret") {
		t.Errorf("the events hold a token or a query:\n%s", raw)
	}
}

func TestDemoCases(t *testing.T) {
	t.Parallel()
	d := startDemo(t)
	const exchange, api = "exchange 200 ", "api 200 "
	for i, row := range []struct {
		name    string
		status  int
		problem string
		steps   []string
	}{
		{"expired-token", 401, "invalid-token", nil},
		{"missing-scope", 403, "insufficient-scope", nil},
		{"step-up", 401, "claims-challenge", []string{exchange, "api 401 insufficient_claims", "exchange 400 interaction_required"}},
		{"consent-withdrawn", 403, "consent-required", []string{"exchange 400 invalid_grant"}},
		{"provider-away", 503, "identity-provider-unavailable", []string{"exchange 0 ", "exchange 0 "}},
		{"rejected-token", 502, "downstream-rejected-token", []string{exchange, "api 401 invalid_token", exchange, "api 401 invalid_token"}},
		{"daemon-call", 200, "", []string{exchange, api}},
	} {
		resp, text := d.press(row.name)
		if resp.StatusCode != row.status || row.problem != "" && !strings.Contains(text, d.url+"/problems/"+row.problem) {
			t.Errorf("%s: got %d %s", row.name, resp.StatusCode, text)
		}
		id := 2*i + 1 // each is followed by a call
		all, _ := d.flows(finished(id))
		var steps []string
		for _, s := range all[id].Steps {
			steps = append(steps, fmt.Sprint(s.Kind, " ", s.Status, " ", s.Error))
			if name, ok := s.Token["name"]; ok && name != "bob" { // the user of the caller's token
				t.Errorf("%s: the API got a token of %v, want bob's", row.name, name)
			}
		}
		if all[id].Case != row.name || !slices.Equal(steps, row.steps) || !strings.HasSuffix(all[id].Problem.Type, row.problem) {
			t.Errorf("%s: got %+v", row.name, all[id])
		}
		if all[id].RetryAfter != resp.Header.Get("Retry-After") || (row.status == 503) != (all[id].RetryAfter != "") {
			t.Errorf("%s: got Retry-After %q, the page %q", row.name, resp.Header.Get("Retry-After"), all[id].RetryAfter)
		}
		// The case is over.
		if resp, text := d.read("GET", "/api/todo/items", "", "Authorization: Bearer "+d.preset("bob")); resp.StatusCode != 200 {
			t.Errorf("after %s: got %d %s", row.name, resp.StatusCode, text)
		}
	}
}

// Only the page itself may read the flow and press buttons: no other page, and none whose
// name was made to resolve to this machine.
func TestDemoPageIsForItsOwnOrigin(t *testing.T) {
	d := startDemo(t)
	const js = "Content-Type: application/json"
	own := "Origin: " + d.url
	localhost := "Host: localhost:" + d.host[strings.LastIndexByte(d.host, ':')+1:]
	for _, row := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
	}{
		{"the page", "GET", "/", "", nil, 200},
		{"a link to the page", "GET", "/", "", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}, 200},
		{"under another name", "GET", "/", "", []string{localhost}, 302},
		{"its script", "GET", "/demo/page.js", "", []string{"Sec-Fetch-Site: same-origin"}, 200},
		{"a script for another page", "GET", "/demo/page.js", "", []string{"Sec-Fetch-Site: cross-site"}, 403},
		{"flow of another origin", "GET", "/demo/flow", "", []string{"Origin: https://evil.example"}, 403},
		{"flow of another port", "GET", "/demo/flow", "", []string{"Origin: http://127.0.0.1:1", "Sec-Fetch-Site: same-site"}, 403},
		{"flow without an origin", "GET", "/demo/flow", "", []string{"Sec-Fetch-Site: cross-site"}, 403},
		{"flow under another name", "GET", "/demo/flow", "", []string{"Host: evil.example", "Sec-Fetch-Site: same-origin"}, 404},
		{"flow under localhost", "GET", "/demo/flow", "", []string{localhost}, 404},
		{"a button", "POST", "/demo/cases/step-up", "{}", []string{own, js}, 200},
		{"a button of another page", "POST", "/demo/cases/step-up", "{}", []string{"Origin: https://evil.example", js}, 403},
		{"a button in a frame", "POST", "/demo/cases/step-up", "{}", []string{"Origin: null", js}, 403},
		{"a button of a form", "POST", "/demo/cases/step-up", "{}", []string{"Content-Type: text/plain"}, 415},
		{"a button under another name", "POST", "/demo/cases/step-up", "{}", []string{"Host: evil.example", js}, 404},
		{"another method", "GET", "/demo/cases/step-up", "", nil, 405},
		{"no such button", "POST", "/demo/cases/nothing", "{}", []string{js}, 404},
		{"no such user", "POST", "/demo/cases/step-up", `{"user":"mallory"}`, []string{js}, 400},
		{"no JSON", "POST", "/demo/cases/step-up", `user=bob`, []string{js}, 400},
		{"no such file", "GET", "/demo/index.html", "", nil, 404},
	} {
		resp := d.send(row.method, row.path, row.body, row.headers...)
		if resp.StatusCode != row.status {
			t.Errorf("%s: got %d, want %d", row.name, resp.StatusCode, row.status)
		}
		if got := resp.Header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("%s: Access-Control-Allow-Origin is %q", row.name, got)
		}
	}
}

// Whatever is not the page's is the service's.
func TestDemoLeavesTheOtherRoutes(t *testing.T) {
	d := startDemo(t)
	for _, row := range []struct {
		path   string
		status int
		want   string
	}{
		{"/healthz", 200, ""},
		{"/openapi.json", 200, "openapi"},
		{"/docs", 200, "swagger"},
		{"/problems/not-found", 200, "nothing at this path"},
		{"/nothing", 404, "/problems/not-found"},
		{"/demo", 404, "/problems/not-found"},
		{"/.well-known/oauth-protected-resource", 200, demoMiddleTier},
	} {
		if resp, text := d.read("GET", row.path, ""); resp.StatusCode != row.status || !strings.Contains(text, row.want) {
			t.Errorf("%s: got %d %s, want %d with %q", row.path, resp.StatusCode, text, row.status, row.want)
		}
	}
	if resp := d.send("GET", "/", "", "Host: evil.example", "Accept: text/html"); resp.Header.Get("Location") != "/docs" {
		t.Errorf("/ of another host: got %d %v, want the service's redirect", resp.StatusCode, resp.Header)
	}
	resp, _ := d.read("GET", "/api/todo/items", "", "X-Request-ID: of-the-caller")
	if got := resp.Header.Get("X-Request-ID"); got != "of-the-caller" {
		t.Errorf("the request ID: got %q", got)
	}
}

// A page that has lost its connection gets what it missed, and after a restart everything.
func TestDemoPageReconnects(t *testing.T) {
	d := startDemo(t)
	d.press("expired-token")
	d.press("missing-scope")
	_, raw := d.flows(finished(2))
	ids := regexp.MustCompile(`(?m)^id: (.*)$`).FindAllStringSubmatch(raw, -1)
	d.press("expired-token")
	if all, _ := d.flows(finished(3), "Last-Event-ID: "); len(all) != 3 {
		t.Errorf("of a new page: got %v, want all", all)
	}
	if all, _ := d.flows(finished(3), "Last-Event-ID: "+ids[len(ids)-1][1]); len(all) != 1 {
		t.Errorf("after the second: got %v, want the third alone", all)
	}
	if all, _ := d.flows(finished(3), "Last-Event-ID: AN-EARLIER-RUN-999"); len(all) != 3 {
		t.Errorf("of an earlier run: got %v, want all", all)
	}
}

// An open page does not keep the demo from ending.
func TestDemoEndsWhileItsPageIsOpen(t *testing.T) {
	d := startDemo(t)
	d.send("GET", "/demo/flow", "")
	if err := d.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-d.ended:
		if err != nil {
			t.Errorf("exit: %v", err)
		}
	case <-time.After(15 * time.Second):
		t.Error("the demo goes on after an interrupt")
	}
}
