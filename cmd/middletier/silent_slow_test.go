//go:build slow

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
)

// pipe passes connections on to a server. Told to, it goes on to read from those that
// it has, but passes nothing on, as a load balancer or NAT that has forgotten them.
type pipe struct {
	address string
	silent  atomic.Pointer[atomic.Bool] // of the connections from now on
}

func startPipe(t *testing.T, server string) *pipe {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
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

// Connections to the API and to the identity provider die without a word while tokens
// with a new signing key arrive: keys, exchange and API all depend on dead ones. They
// are replaced within 20 s.
func TestSlowSilentConnectionsAreReplaced(t *testing.T) {
	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }))
	api.Config.Protocols = &h2c
	api.Start()
	t.Cleanup(api.Close)
	toAPI := startPipe(t, api.Listener.Addr().String())

	w := newStoppedWorld(t, func(f *file) {
		d := f.DownstreamAPIs["todo"]
		d.BaseURL = "h2c://" + toAPI.address
		f.DownstreamAPIs["todo"] = d
	})
	toPlatform := startPipe(t, strings.TrimPrefix(w.idp.URL(), "https://"))
	w.way = newProviderTransport(64)
	w.way.TLSClientConfig = &tls.Config{RootCAs: w.idp.CertPool()}
	w.way.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, toPlatform.address)
	}
	w.startReady()
	if r := w.call("GET", "/api/todo/items", w.alice(), ""); r.StatusCode != 200 {
		t.Fatalf("before: got %d %s", r.StatusCode, r.body)
	}
	toAPI.silence()
	toPlatform.silence()
	w.idp.RotateKeys(true)
	begin := time.Now()
	for {
		r := w.call("GET", "/api/todo/items", w.bob(), "")
		took := time.Since(begin)
		t.Logf("after %.1f s: %d %s", took.Seconds(), r.StatusCode, r.kind())
		if r.StatusCode == 200 {
			if took > 20*time.Second {
				t.Errorf("served after %v, want 20 s", took)
			}
			return
		}
		if took > time.Minute {
			t.Fatal("never served")
		}
		time.Sleep(200 * time.Millisecond) // a client that tries again
	}
}
