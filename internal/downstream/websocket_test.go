package downstream_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"middletier/internal/downstream"
)

// A WebSocket begins with HTTP/1.1, also at an API whose other requests share a connection of
// HTTP/2.
func TestWebSocketOverTLS(t *testing.T) {
	const frame = "\x81\x05hello"
	protocols := make(chan string, 2)
	api := serveCounted(t, true, func(w http.ResponseWriter, r *http.Request) {
		protocols <- r.Proto
		if r.Header.Get("Upgrade") == "" {
			return
		}
		conn, rest, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("Hijack: %v", err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"+frame)
		_, _ = io.Copy(io.Discard, rest) // until the caller leaves
	})
	e, _ := startCounted(t, api)
	e.do("GET", "/x", "")
	if got := <-protocols; got != "HTTP/2.0" {
		t.Fatalf("an ordinary request came over %s", got)
	}
	ended := make(chan error, 1)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, err := downstream.ParsePath("/socket")
		if err != nil {
			t.Error(err)
		}
		ended <- e.client.Forward(w, r, downstream.Call{
			Path: path, Token: e.token, WebSocket: &downstream.WebSocket{Context: r.Context(), Accepted: func() {}},
		})
	}))
	defer front.Close()
	conn, err := net.Dial("tcp", strings.TrimPrefix(front.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: got %v %v", resp, err)
	}
	got := make([]byte, len(frame))
	if _, err := io.ReadFull(reader, got); err != nil || string(got) != frame || <-protocols != "HTTP/1.1" {
		t.Errorf("got %q %v, want the frame, over HTTP/1.1", got, err)
	}
	_ = conn.Close() // the caller leaves
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "the caller's connection") {
		t.Errorf("Forward: got %v, want that the caller left", err)
	}
}
