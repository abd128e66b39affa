// Package redistest runs a real redis-server for tests.
package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"middletier/internal/testkit/certtest"
	"middletier/internal/testkit/tooltest"
)

// readyTimeout is how long a server may take to start.
const readyTimeout = 15 * time.Second

// Server is a redis-server of one test. Its methods end the test when they fail.
type Server struct {
	t      testing.TB
	binary string
	dir    string
	first  []string // arguments that go before all others
	args   []string
	port   int
	tls    bool
	url    string        // where it is more than the address
	admin  *redis.Client // over the socket, as default user
	cmd    *exec.Cmd
	ended  chan struct{}
}

// Start starts a server with arguments as --requirepass, x beyond its own, until
// the test ends. Without redis-server the test is skipped, in CI it fails.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := prepare(t, args)
	s.run()
	return s
}

// StartTLS starts a server that speaks TLS, with a certificate that is its own
// CA, and returns the path of that.
func StartTLS(t testing.TB, args ...string) (s *Server, ca string) {
	t.Helper()
	s = prepare(t, args)
	s.tls = true
	certificate, key := filepath.Join(s.dir, "redis.crt"), filepath.Join(s.dir, "redis.key")
	s.writeCertificate(certificate, key)
	s.args = append(s.args, "--tls-cert-file", certificate, "--tls-key-file", key,
		"--tls-ca-cert-file", certificate, "--tls-auth-clients", "no")
	s.run()
	return s, certificate
}

// StartCluster starts a cluster of one server, which holds all slots.
func StartCluster(t testing.TB) *Server {
	t.Helper()
	s := Start(t, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(freePort(t)), "--cluster-announce-ip", "127.0.0.1")
	s.url = s.URL() + "?addr=" + s.Addr()
	s.Do("CLUSTER ADDSLOTSRANGE 0 16383")
	late := time.After(readyTimeout)
	for !strings.Contains(s.Do("CLUSTER INFO").(string), "cluster_state:ok") {
		select {
		case <-late:
			t.Fatal("the cluster does not get ready")
		case <-time.After(5 * time.Millisecond):
		}
	}
	return s
}

// StartSentinel starts a server, and a sentinel that knows it as main. URL leads
// to the sentinel.
func StartSentinel(t testing.TB) *Server {
	t.Helper()
	s := Start(t)
	sentinel := prepare(t, nil)
	config := filepath.Join(sentinel.dir, "sentinel.conf")
	if err := os.WriteFile(config, []byte("sentinel monitor main 127.0.0.1 "+strconv.Itoa(s.port)+" 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel.first = []string{config, "--sentinel"}
	sentinel.run()
	s.url = sentinel.URL() + "?master_name=main"
	return s
}

func prepare(t testing.TB, args []string) *Server {
	t.Helper()
	binary := tooltest.Find(t, "redis-server", "redis-server")
	dir, err := os.MkdirTemp("", "redis") // not t.TempDir: a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, binary: binary, dir: dir, args: args}
	options := &redis.Options{Addr: s.Socket(), DialerRetries: 1, MaxRetries: -1}
	if i := slices.Index(args, "--requirepass"); i >= 0 {
		options.Password = args[i+1]
	}
	redis.SetLogger(&logging.VoidLogger{}) // it would tell of every try until the server is there
	s.admin = redis.NewClient(options)
	t.Cleanup(func() {
		if s.cmd != nil {
			s.Kill()
		}
		_ = s.admin.Close()
		_ = os.RemoveAll(dir) // what is left is in the temporary directory
	})
	return s
}

// run starts the process. Another program may be faster to take a free port.
func (s *Server) run() {
	s.t.Helper()
	for range 5 {
		if s.port == 0 {
			s.port = freePort(s.t)
		}
		if s.try() {
			return
		}
		s.port = 0
	}
	s.t.Fatal("redis-server does not start")
}

func (s *Server) try() bool {
	s.t.Helper()
	port := []string{"--port", strconv.Itoa(s.port)}
	if s.tls {
		port = []string{"--port", "0", "--tls-port", strconv.Itoa(s.port)}
	}
	args := slices.Concat(s.first, port, []string{
		"--bind", "127.0.0.1", "--unixsocket", s.Socket(), "--dir", s.dir, "--save", "", "--loglevel", "warning",
	}, s.args)
	cmd, ended := exec.Command(s.binary, args...), make(chan struct{})
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // it is killed
		close(ended)
	}()
	s.cmd, s.ended = cmd, ended
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(readyTimeout)
	for {
		err := s.admin.Ping(context.Background()).Err()
		if err == nil || redis.HasErrorPrefix(err, "LOADING") {
			return true
		}
		select {
		case <-ended:
			s.cmd = nil
			return false
		case <-late:
			s.Kill()
			return false
		case <-tick.C:
		}
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// Socket is the path of the server's socket.
func (s *Server) Socket() string { return filepath.Join(s.dir, "redis.sock") }

// Addr is the server's address on loopback.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL is the server's URL without a user.
func (s *Server) URL() string {
	switch {
	case s.url != "":
		return s.url
	case s.tls:
		return "rediss://" + s.Addr()
	}
	return "redis://" + s.Addr()
}

// Kill ends the server at once. What it held is gone.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.ended
	s.cmd = nil
}

// Restart starts a killed server again, at the same address.
func (s *Server) Restart() {
	s.t.Helper()
	if !s.try() {
		s.t.Fatal("redis-server does not start again")
	}
}

// RestartLoading restarts the server with so much data that it answers LOADING
// for half a minute, or until FinishLoading.
func (s *Server) RestartLoading() {
	s.t.Helper()
	s.Do("CONFIG SET rdbcompression no")
	s.Do("EVAL", "for i = 1, 3000 do redis.call('set', 'filler' .. i, string.rep('x', 1024), 'EX', 3600) end", 0)
	s.Do("SAVE")
	s.Kill()
	args := s.args
	s.args = append(slices.Clip(args), "--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024")
	s.Restart()
	s.args = args
}

// FinishLoading lets a server that is loading be done with it.
func (s *Server) FinishLoading() {
	s.t.Helper()
	s.Do("CONFIG SET key-load-delay 0")
}

// Do runs a command as the default user.
func (s *Server) Do(command string, args ...any) any {
	s.t.Helper()
	words := []any{}
	for word := range strings.FieldsSeq(command) {
		words = append(words, word)
	}
	result, err := s.admin.Do(context.Background(), append(words, args...)...).Result()
	if err != nil && err != redis.Nil {
		s.t.Fatalf("%s: %v", command, err)
	}
	return result
}

// Keys returns the names of all keys.
func (s *Server) Keys() (keys []string) {
	s.t.Helper()
	for _, key := range s.Do("KEYS *").([]any) {
		keys = append(keys, fmt.Sprint(key))
	}
	slices.Sort(keys)
	return keys
}

// Get returns the value of a key that is a string.
func (s *Server) Get(key string) string {
	s.t.Helper()
	value, _ := s.Do("GET", key).(string)
	return value
}

func (s *Server) writeCertificate(certificate, keyFile string) {
	s.t.Helper()
	check := func(err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	template := certtest.Template("redis", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	template.IsCA, template.BasicConstraintsValid = true, true
	pair := certtest.Sign(template, certtest.NewEC(), nil)
	check(os.WriteFile(certificate, pair.CertificatePEM(), 0o600))
	check(os.WriteFile(keyFile, pair.KeyPEM(), 0o600))
}
