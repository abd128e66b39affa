//go:build slow

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"middletier/internal/testkit/tooltest"
	"middletier/internal/todo"
)

// mcpTools is where programs are that try servers of the Model Context Protocol, and the Node
// that they need.
const mcpTools = "../../clients/mcp"

var installMCPTools = sync.OnceValue(func() error { return installPackages(mcpTools) })

// mcpTool returns the command that runs a program of clients/mcp.
func mcpTool(t *testing.T, script string, args ...string) *exec.Cmd {
	t.Helper()
	tooltest.Find(t, "npm", "npm")
	if err := installMCPTools(); err != nil {
		t.Fatal(err)
	}
	architecture := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	node := filepath.Join(mcpTools, "node_modules", "node-"+runtime.GOOS+"-"+architecture, "bin", "node")
	return exec.CommandContext(t.Context(), node, append([]string{filepath.Join(mcpTools, "node_modules", script)}, args...)...)
}

const (
	inspector   = "@modelcontextprotocol/inspector/clients/launcher/build/index.js"
	conformance = "@modelcontextprotocol/conformance/dist/index.js"
)

// The Inspector's command line lists and calls tools with a token.
func TestSlowMCPInspector(t *testing.T) {
	s := startPlatform(t)
	endpoint := s.startMCP("")
	inspect := func(token string, args ...string) (string, error) {
		program := mcpTool(t, inspector, append([]string{"--cli", endpoint.url, "--transport", "http"}, args...)...)
		program.Args = append(program.Args, "--header", "Authorization: Bearer "+s.token(token))
		program.Env = append(os.Environ(), "HOME="+t.TempDir())
		out, err := program.CombinedOutput()
		return string(out), err
	}
	add := []string{"--method", "tools/call", "--tool-name", todo.AddTool, "--tool-arg", "title=tea"}
	for name, row := range map[string]struct {
		token string
		args  []string
		want  string
	}{
		"tools":    {"bob", []string{"--method", "tools/list"}, `"name": "` + todo.ListTool + `"`},
		"a call":   {"alice", add, `"title": "tea"`},
		"too much": {"bob", add, "Insufficient scope"},
	} {
		if got, err := inspect(row.token, row.args...); !strings.Contains(got, row.want) || (err != nil) != (name == "too much") {
			t.Errorf("%s: got %s, %v\nwant %s in it", name, got, err, row.want)
		}
	}
}

// messageProxy returns a proxy. It has the whole message before it sends it on: Go's proxy closes the
// connection if the answer begins while it still looks for the end of the body.
func messageProxy(rewrite func(*httputil.ProxyRequest)) http.HandlerFunc {
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: rewrite}
	return func(w http.ResponseWriter, r *http.Request) {
		message, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if len(message) > 0 {
			r.Body = io.NopCloser(bytes.NewReader(message))
		}
		proxy.ServeHTTP(w, r)
	}
}

// serveEverything starts the Go SDK's server for the conformance suite, behind the API.
func (w *world) serveEverything(t *testing.T, args ...string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "everything-server")
	build := exec.Command("go", "build", "-o", program, "github.com/modelcontextprotocol/go-sdk/conformance/everything-server")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	address := "127.0.0.1:" + freePorts(t, 1)[0]
	server := exec.CommandContext(t.Context(), program, append(args, "-http", address)...)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Wait() }) // it is killed with the test's context
	eventually(t, func() bool {
		resp, err := http.Get("http://" + address + "/mcp")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil
	}, func() string { return "the server does not listen" })
	target := &url.URL{Scheme: "http", Host: address}
	w.api.handle(messageProxy(func(r *httputil.ProxyRequest) { r.SetURL(target) }))
}

// withToken returns the URL of a server that sends requests on to the service, with a token:
// the suite has none.
func (w *world) withToken(t *testing.T, token string) string {
	t.Helper()
	target, err := url.Parse(w.url + "/api/todo")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(messageProxy(func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
		r.Out.Header.Set("Authorization", "Bearer "+token)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/mcp"
}

// suiteTotal is what the suite prints last.
var suiteTotal = regexp.MustCompile(`Total: (\d+ passed, \d+ failed)`)

// The public conformance suite finds nothing that the service changes: the Go SDK's server
// passes it, in both revisions, behind the service as it does without. Rules for tools apply.
func TestSlowMCPConformanceOfServers(t *testing.T) {
	for revision, row := range map[string]struct{ mode, want string }{
		"2025-11-25": {"-stateless=false", "73 passed, 0 failed"},
		"2026-07-28": {"-stateless=true", "42 passed, 0 failed"},
	} {
		t.Run(revision, func(t *testing.T) {
			w := newWorld(t, withMCP, func(f *file) { f.Server.AllowedHosts = []string{"127.0.0.1", "localhost"} })
			w.serveEverything(t, row.mode)
			out, err := mcpTool(t, conformance, "server", "--url", w.withToken(t, w.alice()), "--spec-version", revision,
				"--output-dir", t.TempDir()).CombinedOutput()
			if got := suiteTotal.FindStringSubmatch(string(out)); err != nil || got == nil || got[1] != row.want {
				t.Errorf("got %v, %q, want %s\n%s", err, got, row.want, out)
			}
		})
	}
}

// The suite's scenarios for authorization servers pass at the API's own.
func TestSlowMCPConformanceOfTheAuthorizationServer(t *testing.T) {
	s := startPlatform(t)
	endpoint := s.startMCPWithFacade()
	results := t.TempDir()
	program := mcpTool(t, conformance, "authorization", "--url", endpoint.issuer, "--client-id", demoMCP, "--resource", endpoint.url,
		"--port", freePorts(t, 1)[0], "--output-dir", results)
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	var printed strings.Builder
	page := ""
	for lines := bufio.NewScanner(out); lines.Scan(); {
		printed.WriteString(lines.Text() + "\n")
		if strings.HasPrefix(lines.Text(), endpoint.issuer+"/authorize?") {
			page = lines.Text()
		}
		if page == "" || !strings.HasPrefix(lines.Text(), "Callback server started") {
			continue
		}
		leaving, err := s.newPerson(alice, "").visit(page)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.client.Do(leaving)
		if err != nil {
			t.Fatal(err, printed.String())
		}
		_ = resp.Body.Close()
	}
	if err := program.Wait(); err != nil {
		t.Errorf("%v\n%s", err, printed.String())
	}
	checks := map[string]string{}
	files, err := filepath.Glob(filepath.Join(results, "*", "checks.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		var list []struct{ ID, Status string }
		text, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(text, &list)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, check := range list {
			checks[check.ID] = check.Status
		}
	}
	for _, id := range []string{"authorization-server-metadata", "authorization-code-grant"} {
		if checks[id] != "SUCCESS" {
			t.Errorf("%s: got %q\n%v\n%s", id, checks[id], checks, printed.String())
		}
	}
}
