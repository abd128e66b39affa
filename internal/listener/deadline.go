package listener

import (
	"net/http"
	"sync"
	"time"
)

// streamBuffer is how much of an answer net/http holds back on an HTTP/2 stream before it sends
// something. To write so much never blocks.
const streamBuffer = 4 << 10

// lateDeadline writes an answer on an HTTP/2 stream, and sets write deadlines only before
// something that may block. net/http passes each one to the goroutine of the connection and
// starts, moves or stops a timer there, three times for an answer that only fills its buffer.
type lateDeadline struct {
	http.ResponseWriter

	held int // bytes that net/http holds back, or more

	mu       sync.Mutex // guards what follows; it is not held during a write
	deadline time.Time  // that was asked for last
	set      time.Time  // that net/http has
	blocking bool       // something that may block is in progress
}

// SetWriteDeadline is that of an http.ResponseController. A deadline that has passed breaks the
// stream at once.
func (w *lateDeadline) SetWriteDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = t
	if w.blocking || !w.set.IsZero() || t.Before(time.Now()) { // the one that is set may come too soon
		return w.apply()
	}
	return nil
}

// apply passes the deadline to net/http. w.mu is held.
func (w *lateDeadline) apply() error {
	if w.deadline.Equal(w.set) {
		return nil
	}
	w.set = w.deadline
	return http.NewResponseController(w.ResponseWriter).SetWriteDeadline(w.deadline)
}

// setBlocking says whether something that may block is in progress. At its beginning the
// deadline is set.
func (w *lateDeadline) setBlocking(blocking bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.blocking = blocking; blocking {
		_ = w.apply() // HTTP/2 supports it
	}
}

func (w *lateDeadline) Write(p []byte) (int, error) {
	if w.held+len(p) <= streamBuffer {
		w.held += len(p)
		return w.ResponseWriter.Write(p)
	}
	w.held = streamBuffer // how much is left of p is not known
	w.setBlocking(true)
	defer w.setBlocking(false)
	return w.ResponseWriter.Write(p)
}

// FlushError is Flush for an http.ResponseController.
func (w *lateDeadline) FlushError() error {
	w.held = 0
	w.setBlocking(true)
	defer w.setBlocking(false)
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is for an http.ResponseController.
func (w *lateDeadline) Unwrap() http.ResponseWriter { return w.ResponseWriter }
