package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// sidecarProcess is the program as the sidecar of a manifest for Microsoft's container:
// the environment is all that it has.
type sidecarProcess struct{ service }

// startSidecar starts the program with more variables.
func (w *world) startSidecar(more ...string) sidecarProcess {
	w.t.Helper()
	ca := filepath.Join(w.t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, w.idp.CAPEM(), 0o600); err != nil {
		w.t.Fatal(err)
	}
	// An empty file, so that no config.yaml of the folder is read.
	args := []string{"serve", "--config", writeConfig(w.t, "")}
	s := startProcess(w.t, append([]string{
		"SSL_CERT_FILE=" + ca,
		"AzureAd__Instance=" + w.idp.URL() + "/", "AzureAd__TenantId=" + demoTenant, "AzureAd__ClientId=" + demoMiddleTier,
		"AzureAd__ClientCredentials__0__SourceType=ClientSecret", "AzureAd__ClientCredentials__0__ClientSecret=" + testSecret,
		"DownstreamApis__todo__BaseUrl=" + w.api.URL, "DownstreamApis__todo__Scopes__0=api://todo/.default",
		"Sidecar__AllowOverrides__GetAuthorizationHeaderUnauthenticated=true", "Server__AdminAddress=off",
	}, more...), args...)
	s.await(w.t, "listening for the application")
	return sidecarProcess{service{process: s}}
}

// socketFolder is a folder with a short path: a socket's may have about 100 bytes.
func socketFolder(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "mt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) }) // at worst, an empty folder stays
	return folder
}

// overSocket returns a client that connects to a Unix socket, whatever the URL.
func overSocket(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
}

// With Microsoft's names alone, there is a sidecar listener and no other one. It explains
// problem types, because nobody else does.
func TestSidecarListensAlone(t *testing.T) {
	t.Parallel()
	w := newStoppedWorld(t)
	socket := filepath.Join(socketFolder(t), "sidecar")
	s := w.startSidecar("Server__SidecarAddress=unix:"+socket, "Server__Address=off")
	if log := s.stdout.String(); strings.Contains(log, `"listening"`) || strings.Contains(log, "operators") || !strings.Contains(log, socket) {
		t.Errorf("the log does not name the one listener:\n%s", log)
	}
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode(); runtime.GOOS != "windows" && got != fs.ModeSocket|0o660 {
		t.Errorf("the socket's mode: got %v, want 0660", got)
	}
	client := overSocket(socket)
	for path, want := range map[string]string{"/healthz": "Healthy", "/problems/unknown-api": "unknown-api"} {
		resp, err := client.Get("http://localhost" + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || !strings.Contains(string(body), want) {
			t.Errorf("GET %s: got %d %s, %v", path, resp.StatusCode, body, err)
		}
	}
	client.CloseIdleConnections()
	s.signal(t, syscall.SIGTERM)
	if err := s.end(t); err != nil {
		t.Errorf("the end: got %v, want exit code 0\n%s", err, s.stdout.String())
	}
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket after the end: %v", err)
	}
}

// A manifest for Microsoft's container says by ASPNETCORE_URLS where its callers look.
func TestSidecarListensWhereASPNETWould(t *testing.T) {
	t.Parallel()
	w := newStoppedWorld(t)
	port := freePorts(t, 1)[0]
	s := w.startSidecar("ASPNETCORE_URLS=http://+:"+port, "ASPNETCORE_HTTP_PORTS=8080")
	resp, err := http.Get("http://localhost:" + port + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("got %d, want 200", resp.StatusCode)
	}
	http.DefaultClient.CloseIdleConnections()
	s.signal(t, syscall.SIGTERM)
	if err := s.end(t); err != nil {
		t.Errorf("the end: %v\n%s", err, s.stdout.String())
	}
}

// Problem types lead to a listener that explains them.
func TestProblemTypesOfTheSidecar(t *testing.T) {
	port := freePorts(t, 1)[0]
	for _, row := range []struct {
		name string
		keys server
		want string // "": the listener itself
	}{
		{"the public listener", server{Address: "127.0.0.1:" + port}, "http://localhost:" + port},
		{"below basePath", server{Address: "127.0.0.1:" + port, BasePath: "/middle"}, "http://localhost:" + port + "/middle"},
		{"publicUrl", server{Address: "127.0.0.1:0", PublicURL: "https://api.contoso.example/", BasePath: "/middle"}, "https://api.contoso.example/middle"},
		{"publicUrl with a path", server{Address: "127.0.0.1:0", PublicURL: "https://api.contoso.example/a/", BasePath: "/middle"}, "https://api.contoso.example/a"},
		{"the sidecar alone", server{}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newStoppedWorld(t, withSidecar, func(f *file) {
				f.Server.Address, f.Server.BasePath, f.Server.PublicURL = row.keys.Address, row.keys.BasePath, row.keys.PublicURL
			})
			w.startReady()
			r := w.beside("GET", headerPath("nothing"), w.alice())
			if want := cmp.Or(row.want, w.side) + "/problems/unknown-api"; r.problem.Type != want {
				t.Errorf("got the type %s, want %s", r.problem.Type, want)
			}
			if strings.HasPrefix(r.problem.Type, "https:") {
				return // another machine's
			}
			resp, err := http.Get(r.problem.Type)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != 200 {
				t.Errorf("GET %s: got %d, want 200", r.problem.Type, resp.StatusCode)
			}
		})
	}
}

// A running call of the application finishes after a signal to stop.
func TestSidecarDrains(t *testing.T) {
	t.Parallel()
	w := newStoppedWorld(t)
	socket := filepath.Join(socketFolder(t), "sidecar")
	s := w.startSidecar("Server__Address=off", "Server__SidecarAddress=unix:"+socket, "Server__ShutdownGrace=30s",
		"DownstreamApis__todo__RequestAppToken=true")
	arrived, release := w.api.hold()
	answered := make(chan string, 1)
	go func() {
		resp, err := overSocket(socket).Post("http://localhost/DownstreamApiUnauthenticated/todo", "application/json", strings.NewReader("{}"))
		if err != nil {
			answered <- err.Error()
			return
		}
		body, _ := io.ReadAll(resp.Body) // a part of it is shown
		resp.Body.Close()
		answered <- fmt.Sprint(resp.StatusCode, " ", string(body))
	}()
	<-arrived
	s.signal(t, syscall.SIGTERM)
	s.await(t, "shutting down")
	release()
	if got := <-answered; !strings.HasPrefix(got, "200 ") || !strings.Contains(got, `"statusCode":200`) {
		t.Errorf("the running call: got %s", got)
	}
	if err := s.end(t); err != nil {
		t.Errorf("the end: %v\n%s", err, s.stdout.String())
	}
}

// An address that is taken ends the program with the key's name.
func TestSidecarsAddressIsTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	text := goodConfig + "server: {address: 127.0.0.1:0, adminAddress: off, sidecarAddress: '" + taken.Addr().String() + "'}\n"
	p := startProcess(t, nil, "serve", "--config", writeConfig(t, text))
	if err := (service{process: p}).end(t); err == nil || !strings.Contains(p.stdout.String(), "config.yaml:11: server.sidecarAddress: listen tcp") {
		t.Errorf("got %v\n%s", err, p.stdout.String())
	}
}

// The public listener does not know an API that it cannot forward to. The sidecar listener
// may give tokens for it.
func TestAPIsForTheSidecarAloneAreUnknownElsewhere(t *testing.T) {
	w := newWorld(t, func(f *file) {
		f.Server.SidecarAddress = "127.0.0.1:0"
		d := f.DownstreamAPIs["todo"]
		noURL, noScopes := d, d
		noURL.BaseURL, noScopes.Scopes = "", nil
		f.DownstreamAPIs["tokens"], f.DownstreamAPIs["open"] = noURL, noScopes
	})
	for _, path := range []string{"/api/tokens/items", "/app/tokens/items", "/api/open/items"} {
		if r := w.call("GET", path, w.alice(), ""); r.StatusCode != 404 || r.kind() != "unknown-api" {
			t.Errorf("GET %s: got %d %s, want 404 unknown-api", path, r.StatusCode, r.body)
		}
	}
	for _, path := range []string{"/openapi.json", "/.well-known/oauth-protected-resource"} {
		if r := w.call("GET", path, "", ""); strings.Contains(r.body, "tokens/") || strings.Contains(r.body, "/open/") {
			t.Errorf("GET %s names them: %s", path, r.body)
		}
	}
	if r := w.call("GET", "/.well-known/oauth-protected-resource/api/tokens", "", ""); r.StatusCode != 404 {
		t.Errorf("its metadata: got %d, want 404", r.StatusCode)
	}
	if r := w.call("GET", "/api/todo/items", w.alice(), ""); r.StatusCode != 200 {
		t.Errorf("the other one: got %d %s", r.StatusCode, r.body)
	}
	if r := w.call("POST", "/signout", w.alice(), ""); r.StatusCode != 204 {
		t.Errorf("POST /signout: got %d %s", r.StatusCode, r.body)
	}
}
