package downstream

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

var (
	errTimeout  = errors.New("the answer did not come in time")
	errLateBody = errors.New("it did not come in time")
)

// limit ends a call in time. While an answer is awaited it is the API's time that
// runs, unless the API is owed more of the caller's body: how long a caller takes
// to send it counts only against the whole request.
type limit struct {
	end    time.Time // of the whole request
	answer time.Duration
	cancel context.CancelCauseFunc
	timer  *time.Timer
	body   *Upload // nil for none

	mu       sync.Mutex // of what follows: a body is read beside the call
	until    time.Time  // zero for never
	asking   bool       // the API has been asked, and has not answered
	awaiting bool       // more of the body
}

// start begins the request's time, total at the most, and answer for the API.
func (l *limit) start(total, answer time.Duration, cancel context.CancelCauseFunc) {
	l.end, l.answer, l.cancel = time.Now().Add(total), answer, cancel
	l.until = l.end
	if l.body != nil {
		_ = http.NewResponseController(l.body.answer).SetReadDeadline(time.Time{}) // one for bodies that nobody reads; not every writer can
	}
	l.timer = time.AfterFunc(total, l.expire)
}

// expire ends the call, and a read of its body: the transport waits for that one.
// The context ends first, and says why.
func (l *limit) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.until.IsZero() || time.Now().Before(l.until): // set anew at this moment
		return
	case l.awaiting:
		l.cancel(errLateBody)
	default:
		l.cancel(errTimeout)
	}
	if l.body != nil {
		l.body.cutOff()
	}
}

// ask begins the API's time. It has all time where it is asked for a stream, whose
// first part may be long in coming; the transport still bounds how long it dials.
func (l *limit) ask(stream bool) {
	if stream {
		l.stop()
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asking = true
	l.give(l.answer)
}

// awaitBody says whether the API now waits for more of the body, or has got it.
func (l *limit) awaitBody(awaiting bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.asking: // perhaps over: what is left of the body is the server's
		return
	case awaiting:
		l.give(time.Until(l.end))
	default:
		l.give(l.answer)
	}
	l.awaiting = awaiting
}

// answered gives an answer what is left of the request's time, or all time where
// it is a stream.
func (l *limit) answered(stream bool) {
	if stream {
		l.stop()
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asking, l.awaiting = false, false
	l.give(time.Until(l.end))
}

// stop ends the measuring, not the call.
func (l *limit) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asking, l.awaiting = false, false
	l.until = time.Time{}
	l.timer.Stop()
}

// give lets the call end in d, and not after its request. The caller holds mu.
func (l *limit) give(d time.Duration) {
	d = min(d, time.Until(l.end))
	l.until = time.Now().Add(d)
	l.timer.Reset(d)
}

// left returns how long the call may still take until it is given up. One that has
// all time is not tried anew after that of a request.
func (l *limit) left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.until.IsZero() {
		return time.Until(l.end)
	}
	return time.Until(l.until)
}
