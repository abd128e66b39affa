package linger_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/linger"
)

// The bounds that the documents promise.
const (
	maxTime       = 5 * time.Second
	maxSize       = 64 << 20
	maxConcurrent = 512
	connIdle      = 2 * time.Second
	streamIdle    = 250 * time.Millisecond
	windowTime    = time.Second // of maxTime
)

// lingering returns a connection that lingers when it is closed, with its other end.
// The latter is closed with the test, and the service ends with ctx.
func lingering(ctx context.Context) (conn *linger.Conn, sender net.Conn, request context.Context) {
	sender, ours := net.Pipe()
	context.AfterFunc(ctx, func() { _ = sender.Close() })
	conn = linger.NewConn(ours)
	request = linger.Context(ctx, conn)
	linger.AtClose(request)
	return conn, sender, request
}

// send writes pieces with pauses between them until a write fails, and returns how
// many bytes were written.
func send(sender io.Writer, piece int, pause time.Duration) (taken int) {
	for {
		n, err := sender.Write(make([]byte, piece))
		if taken += n; err != nil {
			return taken
		}
		time.Sleep(pause)
	}
}

func TestConnectionLingersWithinBounds(t *testing.T) {
	for _, row := range []struct {
		name string
		with func(conn *linger.Conn, sender net.Conn, stop func())
		want time.Duration
	}{
		{"the sender ends", func(_ *linger.Conn, sender net.Conn, _ func()) { _ = sender.Close() }, 0},
		{"the sender is idle", func(*linger.Conn, net.Conn, func()) {}, connIdle},
		{"the sender is idle after 3 s", func(_ *linger.Conn, sender net.Conn, _ func()) {
			for range 3 {
				time.Sleep(time.Second)
				_, _ = sender.Write(make([]byte, 1))
			}
		}, 3*time.Second + connIdle},
		{"an endless, slow sender", func(_ *linger.Conn, sender net.Conn, _ func()) {
			send(sender, 1, time.Second)
		}, maxTime},
		{"an endless sender at 32 MiB a second", func(_ *linger.Conn, sender net.Conn, _ func()) {
			send(sender, maxSize/2, time.Second)
		}, time.Second},
		{"the service ends", func(_ *linger.Conn, _ net.Conn, stop func()) {
			time.Sleep(time.Second)
			stop()
		}, time.Second},
		{"it is closed again", func(conn *linger.Conn, _ net.Conn, _ func()) {
			time.Sleep(time.Second)
			_ = conn.Close()
		}, time.Second},
		{"the body came to its end", nil, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				conn, sender, _ := lingering(ctx)
				var group sync.WaitGroup
				defer group.Wait()
				begun := time.Now()
				if row.with == nil {
					linger.Track(conn, http.StateIdle)
				} else {
					group.Go(func() { row.with(conn, sender, stop) })
				}
				_ = conn.Close()
				if got := time.Since(begun); got != row.want {
					t.Errorf("closed after %v, want %v", got, row.want)
				}
				if _, err := conn.Conn.Write([]byte("x")); err == nil {
					t.Error("it is not closed")
				}
			})
		})
	}
}

// Data of an endless sender is read up to a bound, then the connection is closed.
func TestConnectionReadsNoMoreThanItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, sender, _ := lingering(t.Context())
		taken := make(chan int, 1)
		go func() { taken <- send(sender, 1<<20, 0) }()
		_ = conn.Close()
		if got := <-taken; got != maxSize {
			t.Errorf("%d bytes were read, want %d", got, maxSize)
		}
	})
}

// Many idle senders cannot hold an unlimited number of connections open.
func TestConnectionsBeyondTheBoundEndAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var group sync.WaitGroup
		for range maxConcurrent {
			conn, _, _ := lingering(t.Context())
			group.Go(func() { _ = conn.Close() })
		}
		synctest.Wait() // all of them linger
		beyond, _, _ := lingering(t.Context())
		begun := time.Now()
		_ = beyond.Close()
		if got := time.Since(begun); got != 0 {
			t.Errorf("one beyond the bound: closed after %v, want at once", got)
		}
		stream := &upload{sender: idle}
		linger.Stream(t.Context(), stream, stream)
		if got := time.Since(begun); got != 0 {
			t.Errorf("a stream beyond the bound: ends after %v, want at once", got)
		}
		group.Wait()
		if got := time.Since(begun); got != connIdle {
			t.Errorf("those within the bound: closed after %v, want %v", got, connIdle)
		}
		after, _, _ := lingering(t.Context())
		begun = time.Now()
		_ = after.Close()
		if got := time.Since(begun); got != connIdle {
			t.Errorf("one after them: closed after %v, want %v", got, connIdle)
		}
	})
}

// upload is the body of an HTTP/2 request and the writer of its response.
type upload struct {
	http.ResponseWriter
	sender   func(p []byte) (int, error) // how what is sent next comes
	gone     bool                        // the caller
	read     atomic.Int64
	deadline atomic.Pointer[time.Time]
}

func (u *upload) FlushError() error {
	if u.gone {
		return net.ErrClosed
	}
	return nil
}

func (u *upload) SetReadDeadline(deadline time.Time) error {
	u.deadline.Store(&deadline)
	return nil
}

// Read fails when the sender is slower than the deadline, like that of net/http.
func (u *upload) Read(p []byte) (int, error) {
	begun := time.Now()
	n, err := u.sender(p)
	deadline := *u.deadline.Load()
	if !deadline.IsZero() && time.Since(deadline) > 0 && time.Since(begun) > 0 {
		return 0, os.ErrDeadlineExceeded
	}
	u.read.Add(int64(n))
	return n, err
}

func idle([]byte) (int, error) {
	time.Sleep(streamIdle + 1)
	return 0, nil
}

func every(pause time.Duration) func([]byte) (int, error) {
	return func(p []byte) (int, error) {
		time.Sleep(pause)
		return len(p), nil
	}
}

func TestStreamIsReadWithinBounds(t *testing.T) {
	late := func(d, bound time.Duration) bool { return d < bound || d > bound+100*time.Millisecond }
	for _, row := range []struct {
		name   string
		sender func(p []byte) (int, error)
		gone   bool
		want   time.Duration
		size   int64 // 0: whatever
	}{
		{"the body ends", func([]byte) (int, error) { return 0, io.EOF }, false, 0, 0},
		{"the caller resets the stream", func([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }, false, 0, 0},
		{"the caller has left", idle, true, 0, 0},
		{"an earlier deadline has ended the body", func([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }, false, windowTime, 0},
		{"the sender is idle", idle, false, streamIdle, 0},
		{"an endless, slow sender", every(100 * time.Millisecond), false, maxTime, 0},
		{"an endless, fast sender", every(0), false, windowTime, maxSize},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &upload{sender: row.sender, gone: row.gone}
				begun := time.Now()
				linger.Stream(t.Context(), u, u)
				if got := time.Since(begun); late(got, row.want) || row.size > 0 && u.read.Load() != row.size {
					t.Errorf("ends after %v and %d bytes, want %v and %d", got, u.read.Load(), row.want, row.size)
				}
			})
		})
	}
}

// A stream of an endless sender must not delay the end of the service.
func TestStreamEndsWithTheService(t *testing.T) {
	for name, sender := range map[string]func([]byte) (int, error){
		"an endless sender":                      every(70 * time.Millisecond),
		"an earlier deadline has ended the body": func([]byte) (int, error) { return 0, os.ErrDeadlineExceeded },
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer stop()
			u := &upload{sender: sender}
			begun := time.Now()
			linger.Stream(ctx, u, u)
			if got := time.Since(begun); got < 200*time.Millisecond || got > 210*time.Millisecond { // the read under way comes first
				t.Errorf("%s: ends after %v, want 200 ms", name, got)
			}
		})
	}
}
