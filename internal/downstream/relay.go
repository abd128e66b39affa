package downstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"middletier/internal/failure"
)

const (
	// closeTimeout is how long both sides of a WebSocket may take to end it after a Close
	// frame: to finish the frame that they send, to answer, and to close the connection.
	closeTimeout = 5 * time.Second

	// stallTimeout is how long a side may take to read one chunk. Nothing is queued for it:
	// the other side has to wait.
	stallTimeout = 30 * time.Second

	// idleBuffer is what one direction of a WebSocket reads into while little is sent. With
	// more, it borrows a buffer.
	idleBuffer = 512
)

// relay passes the bytes of a WebSocket between a caller and an API as they come. It knows
// where frames end, so that a Close frame of this service can stand between two of them.
//
// Each direction is a flow with a goroutine of its own; that from the caller is run's. When
// the context ends, others insert the Close frames. All have ended when run returns.
type relay struct {
	callerConn, apiConn net.Conn
	fromCaller, fromAPI flow
	cut                 *time.Timer // aborts what closeWith did not end; nil before it
}

// flow is one direction of a WebSocket.
type flow struct {
	from   io.Reader
	to     net.Conn
	masked bool // its frames are those of a client

	close atomic.Pointer[[]byte] // the Close frame to insert; nil: none

	mu     sync.Mutex // guards what follows; held while to is written
	read   frames     // what has been read
	closed bool       // a Close frame was written, theirs or ours; nothing follows it
	ours   bool       // it is ours
	sent   int64      // bytes written
}

// brokenError is the end of a WebSocket by a connection that broke, without a Close frame. Its
// text has no words of either side.
type brokenError struct {
	api bool // the API's connection, not the caller's
	err error
}

func (e *brokenError) Error() string {
	if e.api {
		return fmt.Sprintf("the API's connection ended without a Close frame: %v", e.err)
	}
	return fmt.Sprintf("the caller's connection ended without a Close frame: %v", e.err)
}

func (e *brokenError) Unwrap() error { return e.err }

// run relays until both directions have ended, and closes both connections. early is what the
// caller sent with its handshake. The error is a *CloseError if ctx ended first, or a
// *brokenError.
func (r *relay) run(ctx context.Context, early []byte) error {
	closed := make(chan *CloseError, 1)
	stop := context.AfterFunc(ctx, func() {
		reason := closeErrorOf(context.Cause(ctx))
		r.closeWith(reason)
		closed <- reason
	})
	var once sync.Once
	var first error // of the direction that ended first; nil: after a Close frame
	copyAll := func(f *flow, early []byte) {
		err := f.copy(early)
		once.Do(func() {
			if err != nil {
				ofAPI := isWriteError(err) == (f == &r.fromCaller) // which writes to it; the other one reads from it
				first = &brokenError{ofAPI, failure.Of(err)}
			}
		})
		r.ended(f, err)
	}
	var group sync.WaitGroup
	group.Go(func() { copyAll(&r.fromAPI, nil) })
	copyAll(&r.fromCaller, early)
	group.Wait()
	r.abort()
	if !stop() {
		reason := <-closed
		r.cut.Stop()
		return reason
	}
	return first
}

// ended is called when a direction has ended. After a Close frame the other may end by itself;
// without one it is cut off.
func (r *relay) ended(f *flow, err error) {
	if err != nil {
		r.abort()
		return
	}
	end := time.Now().Add(closeTimeout)
	if f == &r.fromCaller {
		_ = r.apiConn.SetReadDeadline(end) // where the connection has ended, reads fail
		return
	}
	_ = r.callerConn.SetReadDeadline(end) // as above
	// The API closes the connection first (RFC 6455, section 7.1.1), and so do we.
	if half, ok := r.callerConn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // the caller may have closed it
	}
}

// abort ends both directions.
func (r *relay) abort() {
	_ = r.callerConn.Close() // it may be closed already
	_ = r.apiConn.Close()
}

// closeWith sends both sides a Close frame, and cuts off one that does not end the WebSocket. A
// side that has its Close frame sends the other one nothing more, however fast it is.
func (r *relay) closeWith(reason *CloseError) {
	r.cut = time.AfterFunc(closeTimeout, r.abort)
	flows := []*flow{&r.fromCaller, &r.fromAPI}
	for _, f := range flows {
		frame := closeFrame(reason.Code, reason.Reason, f.masked)
		f.close.Store(&frame)
	}
	var group sync.WaitGroup
	for _, f := range flows {
		group.Go(f.closeNow)
	}
	group.Wait()
}

// writeError is an error of the connection that a flow goes to.
type writeError struct{ error }

func (e writeError) Unwrap() error { return e.error }

func isWriteError(err error) bool {
	var e writeError
	return errors.As(err, &e)
}

// copy passes on what is read until a Close frame has passed and the connection ends. After a
// Close frame of ours, it reads only until that of the other side. The error is nil if a Close
// frame was sent.
func (f *flow) copy(early []byte) error {
	var idle [idleBuffer]byte
	buf := idle[:]
	var borrowed []byte
	giveBack := func() {
		if borrowed != nil {
			giveBuffer(borrowed)
			borrowed = nil
		}
	}
	defer giveBack()
	done, err := f.pass(early)
	for !done && err == nil {
		var n int
		n, err = f.from.Read(buf)
		if n > 0 {
			var passErr error
			if done, passErr = f.pass(buf[:n]); passErr != nil {
				return passErr
			}
		}
		switch {
		case n == len(idle) && borrowed == nil: // there may be more
			borrowed = takeBuffer(len(smallBuffer{}))
			buf = borrowed
		case n < len(idle):
			giveBack()
			buf = idle[:]
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	return err
}

// pass writes what was read. If there is a Close frame to insert, it does so at the first end of
// a frame. done: nothing more needs to be read.
func (f *flow) pass(b []byte) (done bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		f.read.skip(b)
		return f.ours && f.read.closed, nil
	}
	n := 0
	for n < len(b) {
		n += f.read.next(b[n:])
		if f.read.between() && (f.close.Load() != nil || f.read.closed) {
			break
		}
	}
	if err := f.write(b[:n]); err != nil {
		return false, err
	}
	f.closed = f.read.closed
	if err := f.insertClose(); err != nil {
		return false, err
	}
	f.read.skip(b[n:])
	return f.ours && f.read.closed, nil
}

// closeNow inserts the Close frame, unless a frame is being sent: then pass does, at its end.
func (f *flow) closeNow() {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.insertClose() // copy meets the same error
}

// insertClose writes the Close frame of this service if there is one and no frame is under way.
// f.mu is held.
func (f *flow) insertClose() error {
	frame := f.close.Load()
	if frame == nil || f.closed || !f.read.between() {
		return nil
	}
	f.closed, f.ours = true, true
	return f.write(*frame)
}

// write writes to the other side. f.mu is held.
func (f *flow) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	_ = f.to.SetWriteDeadline(time.Now().Add(stallTimeout)) // on a closed connection Write fails
	n, err := f.to.Write(b)
	f.sent += int64(n)
	if err != nil {
		return writeError{err}
	}
	return nil
}
