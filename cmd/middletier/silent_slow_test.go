//go:build slow && linux

package main

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pipe passes connections on to a server. Told to, it passes nothing on of those that
// it has, as a load balancer or NAT that has forgotten them. It goes on to acknowledge
// what it gets, as a proxy, or drops it.
type pipe struct {
	address string
	silent  atomic.Pointer[atomic.Bool] // of the connections from now on

	mu   sync.Mutex // guards near
	near []*net.TCPConn
}

func startPipe(t *testing.T, server string) *pipe {
	t.Helper()
	quiet := net.ListenConfig{KeepAlive: -1} // what is forgotten says nothing
	listener, err := quiet.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &pipe{address: listener.Addr().String()}
	p.silent.Store(&atomic.Bool{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", server)
			if err != nil {
				_ = near.Close()
				continue
			}
			p.mu.Lock()
			p.near = append(p.near, near.(*net.TCPConn))
			p.mu.Unlock()
			silent := p.silent.Load()
			end := func() { _, _ = near.Close(), far.Close() }
			context.AfterFunc(t.Context(), end)
			group.Go(func() { passOn(near, far, silent) })
			group.Go(func() { passOn(far, near, silent) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		group.Wait()
	})
	return p
}

// passOn copies until silent. The end of a connection is passed on as well.
func passOn(to, from net.Conn, silent *atomic.Bool) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if silent.Load() {
			n = 0
		}
		if _, failed := to.Write(buffer[:n]); failed != nil || err != nil {
			if !silent.Load() {
				_ = to.Close()
			}
			return
		}
	}
}

// silence forgets the connections of now.
func (p *pipe) silence() { p.silent.Swap(&atomic.Bool{}).Store(true) }

// drop forgets them, and lets the kernel drop all that comes on them: a filter that
// passes no packet (socket(7), SO_ATTACH_FILTER).
func (p *pipe) drop(t *testing.T) {
	t.Helper()
	p.silence()
	p.mu.Lock()
	defer p.mu.Unlock()
	none := unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}}
	for _, near := range p.near {
		raw, err := near.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		_ = raw.Control(func(fd uintptr) {
			// What is not acknowledged yet would be sent again, and look alive.
			for left := 1; left > 0 && err == nil; time.Sleep(time.Millisecond) {
				left, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
			}
			if err == nil {
				err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &none)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// startSpeaking starts an API that speaks what scheme and overHTTP2 say, and returns it.
func startSpeaking(t *testing.T, scheme string, overHTTP2 bool, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	api := httptest.NewUnstartedServer(handler)
	api.EnableHTTP2 = overHTTP2
	switch scheme {
	case "https":
		api.StartTLS()
	case "h2c":
		api.Config.Protocols = &http.Protocols{}
		api.Config.Protocols.SetUnencryptedHTTP2(true)
		api.Start()
	default:
		api.Start()
	}
	t.Cleanup(api.Close)
	return api
}

// Connections to the API and to the identity provider die silently while tokens with
// a new signing key arrive, so that fetching keys, exchanges and calls all use dead
// ones. They are replaced within 20 s.
func TestSlowSilentConnectionsAreReplaced(t *testing.T) {
	for _, row := range []struct {
		name, scheme string
		overHTTP2    bool
		acknowledges bool
	}{
		{"h2c, acknowledged", "h2c", true, true},
		{"h2c", "h2c", true, false},
		{"HTTP/1.1", "http", false, false},
		{"HTTP/1.1 over TLS", "https", false, false},
		{"HTTP/2 over TLS", "https", true, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			protocols := make(chan string, 1000)
			api := startSpeaking(t, row.scheme, row.overHTTP2, func(w http.ResponseWriter, r *http.Request) {
				protocols <- r.Proto
				_, _ = io.WriteString(w, "{}")
			})
			toAPI := startPipe(t, api.Listener.Addr().String())
			w := newStoppedWorld(t, func(f *file) {
				d := f.DownstreamAPIs["todo"]
				d.BaseURL = row.scheme + "://" + toAPI.address
				f.DownstreamAPIs["todo"] = d
			})
			toPlatform := startPipe(t, strings.TrimPrefix(w.idp.URL(), "https://"))
			w.way = newProviderTransport(64)
			w.way.TLSClientConfig = &tls.Config{RootCAs: w.idp.CertPool()}
			dial := w.way.DialContext
			w.way.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return dial(ctx, network, toPlatform.address)
			}
			w.startReady()
			if r := w.call("GET", "/api/todo/items", w.alice(), ""); r.StatusCode != 200 {
				t.Fatalf("before: got %d %s", r.StatusCode, r.body)
			}
			if got := <-protocols; strings.HasPrefix(got, "HTTP/2") != row.overHTTP2 {
				t.Fatalf("the API speaks %s", got)
			}
			if row.acknowledges {
				toAPI.silence()
				toPlatform.silence()
			} else {
				toAPI.drop(t)
				toPlatform.drop(t)
			}
			w.wantServedAgain(20 * time.Second)
		})
	}
}

// wantServedAgain calls the API, with a token of a new key, until it is served.
func (w *world) wantServedAgain(within time.Duration) {
	w.t.Helper()
	w.idp.RotateKeys(true)
	begin := time.Now()
	for {
		r := w.call("GET", "/api/todo/items", w.bob(), "")
		took := time.Since(begin)
		w.t.Logf("after %.1f s: %d %s", took.Seconds(), r.StatusCode, r.kind())
		if r.StatusCode == 200 {
			if took > within {
				w.t.Errorf("served after %v, want %v", took, within)
			}
			return
		}
		if took > time.Minute {
			w.t.Fatal("never served")
		}
		time.Sleep(200 * time.Millisecond) // a client that tries again
	}
}

// If an HTTP/1.1 connection dies silently while the provider works, its request is
// sent again on another one if it is safe. One that the API may have processed is
// not.
func TestSlowRequestOnADeadHTTP1Connection(t *testing.T) {
	for method, want := range map[string]int{"GET": 200, "POST": 502} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			api := startSpeaking(t, "http", false, func(http.ResponseWriter, *http.Request) {})
			toAPI := startPipe(t, api.Listener.Addr().String())
			w := newWorld(t, func(f *file) {
				d := f.DownstreamAPIs["todo"]
				d.BaseURL = "http://" + toAPI.address
				f.DownstreamAPIs["todo"] = d
			})
			alice := w.alice()
			if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != 200 {
				t.Fatalf("before: got %d %s", r.StatusCode, r.body)
			}
			toAPI.drop(t)
			begin := time.Now()
			r := w.call(method, "/api/todo/items", alice, "")
			t.Logf("%d %s after %v", r.StatusCode, r.kind(), time.Since(begin))
			if r.StatusCode != want {
				t.Errorf("got %d %s, want %d", r.StatusCode, r.body, want)
			}
		})
	}
}

// Over HTTP/1.1 a proxy that acknowledges and discards requests looks like a slow
// API. The first request ends with 504 at the API's timeout, and the next ones use
// no old connection.
func TestSlowAcknowledgedSilenceOverHTTP1(t *testing.T) {
	const callers = 5
	var arrived sync.WaitGroup
	arrived.Add(callers)
	var warm atomic.Bool
	api := startSpeaking(t, "http", false, func(http.ResponseWriter, *http.Request) {
		if !warm.Load() { // each has a connection
			arrived.Done()
			arrived.Wait()
		}
	})
	toAPI := startPipe(t, api.Listener.Addr().String())
	w := newWorld(t, func(f *file) {
		d := f.DownstreamAPIs["todo"]
		d.BaseURL, d.Timeout = "http://"+toAPI.address, 2*time.Second
		f.DownstreamAPIs["todo"] = d
	})
	alice := w.alice()
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != 200 {
				t.Errorf("before: got %d %s", r.StatusCode, r.body)
			}
		})
	}
	group.Wait()
	warm.Store(true)
	toAPI.silence()
	if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != 504 {
		t.Errorf("the first call: got %d %s, want 504", r.StatusCode, r.body)
	}
	for range 2 * callers {
		if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != 200 {
			t.Errorf("then: got %d %s", r.StatusCode, r.body)
		}
	}
}
