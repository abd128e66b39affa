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

// A handshake is one of HTTP/1.1 whatever its headers are, what comes with it is the beginning of
// the WebSocket, and the API's answer is that of any other: without what is for us alone, and
// beside what this service says.
func TestWebSocketBeginsWithItsHandshake(t *testing.T) {
	const question, answer = "\x81\x85\x00\x00\x00\x00hello", "\x81\x06answer"
	api := serveCounted(t, true, func(w http.ResponseWriter, r *http.Request) {
		conn, rest, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("Hijack of %s: %v", r.Proto, err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\n"+
			"Upgrade: WebSocket\r\nVary: Accept\r\n\r\n")
		got := make([]byte, len(question))
		if _, err := io.ReadFull(rest, got); err != nil || string(got) != question {
			t.Errorf("the API got %q %v, want %q", got, err, question)
		}
		_, _ = io.WriteString(conn, answer)
		_, _ = io.Copy(io.Discard, rest) // until the caller leaves
	})
	e, _ := startCounted(t, api)
	ended := make(chan int64, 1)
	shared := append(make([]string, 0, 2), "Origin") // with room for another one
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, err := downstream.ParsePath("/socket")
		if err != nil {
			t.Error(err)
		}
		w.Header()["Vary"] = shared
		socket := &downstream.WebSocket{Context: r.Context(), Accepted: func() {}}
		_ = e.client.Forward(w, r, downstream.Call{Path: path, Token: e.token, WebSocket: socket}) // the caller leaves
		ended <- socket.Sent
	}))
	defer front.Close()
	for _, line := range []string{"", "X-Name: J\u00fcrgen\r\n"} { // some servers end a connection of HTTP/2 for that
		conn, err := net.Dial("tcp", strings.TrimPrefix(front.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		const handshake = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
		if _, err := io.WriteString(conn, handshake+line+"\r\n"+question); err != nil {
			t.Fatal(err)
		}
		reader := bufio.NewReader(conn)
		resp, err := http.ReadResponse(reader, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("handshake with %q: got %v %v", line, resp, err)
		}
		h := resp.Header
		if h["X-Hop"] != nil || h["Keep-Alive"] != nil || strings.Join(h["Vary"], ", ") != "Origin, Accept" || shared[:2][1] != "" {
			t.Errorf("handshake with %q: got %v, want both names in Vary and no header of the API's connection", line, h)
		}
		got := make([]byte, len(answer))
		if _, err := io.ReadFull(reader, got); err != nil || string(got) != answer {
			t.Errorf("the caller got %q %v, want %q", got, err, answer)
		}
		_ = conn.Close() // the caller leaves
		if sent := <-ended; sent != int64(len(answer)) {
			t.Errorf("sent: got %d bytes, want %d", sent, len(answer))
		}
	}
}
