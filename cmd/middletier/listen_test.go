package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// A connection over the limit waits until another one ends. It is not refused, and
// the admin listener has no such limit.
func TestConnectionsBeyondTheLimitWait(t *testing.T) {
	w := newStoppedWorld(t)
	s := w.startService("middletier", "shutdownGrace: 0s, maxConnections: 2")
	noRedirects.CloseIdleConnections() // that it was started with
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() }) // where the test has not
		return conn
	}
	first, second := dial(), dial()
	for _, conn := range []net.Conn{first, second} {
		if err := callOnce(conn); err != nil {
			t.Fatal(err)
		}
	}
	third, answered := dial(), make(chan error, 1)
	go func() { answered <- callOnce(third) }()
	resp, err := http.Get(s.admin + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if err := callOnce(first); err != nil {
		t.Errorf("an open connection: %v", err)
	}
	select {
	case err := <-answered:
		t.Fatalf("the third connection is served beside two: %v", err)
	default:
	}
	_ = first.Close() // it has served
	if err := <-answered; err != nil {
		t.Errorf("the third connection, after the first: %v", err)
	}
}

// net/http's own limit is far above ours, so the answer is the service's.
func TestHeadersFarBeyondTheLimitGetAProblemDocument(t *testing.T) {
	w := newWorld(t)
	req, err := http.NewRequest("GET", w.url+"/api/todo/items", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Large", strings.Repeat("x", 900<<10))
	if r := w.do(req); r.StatusCode != 431 || r.kind() != "headers-too-large" {
		t.Errorf("got %d %s, want 431 headers-too-large", r.StatusCode, r.body)
	}
}

// callOnce makes one call and leaves the connection idle.
func callOnce(conn net.Conn) error {
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
