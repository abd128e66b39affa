package downstream_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"middletier/internal/downstream"
)

// countingAPI is an API over TLS that counts its connections.
type countingAPI struct {
	*httptest.Server
	mu           sync.Mutex // guards what follows
	opened, open int
	most         int           // that were open at once
	closed       chan struct{} // gets one for each that has ended
}

// serveCounted starts a countingAPI, over HTTP/2 or HTTP/1.1.
func serveCounted(t *testing.T, overHTTP2 bool, handler http.HandlerFunc) *countingAPI {
	t.Helper()
	api := &countingAPI{Server: httptest.NewUnstartedServer(handler), closed: make(chan struct{}, 1000)}
	api.EnableHTTP2 = overHTTP2
	api.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		api.mu.Lock()
		defer api.mu.Unlock()
		switch state {
		case http.StateNew:
			api.opened++
			api.open++
			api.most = max(api.most, api.open)
		case http.StateClosed:
			api.open--
			api.closed <- struct{}{}
		}
	}
	api.StartTLS()
	t.Cleanup(api.Close)
	return api
}

// startCounted returns a kit in front of api, and its transport.
func startCounted(t *testing.T, api *countingAPI) (*kit, *downstream.Transport) {
	t.Helper()
	transport := downstream.NewTransport()
	transport.Proxy = nil
	transport.TLSClientConfig = &tls.Config{RootCAs: api.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	t.Cleanup(transport.CloseIdleConnections)
	return start(t, api.URL, func(c *downstream.Config) { c.Transport = transport }), transport
}

func sayProtocol(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }

// Connections that are not in use are closed, whatever is spoken on them.
func TestIdleConnectionsAreClosed(t *testing.T) {
	for protocol, overHTTP2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		t.Run(protocol, func(t *testing.T) {
			api := serveCounted(t, overHTTP2, sayProtocol)
			k, transport := startCounted(t, api)
			if got := k.do("GET", "/x", ""); got.status != 200 || got.body != protocol {
				t.Fatalf("got %d %s", got.status, got.body)
			}
			transport.CloseIdleConnections()
			wait(t, "the end of the connection", api.closed)
		})
	}
}
