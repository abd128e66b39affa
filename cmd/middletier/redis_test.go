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

func TestRedisKilledUnderLoad(t *testing.T) {
	redis := redistest.Start(t)
	w := newWorld(t, withRedis(redis))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				alice := w.alice() // a new one each time
				for range 3 {
					if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != 200 {
						t.Errorf("got %d %s, want 200", r.StatusCode, r.body)
					}
				}
			}
		})
	}
	logged := func(text string) func() bool { return func() bool { return strings.Contains(w.log.String(), text) } }
	problem := func() string { return "the log does not tell" }
	eventually(t, func() bool { return entries(redis) > 5 }, func() string { return "nothing is written to Redis" })
	redis.Kill()
	eventually(t, logged("Redis fails"), problem)
	redis.Restart()
	eventually(t, logged("Redis answers again"), problem)
	eventually(t, func() bool { return entries(redis) > 0 }, func() string { return "nothing is written to Redis again" })
	close(stop)
	wg.Wait()
	if got := strings.Count(w.log.String(), `"msg":"Redis `); got != 2 {
		t.Errorf("log: got %d lines of Redis, want one for each change", got)
	}
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
