package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"middletier/internal/telemetry"
)

// service is the whole program in a process, in the world of a test, which calls
// it where it listens.
type service struct {
	*process
	admin string // URL
}

// startService starts the program in a role of roles. section is what the server
// section says beside the addresses.
func (w *world) startService(role, section string) service {
	w.t.Helper()
	t := w.t
	dir := t.TempDir()
	ca, secret := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "secret")
	if err := os.WriteFile(ca, w.idp.CAPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(secret, []byte(testSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := writeConfig(t, fmt.Sprintf(`
server: {address: 127.0.0.1:0, adminAddress: 127.0.0.1:0, %s}
azureAd:
  instance: %s/
  tenantId: %s
  clientId: %s
  clientCredentials: [{sourceType: ClientSecret, clientSecretFile: %s}]
downstreamApis:
  todo: {baseUrl: %s, scopes: [api://todo/.default], access: [{scopes: [ToDoList.Read, ToDoList.ReadWrite]}]}
`, section, w.idp.URL(), demoTenant, demoMiddleTier, secret, w.api.URL))
	s := service{process: startProcess(t, []string{"SSL_CERT_FILE=" + ca, roleVariable + "=" + role}, "serve", "--config", path)}
	s.await(t, "listening for operators")
	addresses := map[string]string{}
	for line := range strings.Lines(s.stdout.String()) {
		var fields struct{ Msg, Address string }
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		addresses[fields.Msg] = "http://" + fields.Address
	}
	w.url, s.admin = addresses["listening"], addresses["listening for operators"]
	eventually(t, func() bool { return w.call("GET", "/readyz", "", "").StatusCode == 200 }, func() string { return "not ready" })
	return s
}

func (s service) signal(t *testing.T, signal os.Signal) {
	t.Helper()
	if err := s.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// end waits for the end of the process.
func (s service) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.ended:
		return err
	case <-time.After(15 * time.Second):
		t.Fatal("the program goes on")
		return nil
	}
}

// hold has the API keep calls until released, and tells of each.
func (u *upstream) hold() (arrived chan struct{}, release func()) {
	arrived, answer := make(chan struct{}, 100), make(chan struct{})
	u.handle(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-answer:
		case <-r.Context().Done():
		}
	})
	return arrived, func() { close(answer) }
}

// After a signal to stop, the program is not ready at once, serves new connections
// for a moment, lets running requests finish, and exits with 0.
func TestServeDrainsAndExitsCleanly(t *testing.T) {
	t.Parallel()
	w := newStoppedWorld(t)
	s := w.startService("middletier", "shutdownGrace: 9s")
	alice := w.alice()
	if resp, err := http.Get(s.admin + "/readyz"); err != nil || resp.StatusCode != 200 {
		t.Errorf("admin readyz: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
	w.call("GET", "/api/todo/items", alice, "")
	arrived, release := w.api.hold()
	running := make(chan *reply)
	go func() { running <- w.call("GET", "/api/todo/items", alice, "") }()
	<-arrived
	w.api.handle(func(http.ResponseWriter, *http.Request) {})

	s.signal(t, syscall.SIGTERM)
	eventually(t, func() bool { return w.call("GET", "/readyz", "", "").StatusCode == 503 },
		func() string { return "still ready after the signal to stop" })
	for range 3 {
		if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != 200 || !r.Close {
			t.Errorf("soon after: got %d, its connection closes: %v; want 200 and true", r.StatusCode, r.Close)
		}
	}
	eventually(t, func() bool {
		resp, err := http.Get(w.url + "/healthz")
		if err == nil {
			resp.Body.Close()
		}
		return err != nil
	}, func() string { return "new connections are still accepted" })
	release()
	if r := <-running; r.StatusCode != 200 {
		t.Errorf("the running request: got %d %s, want 200", r.StatusCode, r.body)
	}
	if err := s.end(t); err != nil {
		t.Errorf("exit: %v\n%s", err, s.stdout.String())
	}
	if strings.Contains(s.stdout.String(), testSecret) {
		t.Error("the log holds the secret")
	}
}

func TestStreamsEndAtTheGrace(t *testing.T) {
	t.Parallel()
	w := newStoppedWorld(t)
	s := w.startService("middletier", "shutdownGrace: 1s")
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(rw, "data: first\n\n")
		rw.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	req, err := http.NewRequest("GET", w.url+"/api/todo/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.alice())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	s.signal(t, syscall.SIGTERM)
	body, err := io.ReadAll(resp.Body)
	if string(body) != "data: first\n\n" || err == nil {
		t.Errorf("got %q, %v, want the event and a broken connection", body, err)
	}
	if err := s.end(t); err != nil {
		t.Errorf("exit: %v\n%s", err, s.stdout.String())
	}
}

// The log distinguishes requests that were cut off at the stop from those whose
// callers left.
func TestRequestsCutOffAtTheGraceAreLoggedAsSuch(t *testing.T) {
	w := newStoppedWorld(t, func(f *file) { f.Server.H2C, f.Server.ShutdownGrace = true, 300*time.Millisecond })
	p, stop := w.startStoppable()
	if err := p.validator.AwaitKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/events" {
			_, _ = io.WriteString(rw, "data: first\n\n")
			rw.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	})
	h2c := &http.Protocols{}
	h2c.SetUnencryptedHTTP2(true)
	var callers sync.WaitGroup
	begun := make(chan struct{})
	for _, client := range []*http.Client{{Transport: &http.Transport{}}, {Transport: &http.Transport{Protocols: h2c}}} {
		t.Cleanup(client.CloseIdleConnections)
		for _, path := range []string{"/api/todo/events", "/api/todo/held"} {
			req, err := http.NewRequest("GET", w.url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+w.alice())
			callers.Go(func() {
				resp, err := client.Do(req)
				if err != nil {
					return
				}
				defer resp.Body.Close()
				begun <- struct{}{}
				if _, err := io.ReadAll(resp.Body); err == nil {
					t.Errorf("%s: a clean end", path)
				}
			})
		}
	}
	<-begun
	<-begun
	eventually(t, func() bool { return len(w.api.seen()) == 4 }, func() string { return "not all calls arrived" })
	stop()
	callers.Wait()
	got := map[string]int{}
	for _, line := range w.log.lines(t) {
		if line["msg"] == "request" {
			got[fmt.Sprint(line["level"], " ", line["status"], " ", line["error"])]++
		}
	}
	const ended = " the service stopped before the end of the answer"
	if want := map[string]int{"WARN 200" + ended: 2, "WARN 499" + ended: 2}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestASecondSignalEndsAtOnce(t *testing.T) {
	w := newStoppedWorld(t)
	s := w.startService("middletier", "shutdownGrace: 10m")
	s.signal(t, syscall.SIGTERM)
	eventually(t, func() bool { return w.call("GET", "/readyz", "", "").StatusCode == 503 },
		func() string { return "still ready after the signal to stop" })
	s.signal(t, syscall.SIGTERM)
	if err := s.end(t); err == nil || err.Error() != "signal: terminated" {
		t.Errorf("got %v, want an end by the signal", err)
	}
}

func TestHangupSaysWhatNeedsARestart(t *testing.T) {
	t.Parallel()
	w := newStoppedWorld(t)
	s := w.startService("middletier", "shutdownGrace: 0s")
	for range 2 {
		s.signal(t, syscall.SIGHUP)
		s.await(t, "everything else needs a restart")
	}
	if r := w.call("GET", "/api/todo/items", w.alice(), ""); r.StatusCode != 200 {
		t.Errorf("got %d, want 200", r.StatusCode)
	}
	s.signal(t, syscall.SIGTERM)
	if err := s.end(t); err != nil {
		t.Errorf("exit: %v\n%s", err, s.stdout.String())
	}
}

// Without free descriptors no new connection is accepted and running requests
// continue; with free ones everything works again.
func TestServeOutlivesExhaustedDescriptors(t *testing.T) {
	w := newStoppedWorld(t)
	s := w.startService("few-descriptors", "shutdownGrace: 0s")
	alice := w.alice()
	if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != 200 {
		t.Fatalf("got %d %s, want 200", r.StatusCode, r.body)
	}
	var idle []net.Conn
	for range fewDescriptors { // what is not accepted waits in the system
		conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, conn)
	}
	s.await(t, "too many open files")
	if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != 200 {
		t.Errorf("a known user on an open connection: got %d %s, want 200", r.StatusCode, r.body)
	}
	for _, conn := range idle {
		_ = conn.Close() // it has served
	}
	if r := rawRequest(t, w, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); r.StatusCode != 200 {
		t.Errorf("a new connection afterwards: got %d, want 200", r.StatusCode)
	}
	s.signal(t, syscall.SIGTERM)
	if err := s.end(t); err != nil {
		t.Errorf("exit: %v\n%s", err, s.stdout.String())
	}
}

// If the reader of the log has exited, the next line does not end the program
// (SIGPIPE); if it no longer reads, no request waits.
func TestServeOutlivesItsLog(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		gone  bool
		calls int
	}{
		{"gone", true, 3},
		{"reads no more", false, 1000}, // a pipe has 64 KiB
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newStoppedWorld(t)
			cmd, log := w.startUnread()
			if row.gone {
				if err := log.Close(); err != nil {
					t.Fatal(err)
				}
			}
			client := &http.Client{Timeout: 15 * time.Second}
			for range row.calls {
				resp, err := client.Get(w.url + "/nothing") // which is logged
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body) // to use the connection again
				_ = resp.Body.Close()                 // it has served
				if resp.StatusCode != 404 {
					t.Fatalf("got %d, want 404", resp.StatusCode)
				}
			}
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("exit: %v", err)
			}
		})
	}
}

// startUnread starts the program, and reads its log until it listens. log is the
// rest.
func (w *world) startUnread() (cmd *exec.Cmd, log io.ReadCloser) {
	w.t.Helper()
	t := w.t
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, w.idp.CAPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(self, "serve", "--config", writeConfig(t, fmt.Sprintf("server: {address: 127.0.0.1:0, adminAddress: '', shutdownGrace: 0s}\nazureAd: {instance: %s/, tenantId: %s, clientId: %s, clientCredentials: [{sourceType: ClientSecret, clientSecret: %s}]}\ndownstreamApis: {todo: {baseUrl: %s, scopes: [api://todo/.default]}}\n",
		w.idp.URL(), demoTenant, demoMiddleTier, testSecret, w.api.URL)))
	cmd.Env = append(os.Environ(), roleVariable+"=middletier", "SSL_CERT_FILE="+ca)
	if log, err = cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it may have ended
	lines := bufio.NewScanner(log)
	var line struct{ Msg, Address string }
	for line.Msg != "listening" && lines.Scan() {
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
	}
	w.url = "http://" + line.Address
	return cmd, log
}

func TestLogLevelChangesWithoutARestart(t *testing.T) {
	w := newStoppedWorld(t)
	text := &syncBuffer{}
	log, level := telemetry.NewLog("info", "json", text)
	p, err := build(t.Context(), w.file, w.transport(), log)
	if err != nil {
		t.Fatal(err)
	}
	admin := p.api.Admin(level)
	ask := func(method, body string, status int, want string) {
		t.Helper()
		recorder := httptest.NewRecorder()
		admin.ServeHTTP(recorder, httptest.NewRequest(method, "/loglevel", strings.NewReader(body)))
		if recorder.Code != status || !strings.Contains(recorder.Body.String(), want) {
			t.Errorf("%s %s: got %d %s, want %d %s", method, body, recorder.Code, recorder.Body, status, want)
		}
	}
	probes := func() int {
		admin.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/healthz", nil))
		return strings.Count(text.String(), `"level":"`+slog.LevelDebug.String()+`"`)
	}
	ask("GET", "", 200, `{"level":"info"}`)
	if probes() != 0 {
		t.Errorf("level info logs what is for debug: %s", text)
	}
	ask("PUT", `{"level":"debug"}`, 200, `{"level":"debug"}`)
	if probes() != 1 {
		t.Errorf("level debug does not log what is for it: %s", text)
	}
	for _, body := range []string{"", "debug", `{"level":"loud"}`, `{"level":""}`, `{"level":7}`} {
		ask("PUT", body, 400, "/problems/invalid-request")
	}
	ask("GET", "", 200, `{"level":"debug"}`)
	public := httptest.NewRecorder()
	p.api.ServeHTTP(public, httptest.NewRequest("PUT", "/loglevel", strings.NewReader(`{"level":"error"}`)))
	if public.Code != 404 {
		t.Errorf("on the public listener: got %d, want 404", public.Code)
	}
}
