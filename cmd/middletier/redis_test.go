package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"middletier/internal/redistest"
)

// withRedis switches the shared tier on.
func withRedis(server *redistest.Server) func(*file) {
	return func(f *file) {
		f.TokenCache.Redis.URL = server.URL()
		f.TokenCache.Redis.EncryptionKeys = []string{base64.StdEncoding.EncodeToString(make([]byte, 32))}
	}
}

// entries are the keys of tokens.
func entries(server *redistest.Server) (n int) {
	for _, key := range server.Keys() {
		if !strings.HasSuffix(key, ":lock") && !strings.HasSuffix(key, ":probe") {
			n++
		}
	}
	return n
}

func TestTwoProgramsShareOneRedis(t *testing.T) {
	redis := redistest.Start(t)
	// The machine may be busy: what is slower than the timeout is done without.
	w := newWorld(t, withRedis(redis), func(f *file) { f.TokenCache.Redis.Timeout = 5 * time.Second })
	one := w.url
	if err := awaitKeys(t.Context(), w.start().validator); err != nil {
		t.Fatal(err)
	}
	urls, alice := []string{one, w.url}, w.alice()
	var wg sync.WaitGroup
	statuses := make(chan int, 300)
	for i := range cap(statuses) {
		req, err := http.NewRequest("GET", urls[i%2]+"/api/todo/items", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+alice)
		wg.Go(func() { statuses <- w.do(req).StatusCode })
	}
	wg.Wait()
	close(statuses)
	for status := range statuses {
		if status != 200 {
			t.Fatalf("got %d, want 200", status)
		}
	}
	if got := w.exchanges(); got != 1 {
		t.Errorf("got %d exchanges for 300 calls of two programs, want 1", got)
	}
	sources := map[any]int{}
	for _, line := range w.log.lines(t) {
		sources[line["tokenSource"]]++
	}
	if sources["redis"] == 0 || sources["identity_provider"] == 0 {
		t.Errorf("sources of tokens: got %v, want one program's from Redis", sources)
	}

	// Signing out at one of them reaches Redis.
	eventually(t, func() bool { return entries(redis) == 1 }, func() string { return "the token is not in Redis" })
	if r := w.call("POST", "/signout", alice, ""); r.StatusCode != 204 {
		t.Errorf("sign-out: got %d", r.StatusCode)
	}
	if got := redis.Keys(); entries(redis) != 0 {
		t.Errorf("after the sign-out Redis holds %q", got)
	}
}

// No request fails when Redis is lost, or waits for it long. The times are
// logged: on a busy machine they say more of the machine.
func TestRedisLostUnderLoad(t *testing.T) {
	for _, row := range []struct {
		name       string
		lose, mend func(*redistest.Server)
	}{
		{"killed", (*redistest.Server).Kill, (*redistest.Server).Restart},
		{"silent", (*redistest.Server).Freeze, (*redistest.Server).Thaw},
	} {
		t.Run(row.name, func(t *testing.T) {
			redis := redistest.Start(t)
			w := newWorld(t, withRedis(redis))
			traffic := w.startTraffic()
			traffic.awaitAnswers(t, trafficRate/2) // warm
			began := time.Now()
			traffic.awaitAnswers(t, trafficRate)
			eventually(t, func() bool { return entries(redis) > trafficRate }, func() string { return "nothing is written to Redis" })

			lost := time.Now()
			row.lose(redis)
			opened := w.awaitLine("Redis fails", time.Time{})
			traffic.awaitAnswers(t, 2*trafficRate)
			back := time.Now()
			row.mend(redis)
			closed := w.awaitLine("Redis answers again", back)
			if row.name == "killed" { // else what it holds may be from before
				eventually(t, func() bool { return entries(redis) > 0 }, func() string { return "nothing is written to Redis again" })
			}
			traffic.awaitAnswers(t, trafficRate)
			traffic.stop()

			base := traffic.between(began, lost)
			usual := base[len(base)/2]
			for _, phase := range []struct {
				name     string
				from, to time.Time
			}{
				{"before", began, lost},
				{"until the breaker opens", lost.Add(-100 * time.Millisecond), opened}, // those under way, too
				{"with the breaker open", opened, back},
				{"in use again", closed, time.Now()},
			} {
				if times := traffic.between(phase.from, phase.to); len(times) > 0 {
					t.Logf("%s: %d requests, more than usual (%v): half %v, 99%% %v, all %v", phase.name, len(times), usual,
						times[len(times)/2]-usual, times[len(times)*99/100]-usual, times[len(times)-1]-usual)
				}
			}
			t.Logf("the breaker opened after %v; Redis was in use again after %v", opened.Sub(lost), closed.Sub(back))
		})
	}
}

// awaitLine waits for a line of the log with a text, written after a moment, and
// returns when the last one was.
func (w *world) awaitLine(text string, after time.Time) (at time.Time) {
	w.t.Helper()
	eventually(w.t, func() bool {
		for line := range strings.Lines(w.log.String()) {
			var fields struct{ Time time.Time }
			if strings.Contains(line, text) && json.Unmarshal([]byte(line), &fields) == nil && fields.Time.After(after) {
				at = fields.Time
			}
		}
		return !at.IsZero()
	}, func() string { return "the log does not tell: " + text })
	return at
}

// The whole program in a process, which trusts the CA of SSL_CERT_FILE.
func TestRedisOverTLS(t *testing.T) {
	redis, redisCA := redistest.StartTLS(t, "--requirepass", "pass")
	w := newStoppedWorld(t)
	ca, err := os.ReadFile(redisCA)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cas, password := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "password")
	for path, data := range map[string]string{cas: string(w.idp.CAPEM()) + string(ca), password: "pass\n"} {
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := writeConfig(t, fmt.Sprintf(`
server: {address: 127.0.0.1:0, adminAddress: ""}
azureAd: {instance: %s/, tenantId: %s, clientId: %s, clientCredentials: [{sourceType: ClientSecret}]}
downstreamApis:
  todo: {baseUrl: %s, scopes: [api://todo/.default], access: [{scopes: [ToDoList.Read, ToDoList.ReadWrite]}]}
tokenCache: {redis: {url: %s, passwordFile: %s, timeout: 5s}}
`, w.idp.URL(), demoTenant, demoMiddleTier, w.api.URL, redis.URL(), password))
	p := startProcess(t, []string{
		"SSL_CERT_FILE=" + cas, "AzureAd__ClientCredentials__0__ClientSecret=" + testSecret,
		"TokenCache__Redis__EncryptionKeys__0=" + base64.StdEncoding.EncodeToString(make([]byte, 32)),
	}, "serve", "--config", path)
	p.await(t, "listening")
	for line := range strings.Lines(p.stdout.String()) {
		var fields struct{ Msg, Address string }
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		if fields.Msg == "listening" {
			w.url = "http://" + fields.Address
		}
	}
	eventually(t, func() bool { return w.call("GET", "/readyz", "", "").StatusCode == 200 }, func() string { return "not ready" })
	if r := w.call("GET", "/api/todo/items", w.alice(), ""); r.StatusCode != 200 {
		t.Fatalf("got %d %s, want 200", r.StatusCode, r.body)
	}
	eventually(t, func() bool { return entries(redis) == 1 }, func() string { return "nothing is written to Redis:\n" + p.stdout.String() })
}
