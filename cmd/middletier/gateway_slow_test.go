//go:build slow

package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"middletier/internal/mockidp"
	"middletier/internal/testkit/nginxtest"
	"middletier/internal/testkit/redistest"
)

// gatewayRate is how many requests a second go through the gateway.
const gatewayRate = 200

// The whole deployment in processes of their own: nginx with the configuration in
// the repository, two replicas, one Redis. Whichever of them stops, no request of a user
// with a cached token fails.
func TestSlowNoRequestOfAKnownUserFails(t *testing.T) {
	redis := redistest.Start(t)
	w := newStoppedWorld(t)
	var tokens []string
	for range 10 {
		tokens = append(tokens, w.alice(), w.bob())
	}
	ports := freePorts(t, 3)
	replicas := []*replica{{w: w, address: "127.0.0.1:" + ports[0], redis: redis}, {w: w, address: "127.0.0.1:" + ports[1], redis: redis}}
	for _, r := range replicas {
		r.start(tokens)
	}
	gateway := &world{t: t, url: startNginx(t, "127.0.0.1:"+ports[2], replicas)}
	var next atomic.Uint64
	traffic := gateway.startTrafficOf(gatewayRate, func() string { return tokens[next.Add(1)%uint64(len(tokens))] })
	began := time.Now()
	traffic.awaitAnswers(t, gatewayRate)

	for _, r := range replicas {
		r.stop()
		r.start(tokens)
		traffic.awaitAnswers(t, gatewayRate)
	}
	if got := w.exchanges(); got != len(tokens) {
		t.Errorf("%d exchanges for %d users: a new replica finds their tokens in Redis", got, len(tokens))
	}
	redis.Kill()
	traffic.awaitAnswers(t, gatewayRate)
	w.idp.Stop()
	for range 10 { // seconds
		traffic.awaitAnswers(t, gatewayRate)
	}
	if err := w.idp.Restart(); err != nil {
		t.Error(err)
	}
	traffic.stop()
	times := traffic.between(began, time.Now())
	t.Logf("%d requests in %s, p99 %s", len(times), time.Since(began), times[len(times)*99/100])
}

// The longest claims challenge passes through nginx as a response header.
func TestSlowLongChallengeGetsThroughNginx(t *testing.T) {
	w := newWorld(t)
	here := &replica{address: strings.TrimPrefix(w.url, "http://")}
	gateway := &world{t: t, url: startNginx(t, "127.0.0.1:"+freePorts(t, 1)[0], []*replica{here, here})}
	claims := fmt.Sprintf(`{"access_token":{"acrs":{"essential":true,"value":%q}}}`, strings.Repeat("c", 8000))
	w.idp.AddFault(mockidp.Fault{Flow: "on_behalf_of", Times: 1, Error: "interaction_required", Claims: claims})
	if r := gateway.call("GET", "/api/todo/items", w.alice(), ""); r.StatusCode != 401 || r.kind() != "claims-challenge" ||
		len(r.Header.Get("WWW-Authenticate")) < 10_000 {
		t.Errorf("got %d %s", r.StatusCode, r.body)
	}
}

// WebSockets get through nginx, and other requests share its connections.
func TestSlowWebSocketsGetThroughNginx(t *testing.T) {
	w, accepted := newSocketWorld(t)
	here := &replica{address: strings.TrimPrefix(w.url, "http://")}
	gateway := &world{t: t, url: startNginx(t, "127.0.0.1:"+freePorts(t, 1)[0], []*replica{here, here})}
	caller, api := gateway.open(w.alice(), accepted)
	wantSocket(caller, api)
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(http.StatusNoContent) })
	for range 3 {
		if r := gateway.call("GET", "/api/todo/items", w.alice(), ""); r.StatusCode != http.StatusNoContent {
			t.Errorf("a request beside it: got %d %s", r.StatusCode, r.body)
		}
	}
	wantSocket(caller, api)
}

// replica is one of the processes behind the gateway.
type replica struct {
	w       *world
	address string
	redis   *redistest.Server
	*process
}

// start starts it, and makes every user known to it, past the gateway.
func (r *replica) start(tokens []string) {
	r.w.t.Helper()
	r.process = r.w.startProcess(r.address, nil, fmt.Sprintf("url: %q, timeout: 5s", r.redis.URL()))
	for _, token := range tokens {
		if got := r.w.call("GET", "/api/todo/items", token, ""); got.StatusCode != 200 {
			r.w.t.Fatalf("got %d %s, want 200", got.StatusCode, got.body)
		}
	}
}

// stop ends it as an orchestrator does.
func (r *replica) stop() {
	r.w.t.Helper()
	if err := r.Process.Signal(syscall.SIGTERM); err != nil {
		r.w.t.Fatal(err)
	}
	if code := r.wait(r.w.t); code != 0 {
		r.w.t.Errorf("exit code %d:\n%s", code, r.stdout.String())
	}
}

// startNginx runs nginx with the configuration in the repository, at other
// addresses, and returns its URL.
func startNginx(t *testing.T, address string, replicas []*replica) string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/nginx/middletier.conf")
	if err != nil {
		t.Fatal(err)
	}
	site := strings.NewReplacer(
		"10.0.0.11:8080", replicas[0].address, "10.0.0.12:8080", replicas[1].address, "listen 80;", "listen "+address+";",
	).Replace(string(text))
	nginxtest.Start(t, address, site, nil)
	return "http://" + address
}
