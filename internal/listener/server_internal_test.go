package listener

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener without a network, so that time can be virtual.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// servePipes serves as the program does, in a bubble of virtual time.
func servePipes(t *testing.T, h2c bool, handler http.HandlerFunc) (dial func() net.Conn) {
	listener := make(pipes)
	serveOn(t, WithWriteTimeout(listener, 30*time.Second, slog.New(slog.DiscardHandler)), h2c, handler)
	return func() net.Conn {
		ours, theirs := net.Pipe()
		listener <- theirs
		return ours
	}
}

// serveOn serves what listener accepts, until the test ends.
func serveOn(t *testing.T, listener net.Listener, h2c bool, handler http.HandlerFunc) {
	srv := NewServer(handler, 64<<10, h2c, slog.New(slog.DiscardHandler))
	served := make(chan error)
	go func() { served <- srv.Serve(listener) }()
	t.Cleanup(func() {
		_ = srv.Close() // nothing is left to lose
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
}

// endAfter returns how long it takes until the server closes a connection on
// which nothing is sent any more.
func endAfter(conn net.Conn) time.Duration {
	start := time.Now()
	_, _ = io.Copy(io.Discard, conn) // to its end, however it ends
	return time.Since(start)
}

func TestConnectionsWithoutProgressEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
		dial := servePipes(t, false, answer)
		for _, row := range []struct {
			name, sent string
			end        time.Duration
		}{
			{"nothing is sent", "", ReadHeaderTimeout},
			{"half a header is sent", "GET / HTTP/1.1\r\nHost: x\r\nX-Half: ", ReadHeaderTimeout},
			{"nothing after a request", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", idleTimeout},
		} {
			conn := dial()
			if _, err := io.WriteString(conn, row.sent); err != nil {
				t.Fatal(err)
			}
			if got := endAfter(conn); got != row.end {
				t.Errorf("%s: the connection ends after %v, want %v", row.name, got, row.end)
			}
		}
		// A header that drips is not one that comes.
		conn, start := dial(), time.Now()
		go func() { _, _ = io.Copy(io.Discard, conn) }()
		for err := error(nil); err == nil; time.Sleep(time.Second) {
			_, err = io.WriteString(conn, "x")
		}
		if got := time.Since(start); got > ReadHeaderTimeout+2*time.Second {
			t.Errorf("a dripping header: the connection ends after %v, want %v", got, ReadHeaderTimeout)
		}
	})
}

func TestReadersThatTakeNothingAreCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := make(chan error, 1)
		endless := func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := io.WriteString(w, strings.Repeat("x", 32<<10)); err != nil {
					broken <- err
					return
				}
			}
		}
		dial := servePipes(t, false, endless)
		conn, start := dial(), time.Now()
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		// Slow, but not dead: a piece each 20 s.
		buf := make([]byte, 64<<10)
		for range 9 {
			time.Sleep(20 * time.Second)
			if _, err := io.ReadFull(conn, buf); err != nil {
				t.Fatalf("after %v: %v", time.Since(start), err)
			}
		}
		taken := time.Now()
		if err := <-broken; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v, want a deadline", err)
		}
		if got := time.Since(taken); got > 30*time.Second {
			t.Errorf("a dead reader is cut off after %v, want 30 s", got)
		}
		_ = conn.Close() // the server has
	})
}

func TestSilentStreamsAreNotCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := func(w http.ResponseWriter, _ *http.Request) {
			for range 3 {
				_, _ = io.WriteString(w, "data: x\n")
				_ = http.NewResponseController(w).Flush() // the reader sees what is missing
				time.Sleep(time.Hour)
			}
		}
		dial := servePipes(t, false, events)
		conn := dial()
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); err != nil || strings.Count(string(body), "data") != 3 {
			t.Errorf("got %q, %v, want three events", body, err)
		}
		_ = conn.Close() // all is read
	})
}

// deadlineConn counts the deadlines of its writes.
type deadlineConn struct {
	net.Conn
	set []time.Time
}

func (c *deadlineConn) SetWriteDeadline(t time.Time) error {
	c.set = append(c.set, t)
	return nil
}
func (c *deadlineConn) SetDeadline(t time.Time) error { return c.SetWriteDeadline(t) }
func (c *deadlineConn) Write(p []byte) (int, error)   { return len(p), nil }

// A busy connection keeps its deadline for a moment, but never one that somebody else set.
func TestEveryWriteHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		below := &deadlineConn{}
		conn := newTimedConn(below, 30*time.Second)
		write := func() {
			if _, err := conn.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			latest := time.Now().Add(30 * time.Second)
			if got := below.set[len(below.set)-1]; got.After(latest) || got.Before(latest.Add(-deadlineSlack)) {
				t.Errorf("the deadline of a write is in %v, want 29 s to 30 s", time.Until(got))
			}
		}
		for range 20 {
			write()
			if err := conn.SetWriteDeadline(time.Time{}); err != nil { // as net/http does after every answer
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if len(below.set) != 2 {
			t.Errorf("%d deadlines were set in 2 s, want 2", len(below.set))
		}
		for _, set := range []func(time.Time) error{conn.SetDeadline, conn.SetWriteDeadline} {
			if err := set(time.Now().Add(time.Second)); err != nil { // as net/http does for a TLS handshake
				t.Fatal(err)
			}
			if err := set(time.Time{}); err != nil {
				t.Fatal(err)
			}
			if got := below.set[len(below.set)-1]; !got.IsZero() {
				t.Errorf("after a handshake its deadline is still %v", got)
			}
			write()
		}
	})
}
