package downstream

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
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

// An upload is written as its source has it, whether it is recorded or not.
func TestConnectionSendsAnUpload(t *testing.T) {
	want := numbers(7*len(smallBuffer{}) + 5)
	for _, test := range []struct {
		name       string
		limit      int64 // of what is sent
		endsRecord int   // after so many bytes the response begins; -1: it does not
		sent       int
	}{
		{"recorded", int64(len(want)), -1, len(want)},
		{"the beginning", int64(len(smallBuffer{}) + 1), -1, len(smallBuffer{}) + 1},
		{"nothing", 0, -1, 0},
		{"shorter than declared", int64(len(want) + 1), -1, len(want)},
		{"not recorded", int64(len(want)), 0, len(want)},
		{"recorded at first", int64(len(want)), 2 * len(smallBuffer{}), len(want)},
		{"in large chunks", int64(len(want)), -1, len(want)},
		{"in large chunks at first", int64(len(want)), len(largeBuffer{}), len(want)},
	} {
		conn, received := connect(t)
		r := (&http.Request{}).WithContext(t.Context())
		var rec *record
		r.Body = io.NopCloser(&hookedReader{Reader: bytes.NewReader(want), after: test.endsRecord, hook: func() { rec.finish(false) }})
		if strings.HasPrefix(test.name, "in large chunks") {
			r.ContentLength = int64(len(want))
		}
		rec = recordBody(r, recordLimitHTTP1)
		if want := bufferSize(r.ContentLength); rec.chunkSize != want {
			t.Errorf("%s: chunks have %d bytes, want %d", test.name, rec.chunkSize, want)
		}
		n, err := conn.ReadFrom(io.LimitReader(r.Body, test.limit))
		if err != nil || n != int64(test.sent) {
			t.Errorf("%s: sent %d bytes, %v, want %d", test.name, n, err, test.sent)
		}
		if counted := conn.writtenSinceLastRead.Load(); counted != n {
			t.Errorf("%s: %d bytes count as written, want %d", test.name, counted, n)
		}
		_ = conn.Close()
		if got := <-received; !bytes.Equal(got, want[:test.sent]) {
			t.Errorf("%s: %d bytes arrived, or others, want %d", test.name, len(got), test.sent)
		}
		if rec.lent != 0 {
			t.Errorf("%s: %d loans are open", test.name, rec.lent)
		}
		rec.finish(true)
		if n := chunkBytes.Load(); n != 0 {
			t.Errorf("%s: %d bytes are lost", test.name, n)
		}
	}
}

// Anything else than an upload is written too, and an error of the source is returned.
func TestConnectionSendsOtherThings(t *testing.T) {
	broken := errors.New("broken")
	upload := (&http.Request{Body: io.NopCloser(io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(broken)))}).WithContext(t.Context())
	rec := recordBody(upload, recordLimitHTTP1)
	defer rec.finish(true)
	for _, test := range []struct {
		source io.Reader
		want   string
		err    error
	}{
		{struct{ io.Reader }{strings.NewReader("abc")}, "abc", nil},
		{io.LimitReader(strings.NewReader("abc"), 2), "ab", nil},
		{io.LimitReader(upload.Body, 10), "ab", broken},
	} {
		conn, received := connect(t)
		if n, err := io.Copy(conn, test.source); n != int64(len(test.want)) || !errors.Is(err, test.err) {
			t.Errorf("sent %d bytes, %v, want %d, %v", n, err, len(test.want), test.err)
		}
		if counted := conn.writtenSinceLastRead.Load(); counted != int64(len(test.want)) {
			t.Errorf("%d bytes count as written, want %d", counted, len(test.want))
		}
		_ = conn.Close()
		if got := <-received; string(got) != test.want {
			t.Errorf("%q arrived, want %q", got, test.want)
		}
	}
}

// connect returns a connection, and what arrives at its other end.
func connect(t *testing.T) (*tcpConn, <-chan []byte) {
	t.Helper()
	conn, server := dialPair(t)
	received := make(chan []byte, 1)
	go func() {
		got, _ := io.ReadAll(server) // the test sees what is missing
		received <- got
	}()
	return conn, received
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

// hookedReader calls hook once when at least after bytes have been read; after -1 it does not.
type hookedReader struct {
	io.Reader
	read, after int
	hook        func()
}

func (r *hookedReader) Read(p []byte) (int, error) {
	if r.after >= 0 && r.read >= r.after {
		r.after = -1
		r.hook()
	}
	n, err := r.Reader.Read(p)
	r.read += n
	return n, err
}
