package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"middletier/internal/mockidp"
)

const (
	benchUsers       = 1000
	benchConnections = 16

	// benchRounds is how often the servers take turns, so that what else the
	// machine does meets them all alike.
	benchRounds = 20

	// benchWarmUp is how many requests a server gets at least before it is measured.
	benchWarmUp = 10_000

	// benchAnswer bounds one answer: without it, a server that hangs would hang
	// the benchmark.
	benchAnswer = 30 * time.Second

	// benchStart bounds a server's start. One that gets a million tokens first needs most of it.
	benchStart = 3 * time.Minute
)

// BenchmarkHotPath sends what a busy service gets most: GET requests of users
// whose tokens, and whose tokens for the API, it has seen before. Our service
// and its peers are processes of their own; platform, API and load are in this
// one. See docs/performance.md.
func BenchmarkHotPath(b *testing.B) {
	b.Run("users=1000", func(b *testing.B) { benchmarkHotPath(b, benchUsers, "proxy", "pooled", "middletier", "obvious") })
	// Without what keeps 12 KB for every user for ever.
	b.Run("users=100000", func(b *testing.B) { benchmarkHotPath(b, 100*benchUsers, "proxy", "pooled", "middletier") })
	// What being watched costs: without a log, and with 1% traced as well.
	b.Run("watched", func(b *testing.B) {
		benchmarkHotPath(b, benchUsers, "proxy", "pooled", "quiet", "middletier", "traced")
	})
}

func benchmarkHotPath(b *testing.B, users int, names ...string) {
	platform, secret := startBenchPlatform(b)
	api := httptest.NewServer(http.HandlerFunc(answerBench))
	b.Cleanup(api.Close)
	requests := benchRequests(platform, users)
	fixed := platform.UserToken(benchUser(0), "middletier", "todo") // as large as those that the others send
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	b.Cleanup(collector.Close)
	admin := "127.0.0.1:" + freePorts(b, 1)[0]
	serve := func(admin, more string) []string {
		return []string{"serve", "--config", benchConfig(b, platform.URL(), secret, api.URL, admin, more)}
	}
	args := map[string][]string{
		"proxy":      {api.URL, fixed},
		"pooled":     {api.URL, fixed},
		"middletier": serve("", ""),
		"quiet":      serve(admin, ""),
		"traced":     serve("", "telemetry: {traceSampleRatio: 0.01, otlpEndpoint: \""+collector.URL+"\"}"),
		"obvious":    {platform.URL() + "/" + demoTenant, demoMiddleTier, secret, api.URL + "/api/todo"},
	}
	if users > benchUsers {
		grantOneToken(platform)
	}
	var servers []*benchServer
	for _, name := range names {
		s := startBenchServer(b, platform.CAPEM(), name, args[name]...)
		s.connect(b, requests)
		s.warmUp(b, max(benchWarmUp, users))
		if name == "quiet" { // only now: it has printed where it listens
			silence(b, admin)
		}
		servers = append(servers, s)
	}
	exchanges := platform.Count("on_behalf_of")
	if want := (len(servers) - 2) * users; exchanges != want { // all but the proxies make one for each
		b.Fatalf("%d exchanges of %d users, want %d", exchanges, users, want)
	}
	takeTurns(b, platform, "server", servers, besideProxies)
}

// besideProxies are the floors of servers that forward.
func besideProxies(string) map[string]string {
	return map[string]string{"x-proxy": "proxy", "x-pooled": "pooled"}
}

// takeTurnsWithPooled measures the servers of startWithPooled in turn.
func takeTurnsWithPooled(b *testing.B, platform *mockidp.Server, ca []byte, args map[string][]string, makeReady func(*benchServer)) {
	takeTurns(b, platform, "server", startWithPooled(b, ca, args, makeReady), besideProxies)
}

// startWithPooled starts the proxy with a BufferPool and the service, in this order, each with its
// arguments, and makes them ready. They trust ca.
func startWithPooled(b *testing.B, ca []byte, args map[string][]string, makeReady func(*benchServer)) []*benchServer {
	var servers []*benchServer
	for _, name := range []string{"pooled", "middletier"} {
		s := startBenchServer(b, ca, name, args[name]...)
		makeReady(s)
		servers = append(servers, s)
	}
	return servers
}

// takeTurns measures the servers in turn, in rows that label names. floors tells, by unit, the
// servers whose CPU a server's is divided by, in the same round. There must be no exchange.
func takeTurns(b *testing.B, platform *mockidp.Server, label string, servers []*benchServer, floors func(name string) map[string]string) {
	exchanges := platform.Count("on_behalf_of")
	for round := range benchRounds {
		cpu := map[string]float64{}
		for _, s := range servers {
			ok := b.Run(fmt.Sprintf("%s=%s/round=%d", label, s.name, round), func(b *testing.B) {
				cpu[s.name] = s.measure(b)
				for unit, floor := range floors(s.name) {
					if cpu[floor] > 0 { // it came before, and -bench did not leave it out
						b.ReportMetric(cpu[s.name]/cpu[floor], unit)
					}
				}
			})
			if !ok {
				return
			}
		}
	}
	if after := platform.Count("on_behalf_of"); after != exchanges {
		b.Fatalf("%d exchanges while measuring, want none", after-exchanges)
	}
}

// startBenchPlatform starts an identity platform that knows benchUsers users.
func startBenchPlatform(b *testing.B) (platform *mockidp.Server, secret string) {
	secret = "a secret of the benchmark's own"
	directory := demoDirectory(secret)
	for i := range benchUsers {
		directory.Users = append(directory.Users, mockidp.User{
			Name: benchUser(i), ObjectID: fmt.Sprintf("bbbbbbbb-0000-4000-9000-%012d", i),
			TenantID: demoTenant, Username: benchUser(i) + "@contoso.example",
		})
	}
	platform, err := mockidp.New(directory)
	if err != nil {
		b.Fatal(err)
	}
	if err := platform.Start("127.0.0.1:0"); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(platform.Close)
	return platform, secret
}

func benchUser(i int) string { return fmt.Sprintf("user%04d", i) }

// benchToken returns a token of the usual size, which a few groups give it. The
// users that the platform knows come round under other object ids.
func benchToken(platform *mockidp.Server, user int) string {
	claims := platform.UserClaims(benchUser(user%benchUsers), "app", "middletier", "ToDoList.Read")
	claims["oid"] = fmt.Sprintf("bbbbbbbb-0000-4000-9000-%012d", user)
	groups := make([]string, 5)
	for i := range groups {
		groups[i] = fmt.Sprintf("99999999-0000-4000-%04d-%012d", 8000+i, user)
	}
	claims["groups"] = groups
	return platform.Sign(claims)
}

// benchRequests returns the request of every user, as it is sent.
func benchRequests(platform *mockidp.Server, users int) [][]byte {
	requests := make([][]byte, users)
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range requests {
		group.Go(func() error {
			requests[i] = fmt.Appendf(nil, "GET /api/todo/items HTTP/1.1\r\nHost: api.contoso.example\r\n"+
				"User-Agent: benchmark\r\nAccept: application/json\r\nAccept-Encoding: gzip\r\nAuthorization: Bearer %s\r\n\r\n", benchToken(platform, i))
			return nil
		})
	}
	_ = group.Wait() // none of them fails
	return requests
}

// silence has a service log errors only.
func silence(b *testing.B, admin string) {
	req, err := http.NewRequest(http.MethodPut, "http://"+admin+"/loglevel", strings.NewReader(`{"level":"error"}`))
	if err != nil {
		b.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b.Fatalf("PUT /loglevel: got %s", resp.Status)
	}
}

// benchConfig writes a config.yaml that says what it must; the rest are the
// defaults.
func benchConfig(b *testing.B, instance, secret, api, admin, more string) string {
	return benchFile(b, "config.yaml", fmt.Sprintf(`
server: {address: "127.0.0.1:0", adminAddress: %q}
azureAd:
  instance: %s/
  tenantId: %s
  clientId: %s
  clientCredentials: [{sourceType: ClientSecret, clientSecret: %q}]
downstreamApis:
  todo:
    baseUrl: %s/api/todo
    scopes: ["api://todo/.default"]
    access: [{methods: [GET, HEAD, POST], scopes: [ToDoList.Read, ToDoList.ReadWrite]}]
%s
`, admin, instance, demoTenant, demoMiddleTier, secret, api, more))
}

// benchFile writes a file, and returns where it is.
func benchFile(b *testing.B, name, text string) string {
	path := filepath.Join(b.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// benchItems is the API's answer, about 1 KB of JSON.
var benchItems = func() []byte {
	type item struct {
		ID    int    `json:"id"`
		Title string `json:"title"`
		Owner string `json:"owner"`
	}
	list := make([]item, 10)
	for i := range list {
		list[i] = item{i, "write a benchmark that is fair", fmt.Sprintf("bbbbbbbb-0000-4000-9000-%012d", i)}
	}
	text, err := json.Marshal(list)
	if err != nil {
		panic(err)
	}
	return text
}()

func answerBench(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/api/todo/items" || !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ey") {
		http.Error(w, "not what the benchmark asks for", http.StatusTeapot)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(benchItems) // the load sees what is missing
}

// benchServer is one of the servers: a process, and the connections to it.
type benchServer struct {
	name     string
	address  string
	pid      int
	ask      io.Writer             // a line on it …
	answers  *json.Decoder         // … is answered with its resources
	accepts  func(size int64) bool // of an answer's body
	requests [][]byte              // one a user, as sent
	next     atomic.Uint64         // request
	rate     float64               // of requests that are measured, a second; 0: each after the last one's answer
	conns    []benchConn
}

// benchConn sends the request of a user, and reads its answer, which must be an expected one.
type benchConn interface{ get(user int) error }

// startBenchServer starts this binary again in a role of roles, prefixed with
// "bench-", and waits until it listens. It trusts the certificates of ca, in PEM.
func startBenchServer(b *testing.B, ca []byte, role string, args ...string) *benchServer {
	binary, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	answers, theirs, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = answers.Close() })
	cmd := benchCommand(b, ca, binary, args...)
	cmd.Env = append(cmd.Env, roleVariable+"=bench-"+role)
	cmd.ExtraFiles = []*os.File{theirs}
	ask, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	s := startListening(b, role, cmd)
	s.ask, s.answers = ask, json.NewDecoder(answers)
	if err := theirs.Close(); err != nil {
		b.Fatal(err)
	}
	return s
}

// benchCommand is a command that ends with the benchmark. Nothing else is in its environment
// than the certificates that it trusts: every variable could be a setting.
func benchCommand(b *testing.B, ca []byte, binary string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(b.Context(), binary, args...) // killed at the end
	cmd.Env = []string{"SSL_CERT_FILE=" + benchFile(b, "ca.pem", string(ca))}
	cmd.Stderr = os.Stderr
	return cmd
}

// startListening starts a server and waits until it listens.
func startListening(b *testing.B, name string, cmd *exec.Cmd) *benchServer {
	stdout, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Wait() }) // it was killed
	address := make(chan string, 1)
	go followLog(stdout, address)
	s := &benchServer{name: name, pid: cmd.Process.Pid, accepts: isBenchItems}
	select {
	case s.address = <-address:
	case <-time.After(benchStart):
	}
	if s.address == "" {
		b.Fatalf("%s does not listen", name)
	}
	return s
}

// followLog reads a server's log to its end, so that the server can go on
// writing, and tells the address that it listens on.
func followLog(log io.Reader, address chan<- string) {
	defer close(address)
	lines := bufio.NewReader(log)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var event struct{ Msg, Address string }
		if json.Unmarshal(line, &event) == nil && event.Msg == "listening" {
			address <- event.Address
			break
		}
	}
	_, _ = io.Copy(io.Discard, lines) // until the server ends
}

// connect opens the connections that all requests go over.
func (s *benchServer) connect(b *testing.B, requests [][]byte) {
	s.requests = requests
	for range benchConnections {
		conn, err := net.Dial("tcp", s.address)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		s.conns = append(s.conns, http1Conn{conn, bufio.NewReader(conn), s})
	}
}

// warmUp sends n requests, the users in turn, until heap and connections are what they
// will be. The first request of a user makes the exchange.
func (s *benchServer) warmUp(b *testing.B, n int) {
	ready := func() bool { return s.conns[0].get(0) == nil }
	for end := time.Now().Add(10 * time.Second); !ready(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("%s does not get ready", s.name)
		}
	}
	s.load(b, n)
}

// nextUser returns whose turn it is.
func (s *benchServer) nextUser() int { return int(s.next.Add(1) % uint64(len(s.requests))) }

// load sends n requests, one at a time on each connection, the users in turn.
// It returns how long each took, shortest first.
func (s *benchServer) load(b *testing.B, n int) []time.Duration {
	b.Helper()
	return s.send(b, n, func(int) time.Time { return time.Now() })
}

// send sends n requests, one at a time on each connection, the users in turn. begin waits until
// request i may be sent, and returns from when on it counts. It returns how long each took,
// shortest first.
func (s *benchServer) send(b *testing.B, n int, begin func(i int) time.Time) []time.Duration {
	b.Helper()
	latencies := make([]time.Duration, n)
	var taken atomic.Int64
	group, ctx := errgroup.WithContext(context.Background())
	for _, conn := range s.conns {
		group.Go(func() error {
			for ctx.Err() == nil {
				i := int(taken.Add(1)) - 1
				if i >= n {
					return nil
				}
				start := begin(i)
				if err := conn.get(s.nextUser()); err != nil {
					return err
				}
				latencies[i] = time.Since(start)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatalf("%s: %v", s.name, err)
	}
	slices.Sort(latencies)
	return latencies
}

// isBenchItems reports whether an answer may be the API's.
func isBenchItems(size int64) bool { return size == int64(len(benchItems)) }

// http1Conn is a connection of HTTP/1.1.
type http1Conn struct {
	net.Conn
	in     *bufio.Reader
	server *benchServer
}

func (c http1Conn) get(user int) error {
	if err := c.SetDeadline(time.Now().Add(benchAnswer)); err != nil {
		return err
	}
	if _, err := c.Write(c.server.requests[user]); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	return c.server.check(resp)
}

// check reads an answer to its end.
func (s *benchServer) check(resp *http.Response) error {
	size, err := io.Copy(io.Discard, resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || !s.accepts(size) {
		return fmt.Errorf("answered %s with %d bytes, want 200 with what was asked for", resp.Status, size)
	}
	return nil
}

// measure reports what b.N requests cost the server, and returns its CPU time
// for each in nanoseconds.
func (s *benchServer) measure(b *testing.B) (cpu float64) {
	before := s.used(b)
	b.ResetTimer()
	latencies := s.sendMeasured(b)
	b.StopTimer()
	after := s.used(b)

	n := float64(b.N)
	cpu = float64(after.CPU-before.CPU) / n
	b.ReportMetric(cpu, "cpu-ns/op")
	if resident, _, err := processMemory(s.pid); err == nil { // on Linux
		b.ReportMetric(float64(resident)/megabyte, "resident-MB")
	}
	b.ReportMetric(float64(latencies[b.N/2]), "p50-ns")
	b.ReportMetric(float64(latencies[b.N*99/100]), "p99-ns")
	b.ReportAllocs() // the server's, in place of this process's own:
	b.ReportMetric(float64(after.Allocs-before.Allocs)/n, "allocs/op")
	b.ReportMetric(float64(after.Bytes-before.Bytes)/n, "B/op")
	return cpu
}

// sendMeasured sends b.N requests, at s.rate if there is one, which the machine must be able to reach.
func (s *benchServer) sendMeasured(b *testing.B) []time.Duration {
	if s.rate == 0 {
		return s.load(b, b.N)
	}
	start := time.Now()
	latencies := s.steady(b, s.rate, b.N)
	// A tenth of a second more, because the testing package sends a single request first.
	if took, due := time.Since(start).Seconds(), float64(b.N)/s.rate; took > 1.1*due+0.1 {
		b.Fatalf("%s: %d requests took %.2f s, want %.2f s: the machine is too slow for this rate", s.name, b.N, took, due)
	}
	return latencies
}

// resources are what a process has used since it began.
type resources struct {
	CPU           time.Duration // user and system
	Allocs, Bytes uint64
}

func (s *benchServer) used(b *testing.B) (u resources) {
	b.Helper()
	_, err := s.ask.Write([]byte("\n"))
	if err := errors.Join(err, s.answers.Decode(&u)); err != nil {
		b.Fatalf("%s: %v", s.name, err)
	}
	return u
}

// counted makes a role tell, for every line on its standard input, what its
// process has used, on its first extra file. It ends with its standard input, so
// that it never outlives the benchmark.
func counted(role func() int) func() int {
	return func() int {
		go func() {
			answers := json.NewEncoder(os.NewFile(3, "answers"))
			for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
				if err := answers.Encode(ownResources()); err != nil {
					break
				}
			}
			os.Exit(exitError)
		}()
		return role()
	}
}

func ownResources() resources {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return resources{cpuTime(), memory.Mallocs, memory.TotalAlloc}
}
