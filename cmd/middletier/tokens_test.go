package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"middletier/internal/mockidp"
	"middletier/internal/redistest"
)

// Claims that an API and the provider ask for. In base64 the first has letters
// that the two alphabets write differently.
const (
	apiClaims      = `{"access_token":{"acrs":{"essential":true,"value":"c1>>>???"}}}`
	providerClaims = `{"access_token":{"acrs":{"essential":true,"value":"c2"}}}`
)

// challengeFor is a WWW-Authenticate header of an API that asks for claims.
func challengeFor(claims string) string {
	return `Bearer realm="", authorization_uri="https://login.example/common/oauth2/authorize", error="insufficient_claims", claims="` +
		base64.StdEncoding.EncodeToString([]byte(claims)) + `"`
}

// challenges lets the API refuse the token of its next request, for as long as
// that one comes, with header values; or every token.
func (w *world) challenges(every bool, headers ...string) {
	refused := ""
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		token := r.Header.Get("Authorization")
		if refused == "" {
			refused = token
		}
		if every || token == refused {
			rw.Header()["Www-Authenticate"] = headers
			rw.WriteHeader(http.StatusUnauthorized)
		}
	})
}

// asked returns the claims of the last request to the token endpoint, without
// what we declare in each.
func (w *world) asked() (claims map[string]map[string]any) {
	w.t.Helper()
	for _, r := range w.idp.Requests() {
		if r.Flow != "on_behalf_of" && r.Flow != "client_credentials" {
			continue
		}
		claims = nil
		if err := json.Unmarshal([]byte(r.Form.Get("claims")), &claims); err != nil {
			w.t.Fatalf("claims of the exchange: %v in %s", err, r.Form.Get("claims"))
		}
	}
	if claims["access_token"]["xms_cc"] == nil {
		w.t.Errorf("claims of the exchange: got %v, want xms_cc in them", claims)
	}
	delete(claims["access_token"], "xms_cc")
	if len(claims["access_token"]) == 0 {
		delete(claims, "access_token")
	}
	return claims
}

func parsed(t *testing.T, claims string) (parsed map[string]map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(claims), &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}

// simple is alice's token without the declaration that her client answers claims
// challenges.
func (w *world) simple() string {
	claims := w.idp.UserClaims("alice", "app", "middletier", "ToDoList.ReadWrite")
	delete(claims, "xms_cc")
	return w.idp.Sign(claims)
}

// An API that wants more than our token says so; the exchange is repeated with
// its claims, and the call with the new token.
func TestClaimsChallengeOfAnAPIIsAnswered(t *testing.T) {
	encoded := base64.StdEncoding.EncodeToString([]byte(apiClaims))
	url := base64.URLEncoding.EncodeToString([]byte(apiClaims))
	bearer := `Bearer error="insufficient_claims", claims="`
	for name, headers := range map[string][]string{
		"as Microsoft writes it":  {challengeFor(apiClaims)},
		"URL alphabet":            {bearer + url + `"`},
		"without padding":         {bearer + strings.TrimRight(encoded, "=") + `"`},
		"URL, without padding":    {bearer + strings.TrimRight(url, "=") + `"`},
		"in other cases":          {strings.NewReplacer("Bearer", "bEARER", "error=", "ERROR=", "claims=", "Claims=").Replace(challengeFor(apiClaims))},
		"spaces":                  {`Bearer   error = "insufficient_claims" ,  claims = "` + encoded + `"`},
		"not quoted":              {`Bearer error=insufficient_claims, claims=` + url},
		"after another, one line": {`Basic realm="a, \"b\", Bearer claims=x", Negotiate abc==, ` + challengeFor(apiClaims)},
		"before another":          {challengeFor(apiClaims) + `, PoP realm="x", error="insufficient_claims", claims="eyJ4Ijp7fX0="`},
		"in the second header":    {`Basic realm="x"`, challengeFor(apiClaims)},
		"after an expired one":    {`Bearer error="invalid_token"`, challengeFor(apiClaims)},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.challenges(false, headers...)
			r := w.call("POST", "/api/todo/items", w.alice(), `{"title":"x"}`)
			if r.StatusCode != 200 || len(w.api.seen()) != 2 || w.exchanges() != 2 {
				t.Fatalf("got %d %s after %d calls and %d exchanges; want 200, 2, 2", r.StatusCode, r.body, len(w.api.seen()), w.exchanges())
			}
			if got := w.asked(); !reflect.DeepEqual(got, parsed(t, apiClaims)) {
				t.Errorf("claims of the exchange: got %v, want the API's", got)
			}
			if r := w.call("GET", "/api/todo/items", w.bob(), ""); r.StatusCode != 200 {
				t.Errorf("another user: got %d", r.StatusCode)
			}
		})
	}
}

// What cannot be understood asks for nothing: the token is replaced, and then
// the API has refused two.
func TestChallengesThatAskForNothing(t *testing.T) {
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	with := func(claims string) string { return `Bearer error="insufficient_claims", claims="` + claims + `"` }
	for name, header := range map[string]string{
		"none": "", "no claims": `Bearer error="insufficient_claims"`, "empty": with(""), "not base64": with("%%%"), "spaces": with("e y J"),
		"not JSON": with(encode("hello")), "an array": with(encode("[]")), "an empty object": with(encode("{}")), "null": with(encode("null")),
		"numbers": with(encode(`{"access_token":1}`)), "a null member": with(encode(`{"access_token":null}`)), "two documents": with(encode(`{"a":{}}{"b":{}}`)),
		"not UTF-8": with(encode("{\"a\":{\"\xff\":1}}")), "what the client can do": with(encode(`{"access_token":{"xms_cc":{"values":["cp9"]}}}`)),
		"200 KiB": with(encode(`{"access_token":{"x":"` + strings.Repeat("x", 150<<10) + `"}}`)), "deep": with(encode(strings.Repeat(`{"a":`, 9000))),
		"another error": `Bearer error="invalid_token", claims="` + encode(apiClaims) + `"`, "another scheme": `PoP error="insufficient_claims", claims="` + encode(apiClaims) + `"`,
		"unclosed quote": `Bearer error="insufficient_claims", claims="` + encode(apiClaims), "unclosed before": `Bearer realm="x, error="insufficient_claims", claims="` + encode(apiClaims),
		"parameters of nothing": `error="insufficient_claims", claims="` + encode(apiClaims) + `"`, "commas": strings.Repeat(",", 1000), "backslash at the end": `Bearer claims="\`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.challenges(true, header)
			r := w.call("GET", "/api/todo/items", w.alice(), "")
			if r.StatusCode != 502 || r.kind() != "downstream-rejected-token" || w.exchanges() != 2 {
				t.Errorf("got %d %s after %d exchanges, want 502 downstream-rejected-token after 2", r.StatusCode, r.body, w.exchanges())
			}
			if got := w.asked(); len(got) != 0 {
				t.Errorf("claims of the exchange: got %v, want none", got)
			}
		})
	}
}

// wantChallenge checks that an answer passes claims on to the caller.
func wantChallenge(t *testing.T, r *reply, claims string) {
	t.Helper()
	if want := `claims="` + base64.StdEncoding.EncodeToString([]byte(claims)) + `"`; r.StatusCode != 401 || r.kind() != "claims-challenge" || !strings.HasSuffix(r.Header.Get("WWW-Authenticate"), want) {
		t.Errorf("got %d %s, %s; want 401 claims-challenge, %s", r.StatusCode, r.kind(), r.Header.Get("WWW-Authenticate"), want)
	}
}

func TestRefusedClaimsGoUpToTheCaller(t *testing.T) {
	for _, row := range []struct {
		name, provider, want string
	}{{"the provider's are newer", providerClaims, providerClaims}, {"the provider has none", "", apiClaims}} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			alice, simple := w.alice(), w.simple()
			for _, token := range []string{alice, simple} {
				if r := w.call("GET", "/api/todo/items", token, ""); r.StatusCode != 200 {
					t.Fatalf("got %d %s, want 200", r.StatusCode, r.body)
				}
			}
			w.challenges(true, challengeFor(apiClaims))
			w.idp.AddFault(mockidp.Fault{Flow: "on_behalf_of", Error: "interaction_required", Claims: row.provider})
			for range 3 { // a client in a loop
				wantChallenge(t, w.call("GET", "/api/todo/items", alice, ""), row.want)
				if r := w.call("GET", "/api/todo/items", simple, ""); r.StatusCode != 401 || r.kind() != "interaction-required" || r.Header.Get("WWW-Authenticate") != `Bearer error="interaction_required"` {
					t.Errorf("without cp1: got %d %s, %s; want 401 interaction-required", r.StatusCode, r.kind(), r.Header.Get("WWW-Authenticate"))
				}
			}
			if got := w.exchanges(); got != 4 {
				t.Errorf("got %d exchanges, want 2 of each token", got)
			}
		})
	}
}

// The provider gave a token for the claims, and the API still asks.
func TestSecondChallengeGoesUpToTheCaller(t *testing.T) {
	w := newWorld(t)
	calls := 0
	w.api.handle(func(rw http.ResponseWriter, _ *http.Request) {
		calls++
		rw.Header().Set("WWW-Authenticate", challengeFor(fmt.Sprintf(`{"access_token":{"acrs":{"value":"c%d"}}}`, calls)))
		rw.WriteHeader(http.StatusUnauthorized)
	})
	wantChallenge(t, w.call("GET", "/api/todo/items", w.alice(), ""), `{"access_token":{"acrs":{"value":"c2"}}}`)
	if calls != 2 || w.exchanges() != 2 {
		t.Errorf("%d calls and %d exchanges, want 2 and 2", calls, w.exchanges())
	}
	if r := w.call("GET", "/api/todo/items", w.simple(), ""); r.StatusCode != 502 || r.kind() != "downstream-rejected-token" {
		t.Errorf("without cp1: got %d %s, want 502 downstream-rejected-token", r.StatusCode, r.kind())
	}
}

func TestSignout(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.alice(), w.bob()
	call := func(token string, exchanges int) {
		t.Helper()
		if r := w.call("GET", "/api/todo/items", token, ""); r.StatusCode != 200 || w.exchanges() != exchanges {
			t.Errorf("got %d after %d exchanges, want 200 after %d", r.StatusCode, w.exchanges(), exchanges)
		}
	}
	call(alice, 1)
	call(bob, 2)
	for range 2 { // once more is as good
		if r := w.call("POST", "/signout", alice, ""); r.StatusCode != 204 || r.body != "" {
			t.Errorf("got %d %q, want 204 and nothing", r.StatusCode, r.body)
		}
	}
	call(bob, 2)
	call(alice, 3)
	call(alice, 3)
	for _, row := range []struct {
		method, token string
		status        int
		kind          string
	}{
		{"POST", "", 401, "missing-token"},
		{"POST", "x", 401, "invalid-token"},
		{"POST", w.daemon(), 403, "wrong-token-type"},
		{"GET", alice, 405, "method-not-allowed"},
	} {
		if r := w.call(row.method, "/signout", row.token, ""); r.StatusCode != row.status || r.kind() != row.kind {
			t.Errorf("%s: got %d %s, want %d %s", row.method, r.StatusCode, r.kind(), row.status, row.kind)
		} else if row.status == 405 && r.Header.Get("Allow") != "OPTIONS, POST" {
			t.Errorf("Allow: got %q, want OPTIONS, POST", r.Header.Get("Allow"))
		}
	}
	call(alice, 3)
}

func TestClientInALoopDoesNotHammerTheProvider(t *testing.T) {
	w := newWorld(t)
	w.idp.AddFault(mockidp.Fault{Flow: "on_behalf_of", Error: "interaction_required", ErrorCodes: []int{50076}, Claims: providerClaims})
	alice := w.alice()
	for range 20 {
		r := w.call("GET", "/api/todo/items", alice, "")
		wantChallenge(t, r, providerClaims)
		if r.problem.Error != "interaction_required" || r.problem.CorrelationID == "" {
			t.Errorf("problem: got %s", r.body)
		}
	}
	if got := w.exchanges(); got != 1 {
		t.Errorf("got %d exchanges for 20 calls, want 1", got)
	}
}

func TestThrottledUserIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.idp.AddFault(mockidp.Fault{Flow: "on_behalf_of", Times: 1, Status: 429, Header: map[string]string{"Retry-After": "1000"}})
	for _, token := range []string{w.alice(), w.simple(), w.alice()} { // all are Alice's
		r := w.call("GET", "/api/todo/items", token, "")
		if left, err := strconv.Atoi(r.Header.Get("Retry-After")); r.StatusCode != 503 || r.kind() != "identity-provider-unavailable" || err != nil || left > 1000 || left < 900 {
			t.Errorf("got %d %s, Retry-After %s; want 503, what is left of 1000", r.StatusCode, r.kind(), r.Header.Get("Retry-After"))
		}
	}
	if got := w.exchanges(); got != 1 {
		t.Errorf("got %d exchanges, want 1", got)
	}
	if r := w.call("GET", "/api/todo/items", w.bob(), ""); r.StatusCode != 200 {
		t.Errorf("another user: got %d %s, want 200", r.StatusCode, r.body)
	}
}

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
