package downstream_test

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

	"middletier/internal/downstream"
)

// countingAPI is an API over TLS that counts the connections that were opened.
type countingAPI struct {
	*httptest.Server
	opened atomic.Int64
	closed chan struct{} // receives a value for each that has ended
}

// serveCounted starts a countingAPI, over HTTP/2 or HTTP/1.1.
func serveCounted(t *testing.T, overHTTP2 bool, handler http.HandlerFunc) *countingAPI {
	t.Helper()
	api := &countingAPI{Server: httptest.NewUnstartedServer(handler), closed: make(chan struct{}, 1000)}
	api.EnableHTTP2 = overHTTP2
	api.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			api.opened.Add(1)
		case http.StateClosed:
			api.closed <- struct{}{}
		}
	}
	api.StartTLS()
	t.Cleanup(api.Close)
	return api
}

// startCounted returns an env in front of api, and its transport.
func startCounted(t *testing.T, api *countingAPI) (*env, *downstream.Transport) {
	t.Helper()
	transport := downstream.NewTransport()
	transport.Proxy = nil
	transport.TLSClientConfig = &tls.Config{RootCAs: api.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	t.Cleanup(transport.CloseIdleConnections)
	return start(t, api.URL, func(c *downstream.Config) { c.Transport = transport }), transport
}

func sayProtocol(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }

// Idle connections are closed, over HTTP/1.1 and HTTP/2.
func TestIdleConnectionsAreClosed(t *testing.T) {
	for protocol, overHTTP2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		t.Run(protocol, func(t *testing.T) {
			api := serveCounted(t, overHTTP2, sayProtocol)
			e, transport := startCounted(t, api)
			if got := e.do("GET", "/x", ""); got.status != 200 || got.body != protocol {
				t.Fatalf("got %d %s", got.status, got.body)
			}
			transport.CloseIdleConnections()
			wait(t, "the end of the connection", api.closed)
		})
	}
}

// Calls with large tokens share connections, and so do all calls over HTTP/1.1. The first
// ones do not, because the protocol and the API's limits are not known yet.
func TestUnusualHeadersShareConnections(t *testing.T) {
	const calls, few = 30, 3
	for _, row := range []struct {
		name      string
		overHTTP2 bool
		token     string
		header    []string
		want      int // connections at the most
	}{
		{"HTTP/1.1, a large token", false, strings.Repeat("t", 12<<10), nil, few},
		{"HTTP/1.1, beyond ASCII", false, "token", []string{"X-Name", "Jürgen"}, few},
		{"HTTP/1.1, a large field", false, "token", []string{"X-Large", strings.Repeat("x", 9<<10)}, few},
		{"HTTP/2, a large token", true, strings.Repeat("t", 12<<10), nil, few},
		{"HTTP/2, beyond ASCII", true, "token", []string{"X-Name", "Jürgen"}, calls},
	} {
		t.Run(row.name, func(t *testing.T) {
			api := serveCounted(t, row.overHTTP2, sayProtocol)
			e, _ := startCounted(t, api)
			e.token = func(context.Context, downstream.Rejection) (string, error) { return row.token, nil }
			for range calls {
				if got := e.do("GET", "/x", "", row.header...); got.status != 200 {
					t.Fatalf("got %d %s", got.status, got.body)
				}
			}
			if opened := int(api.opened.Load()); opened > row.want {
				t.Errorf("%d connections for %d calls, want %d at the most", opened, calls, row.want)
			}
		})
	}
}

// A risky request is sent on no shared HTTP/2 connection, even by a transport that has
// learned that the API uses HTTP/1.1, when the API has changed to HTTP/2.
func TestUnusualHeadersWhenHTTP2IsNew(t *testing.T) {
	type call struct{ protocol, address, name string }
	var seen []call
	api := serveCounted(t, true, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, call{r.Proto, r.RemoteAddr, r.Header.Get("X-Name")}) // one after the other
	})
	protocols := api.TLS.NextProtos
	var only1 atomic.Bool
	only1.Store(true)
	api.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		config := api.TLS.Clone()
		if config.NextProtos = protocols; only1.Load() {
			config.NextProtos = []string{"http/1.1"}
		}
		return config, nil
	}
	e, transport := startCounted(t, api)
	e.do("GET", "/x", "") // teaches HTTP/1.1
	only1.Store(false)
	transport.CloseIdleConnections()
	wait(t, "the end of the connection", api.closed)
	e.do("GET", "/x", "", "X-Name", "Jürgen")
	e.do("GET", "/x", "")
	e.do("GET", "/x", "", "X-Name", "Jürgen")
	e.do("GET", "/x", "")
	if len(seen) != 5 || seen[0].protocol != "HTTP/1.1" || seen[1].protocol != "HTTP/2.0" || seen[4].protocol != "HTTP/2.0" {
		t.Fatalf("the API got %v", seen)
	}
	for i, a := range seen {
		for j, b := range seen {
			if i != j && a.name != "" && a.address == b.address {
				t.Errorf("calls %d and %d share a connection: %v", i, j, seen)
			}
		}
	}
}

// The number of dedicated connections is bounded. Further risky requests wait.
func TestConnectionsOfUnusualHeadersAreBounded(t *testing.T) {
	const callers, bound = 60, 32
	arrived, release := make(chan struct{}, callers), make(chan struct{})
	var running, most atomic.Int64
	api := serveCounted(t, true, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Name") != "" {
			now := running.Add(1)
			defer running.Add(-1)
			for last := most.Load(); now > last && !most.CompareAndSwap(last, now); last = most.Load() {
			}
			arrived <- struct{}{}
			<-release
		}
	})
	e, _ := startCounted(t, api)
	if got := e.do("GET", "/x", ""); got.status != 200 {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			if got := e.do("GET", "/x", "", "X-Name", "Jürgen"); got.status != 200 {
				t.Errorf("got %d %s", got.status, got.body)
			}
		})
	}
	for range bound {
		wait(t, "a call", arrived)
	}
	if got := e.do("GET", "/x", ""); got.status != 200 {
		t.Errorf("meanwhile another call got %d %s", got.status, got.body)
	}
	close(release)
	group.Wait()
	if n := most.Load(); n > bound {
		t.Errorf("%d of them at once, want %d at the most", n, bound)
	}
}
