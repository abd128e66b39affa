package downstream

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// What a server sent before it closed a connection is read although writes fail: the
// goroutine that reads may also be the one that writes.
func TestFailedWritesDoNotEndReads(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	inner, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var lost atomic.Uint64
	conn := &drainingConn{Conn: inner, lostConns: &lost, readEnded: make(chan struct{})}
	conn.http2.Store(true)
	defer conn.Close()
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("is never read")); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(server, "last words")
	_ = server.(*net.TCPConn).SetLinger(0) // a reset
	_ = server.Close()
	for begin := time.Now(); !conn.writeFailed.Load(); time.Sleep(time.Millisecond) {
		if n, err := conn.Write([]byte("more")); n != 4 || err != nil || time.Since(begin) > drainTimeoutHTTP2 {
			t.Fatalf("Write returned %d, %v before the end was read", n, err)
		}
	}
	if said, err := io.ReadAll(conn); string(said) != "last words" {
		t.Errorf("read %q, %v", said, err)
	}
	if _, err := conn.Write([]byte("more")); err == nil {
		t.Error("Write returned no error after the end")
	}
	if lost.Load() == 0 {
		t.Error("the connection is not taken for one that the server closed")
	}
}

// dialPair returns both ends of a connection.
func dialPair(t *testing.T) (conn *tcpConn, server net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dialed, err := NewTransport().DialContext(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dialed.Close() }) // the test may have closed it
	if server, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() }) // as above
	return dialed.(*tcpConn), server
}
