//go:build slow

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"middletier/internal/records"
	"middletier/internal/redistier"
	"middletier/internal/testkit/redistest"
)

// sessionProcesses are two processes of the service with one Redis, which keeps their sessions.
type sessionProcesses struct {
	*world
	redis     *redistest.Server
	store     *records.Store // the records in Redis
	addresses [2]string
	processes [2]*process
	worlds    [2]*world // each with the URL of a process
}

func startSessionProcesses(t *testing.T) *sessionProcesses {
	t.Helper()
	s := &sessionProcesses{world: newStoppedSessionWorld(t), redis: redistest.Start(t)}
	keys := []string{base64.StdEncoding.EncodeToString(make([]byte, 32))}
	shared, err := redistier.New(redistier.Config{
		URL: s.redis.URL(), KeyPrefix: "middletier:", Timeout: 5 * time.Second, EncryptionKeys: keys, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.store, err = records.NewRedis(shared, keys); err != nil {
		t.Fatal(err)
	}
	for i, port := range freePorts(t, 2) {
		s.addresses[i] = "127.0.0.1:" + port
		s.start(i)
	}
	return s
}

// start starts one of the processes.
func (s *sessionProcesses) start(i int) {
	s.t.Helper()
	cas := filepath.Join(s.t.TempDir(), "ca.pem")
	if err := os.WriteFile(cas, s.idp.CAPEM(), 0o600); err != nil {
		s.t.Fatal(err)
	}
	path := writeConfig(s.t, fmt.Sprintf(`
server: {address: %q, adminAddress: "", publicUrl: %q}
azureAd: {instance: %q, tenantId: %s, clientId: %s, clientCredentials: [{sourceType: ClientSecret}]}
session: {enabled: true, clientId: %s}
downstreamApis:
  todo: {baseUrl: %q, scopes: [api://todo/.default], access: [{scopes: [ToDoList.Read, ToDoList.ReadWrite]}]}
tokenCache: {redis: {url: %q, timeout: 5s}}
`, s.addresses[i], webAppURL, s.idp.URL()+"/", demoTenant, demoMiddleTier, demoWeb, s.api.URL, s.redis.URL()))
	s.processes[i] = startProcess(s.t, []string{
		"SSL_CERT_FILE=" + cas, "AzureAd__ClientCredentials__0__ClientSecret=" + testSecret,
		"TokenCache__Redis__EncryptionKeys__0=" + base64.StdEncoding.EncodeToString(make([]byte, 32)),
	}, "serve", "--config", path)
	s.worlds[i] = &world{t: s.t, idp: s.idp, api: s.api, log: s.processes[i].stdout, url: "http://" + s.addresses[i]}
	eventually(s.t, func() bool {
		resp, err := http.Get(s.worlds[i].url + "/readyz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == 200
	}, func() string { return "not ready:\n" + s.processes[i].stdout.String() })
}

// stop ends one of the processes as an orchestrator does.
func (s *sessionProcesses) stop(i int) {
	s.t.Helper()
	if err := s.processes[i].Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	if code := s.processes[i].wait(s.t); code != 0 {
		s.t.Errorf("exit code %d:\n%s", code, s.processes[i].stdout.String())
	}
}

// age makes the access token of a page's session an old one, as time would.
func (s *sessionProcesses) age(p *page) {
	s.t.Helper()
	ctx := s.t.Context()
	key, ok := records.ParseKey(p.cookies[sessionName].Value)
	if !ok {
		s.t.Fatal("the page has no session")
	}
	r, err := s.store.Get(ctx, key)
	if err != nil {
		s.t.Fatal(err)
	}
	unlock, err := s.store.Lock(ctx, key, r, 10*time.Second)
	if err != nil {
		s.t.Fatal(err)
	}
	defer unlock()
	if r, err = s.store.Get(ctx, key); err != nil {
		s.t.Fatal(err)
	}
	aged := bytes.Replace(r.Value, []byte(`"tokenExpires":`), []byte(`"tokenExpires":1,"formerly":`), 1)
	if err := s.store.Replace(ctx, key, r, aged, time.Hour); err != nil {
		s.t.Fatal(err)
	}
}

// asPage makes a request one of a script of a page.
func asPage(p *page) func(*http.Request) {
	cookie := p.cookies[sessionName].Value
	return func(req *http.Request) {
		for _, line := range ownPage {
			name, value, _ := strings.Cut(line, ": ")
			req.Header.Set(name, value)
		}
		req.AddCookie(&http.Cookie{Name: sessionName, Value: cookie})
	}
}

// crowd sends 50 requests of a page at once, over both processes, and counts the answers by
// status and the problem's type.
func (s *sessionProcesses) crowd(p *page) map[string]int {
	s.t.Helper()
	var group sync.WaitGroup
	var mu sync.Mutex
	answers := map[string]int{}
	mark := asPage(p)
	for i := range 50 {
		group.Go(func() {
			req, err := http.NewRequestWithContext(s.t.Context(), "GET", s.worlds[i%2].url+"/bff/api/todo/items", nil)
			if err != nil {
				s.t.Error(err)
				return
			}
			mark(req)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				s.t.Error(err)
				return
			}
			defer resp.Body.Close()
			var problem struct{ Type, LoginURL string }
			_ = json.NewDecoder(resp.Body).Decode(&problem) // an answer of the API has none
			kind := fmt.Sprint(resp.StatusCode, " ", problem.Type[strings.LastIndex(problem.Type, "/")+1:])
			if resp.StatusCode == 401 && !strings.HasPrefix(problem.LoginURL, "/bff/login?") {
				kind += " without a loginUrl"
			}
			mu.Lock()
			defer mu.Unlock()
			answers[kind]++
		})
	}
	group.Wait()
	return answers
}

// wantCrowd checks that all of a crowd are answered alike, and how many refreshes that takes.
func (s *sessionProcesses) wantCrowd(p *page, want string, refreshes int) {
	s.t.Helper()
	before := s.idp.Count("refresh_token")
	if got := s.crowd(p); len(got) != 1 || got[want] != 50 {
		s.t.Errorf("50 requests: got %v, want all %q", got, want)
	}
	if got := s.idp.Count("refresh_token") - before; got != refreshes {
		s.t.Errorf("refreshes: got %d, want %d", got, refreshes)
	}
}

// Processes share a session and its refreshes. Where the refresh token is refused, the session
// ends at both after one refresh, and a sign-in begins another one.
func TestSlowProcessesShareSessions(t *testing.T) {
	s := startSessionProcesses(t)
	p := s.worlds[0].signIn("alice")
	s.wantCrowd(p, "200 ", 0)
	for range 3 {
		s.age(p)
		s.wantCrowd(p, "200 ", 1)
	}
	s.age(p)
	s.idp.RevokeSignIns("alice")
	s.wantCrowd(p, "401 session-required", 1)
	s.wantCrowd(p, "401 session-required", 0)

	again := s.worlds[1].signIn("alice")
	s.wantCrowd(again, "200 ", 0)
	s.wantCrowd(p, "401 session-required", 0)
	s.age(again)
	s.wantCrowd(again, "200 ", 1)
}

// A session, and a sign-in that is under way, outlive the process where they began.
func TestSlowSessionOutlivesItsProcess(t *testing.T) {
	s := startSessionProcesses(t)
	p := s.worlds[0].signIn("alice")
	under := s.worlds[0].newPage()
	r := under.send("GET", "/bff/login?returnUrl=/page", "")
	callback := strings.TrimPrefix(under.atPlatform(r.Header.Get("Location"), "bob"), webAppURL)
	s.stop(0)
	s.start(0)
	under.w = s.worlds[0]
	if r := under.sendAs("GET", callback, "", true); r.StatusCode != 200 || goOn.FindString(r.body) == "" {
		t.Errorf("the callback after the restart: got %d %s, want a page that goes on", r.StatusCode, r.body)
	}
	s.wantCrowd(under, "200 ", 0)
	s.wantCrowd(p, "200 ", 0)
	s.age(p)
	s.wantCrowd(p, "200 ", 1)
	if got := s.idp.Count("authorization_code"); got != 2 {
		t.Errorf("sign-ins: got %d, want 2", got)
	}
}

// Behind nginx, with the configuration in the repository, no request of a session fails while
// both processes are replaced one by one and access tokens grow old.
func TestSlowNoRequestOfASessionFails(t *testing.T) {
	const rate, sessions = 60, 10
	s := startSessionProcesses(t)
	var pages []*page
	var marks []func(*http.Request)
	for i := range sessions {
		p := s.worlds[i%2].signIn([]string{"alice", "bob"}[i/2%2])
		pages, marks = append(pages, p), append(marks, asPage(p))
	}
	gateway := startNginx(t, "127.0.0.1:"+freePorts(t, 1)[0], []*replica{{address: s.addresses[0]}, {address: s.addresses[1]}})
	var next atomic.Uint64
	traffic := s.startRequests(rate, gateway+"/bff/api/todo/items", func(req *http.Request) { marks[next.Add(1)%sessions](req) })
	traffic.awaitAnswers(t, rate)
	aged := 0
	for i := range s.addresses {
		s.stop(i)
		for _, p := range pages {
			s.age(p)
			aged++
		}
		traffic.awaitAnswers(t, rate)
		s.start(i)
		traffic.awaitAnswers(t, rate)
	}
	traffic.stop()
	if got := s.idp.Count("refresh_token"); got != aged {
		t.Errorf("refreshes: got %d, want %d", got, aged)
	}
	if got := s.idp.Count("authorization_code"); got != sessions {
		t.Errorf("sign-ins: got %d, want %d", got, sessions)
	}
}
