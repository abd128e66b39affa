package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"middletier/internal/mockidp"
	"middletier/internal/testkit/redistest"
)

// withRedis switches the shared tier on.
func withRedis(server *redistest.Server) func(*file) {
	return func(f *file) {
		f.TokenCache.Redis.URL = server.URL()
		f.TokenCache.Redis.EncryptionKeys = []string{base64.StdEncoding.EncodeToString(make([]byte, 32))}
	}
}

// patientWithRedis is for tests in which Redis is to be used however busy the
// machine is: what is slower than the timeout is done without.
func patientWithRedis(f *file) { f.TokenCache.Redis.Timeout = 5 * time.Second }

// entries are the keys of tokens.
func entries(server *redistest.Server) (n int) {
	for _, key := range server.Keys() {
		if !strings.HasSuffix(key, ":lock") && !strings.HasSuffix(key, ":probe") && !strings.HasSuffix(key, ":user") &&
			!strings.HasSuffix(key, ":generation") {
			n++
		}
	}
	return n
}

func TestTwoProgramsShareOneRedis(t *testing.T) { twoProgramsShareOneRedis(t, redistest.Start(t), 30) }

// twoProgramsShareOneRedis makes so many calls at once of two processes.
func twoProgramsShareOneRedis(t *testing.T, redis *redistest.Server, calls int) {
	w := newStoppedWorld(t)
	var programs [2]*process
	var urls [2]string
	for i := range programs {
		// The machine may be busy: what is slower than the timeout is done without.
		programs[i] = w.startProcess("127.0.0.1:0", nil, "url: '"+redis.URL()+"', timeout: 5s")
		urls[i] = w.url
	}
	w.idp.AddFault(mockidp.Fault{Flow: "on_behalf_of", Times: 1, Delay: 300 * time.Millisecond}) // so that all meet
	alice := w.alice()
	for _, r := range w.crowd(calls, alice, urls[:]...) {
		if r.StatusCode != 200 {
			t.Fatalf("got %d %s, want 200", r.StatusCode, r.body)
		}
	}
	if got := w.exchanges(); got != 1 {
		t.Errorf("got %d exchanges for %d calls of two programs, want 1", got, calls)
	}
	sources := map[any]int{}
	eventually(t, func() bool { // a log line may be written after the answer
		clear(sources)
		for _, p := range programs {
			for _, line := range p.stdout.lines(t) {
				sources[line["tokenSource"]]++
			}
		}
		return sources["redis"] > 0 && sources["identity_provider"] > 0
	}, func() string { return fmt.Sprintf("sources of tokens: got %v, want one program's from Redis", sources) })

	// Signing out at one of them reaches Redis, with all tokens: in a cluster no
	// two need be in one place.
	if r := w.call("GET", "/api/notes/items", alice, ""); r.StatusCode != 200 {
		t.Errorf("the other API: got %d %s, want 200", r.StatusCode, r.body)
	}
	eventually(t, func() bool { return entries(redis) == 2 }, func() string { return "the tokens are not in Redis" })
	if r := w.call("POST", "/signout", alice, ""); r.StatusCode != 204 {
		t.Errorf("sign-out: got %d", r.StatusCode)
	}
	if got := redis.Keys(); entries(redis) != 0 {
		t.Errorf("after the sign-out Redis holds %q", got)
	}
	// And the other program, whose memory has the token.
	before := w.exchanges()
	eventually(t, func() bool {
		for _, url := range urls {
			if url != w.url {
				w.crowd(1, alice, url)
			}
		}
		return w.exchanges() > before
	}, func() string { return "the other program goes on with the token" })
	for _, p := range programs {
		if log := p.stdout.String(); strings.Contains(log, "Redis fails") {
			t.Errorf("log: got %s, want no trouble with Redis", log)
		}
	}
}

// startProcess serves at address in a process of its own, which trusts the
// platform and ca and has the tokenCache.redis of redis, in YAML. It sets w.url
// and waits until it is ready.
func (w *world) startProcess(address string, ca []byte, redis string) *process {
	w.t.Helper()
	cas := filepath.Join(w.t.TempDir(), "ca.pem")
	if err := os.WriteFile(cas, slices.Concat(w.idp.CAPEM(), ca), 0o600); err != nil {
		w.t.Fatal(err)
	}
	path := writeConfig(w.t, fmt.Sprintf(`
server: {address: %[1]s, adminAddress: ""}
azureAd: {instance: %[2]s/, tenantId: %[3]s, clientId: %[4]s, clientCredentials: [{sourceType: ClientSecret}]}
downstreamApis:
  todo: {baseUrl: %[5]s, scopes: [api://todo/.default], access: [{scopes: [ToDoList.Read, ToDoList.ReadWrite]}]}
  notes: {baseUrl: %[5]s, scopes: [api://todo/ToDoList.Read], access: [{scopes: [ToDoList.Read, ToDoList.ReadWrite]}]}
tokenCache: {redis: {%[6]s}}
`, address, w.idp.URL(), demoTenant, demoMiddleTier, w.api.URL, redis))
	p := startProcess(w.t, []string{
		"SSL_CERT_FILE=" + cas, "AzureAd__ClientCredentials__0__ClientSecret=" + testSecret,
		"TokenCache__Redis__EncryptionKeys__0=" + base64.StdEncoding.EncodeToString(make([]byte, 32)),
	}, "serve", "--config", path)
	p.await(w.t, "listening")
	for line := range strings.Lines(p.stdout.String()) {
		var fields struct{ Msg, Address string }
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			w.t.Fatalf("log line %q: %v", line, err)
		}
		if fields.Msg == "listening" {
			w.url = "http://" + fields.Address
		}
	}
	eventually(w.t, func() bool { return w.call("GET", "/readyz", "", "").StatusCode == 200 }, func() string { return "not ready" })
	return p
}

// A Redis that is still loading its data at the start is used when it has finished.
func TestRedisIsLoading(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	redis.RestartLoading()
	w := newWorld(t, withRedis(redis), patientWithRedis)
	for range 5 {
		if r := w.call("GET", "/api/todo/items", w.alice(), ""); r.StatusCode != 200 {
			t.Errorf("got %d %s, want 200", r.StatusCode, r.body)
		}
	}
	if log := w.log.String(); !strings.Contains(log, "Redis fails") || !strings.Contains(log, "LOADING") {
		t.Errorf("log: got %s, want why Redis is not used", log)
	}
	redis.FinishLoading()
	w.awaitLine("Redis answers again", time.Time{})
	redis.Do("FLUSHALL")
	if r := w.call("GET", "/api/todo/items", w.alice(), ""); r.StatusCode != 200 {
		t.Errorf("got %d %s, want 200", r.StatusCode, r.body)
	}
	eventually(t, func() bool { return entries(redis) == 1 }, func() string { return "nothing is written to Redis" })
}

// Reading all of Redis reveals nothing about tokens or users.
func TestNothingReadableInRedis(t *testing.T) {
	redis := redistest.Start(t)
	w := newWorld(t, withRedis(redis), patientWithRedis)
	alice, bob, daemon := w.alice(), w.bob(), w.daemon()
	for path, tokens := range map[string][]string{"/api/todo/items": {alice, bob}, "/app/todo/items": {daemon}} {
		for _, token := range tokens {
			if r := w.call("GET", path, token, ""); r.StatusCode != 200 {
				t.Fatalf("got %d %s, want 200", r.StatusCode, r.body)
			}
		}
	}
	w.idp.AddFault(mockidp.Fault{
		Flow: "on_behalf_of", Error: "interaction_required",
		Claims: providerClaims, Description: "AADSTS50076: of a user.",
	})
	refused := w.alice()
	if r := w.call("GET", "/api/todo/items", refused, ""); r.StatusCode != 401 {
		t.Fatalf("got %d %s, want 401", r.StatusCode, r.body)
	}
	secrets := []string{
		testSecret, demoTenant, demoMiddleTier, demoToDo, "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002",
		"alice", "bob@contoso.example", "api://todo", "interaction_required", "AADSTS", "acrs",
	}
	tokens := []string{alice, bob, daemon, refused}
	for _, r := range w.api.seen() {
		tokens = append(tokens, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	}
	for _, token := range tokens {
		digest := sha256.Sum256([]byte(token))
		secrets = append(append(secrets, strings.Split(token, ".")...), string(digest[:]), hex.EncodeToString(digest[:]))
	}
	eventually(t, func() bool { return entries(redis) == 4 }, func() string { return "the entries are not in Redis" })
	for _, key := range redis.Keys() {
		text := key + "\n"
		if strings.HasSuffix(key, ":user") {
			text += fmt.Sprint(redis.Do("ZRANGE", key, 0, -1))
		} else {
			text += redis.Get(key)
		}
		for _, secret := range secrets {
			for _, spelling := range spellings(secret) {
				if strings.Contains(text, spelling) {
					t.Errorf("%q is readable as %q in %q", secret, spelling, text)
				}
			}
		}
	}
}

// spellings are a text itself and in both alphabets of base64, wherever in what
// is encoded it begins.
func spellings(text string) []string {
	all := []string{text}
	for skip := range 3 {
		bytes := append(make([]byte, skip), text...)
		first, end := (8*skip+5)/6, 8*len(bytes)/6 // the characters that depend on text alone
		for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			all = append(all, alphabet.EncodeToString(bytes)[first:end])
		}
	}
	return all
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

// Redis' certificate is checked against the CAs of the process.
func TestRedisOverTLS(t *testing.T) {
	redis, redisCA := redistest.StartTLS(t, "--requirepass", "pass")
	w := newStoppedWorld(t)
	ca, err := os.ReadFile(redisCA)
	if err != nil {
		t.Fatal(err)
	}
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("pass\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := w.startProcess("127.0.0.1:0", ca, fmt.Sprintf("url: %s, passwordFile: %s, timeout: 5s", redis.URL(), password))
	if r := w.call("GET", "/api/todo/items", w.alice(), ""); r.StatusCode != 200 {
		t.Fatalf("got %d %s, want 200", r.StatusCode, r.body)
	}
	eventually(t, func() bool { return entries(redis) == 1 }, func() string { return "nothing is written to Redis:\n" + p.stdout.String() })
}
