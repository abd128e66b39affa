package downstream

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// lifetime is the context of a call: that of the caller's request, and it ends earlier if the
// call does or its time is over. context.WithCancelCause would do, but it registers with the
// request's context, makes a channel, and has each transport do the same again: a tenth of the
// allocations of a call.
//
// Its Err is context.DeadlineExceeded if the time of the call is over, and else that of the
// request. cause says more.
type lifetime struct {
	context.Context // the caller's request's

	mu    sync.Mutex
	leave func() bool   // removes what begin has registered with the request's context
	ended error         // the cause; nil: it goes on
	done  chan struct{} // closed at the end; nil: nobody has asked for it
	after []afterEnd
	few   [2]afterEnd // the first of after: there are seldom more
	last  int         // id in after
}

// afterEnd is a function to run at the end.
type afterEnd struct {
	id int
	f  func()
}

// begin begins the lifetime within parent, which may have ended: end waits until leave is set.
func (l *lifetime) begin(parent context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Context = parent
	l.leave = context.AfterFunc(parent, func() { l.end(context.Cause(parent)) })
}

// end ends the lifetime, unless it has ended.
func (l *lifetime) end(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended != nil {
		return
	}
	l.leave()
	l.ended = cause
	if l.done != nil {
		close(l.done)
	}
	for _, a := range l.after {
		go a.f()
	}
	l.after = nil
}

// cause returns why the lifetime has ended: the caller left, or the time of the call is over.
// nil: it has not ended.
func (l *lifetime) cause() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended == nil && l.Context.Err() != nil { // end is about to be called
		return context.Cause(l.Context)
	}
	return l.ended
}

// Done is that of a context.Context.
func (l *lifetime) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil {
		l.done = make(chan struct{})
		if l.ended != nil {
			close(l.done)
		}
	}
	return l.done
}

// Err is that of a context.Context.
func (l *lifetime) Err() error {
	switch cause := l.cause(); {
	case cause == nil:
		return nil
	case errors.Is(cause, errTimeout), errors.Is(cause, errLateBody):
		return context.DeadlineExceeded
	}
	return context.Canceled
}

// AfterFunc runs f in a goroutine when the lifetime has ended, unless stop is called before
// and returns true. Package context uses it for contexts that are made of this one.
func (l *lifetime) AfterFunc(f func()) (stop func() bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended != nil {
		go f()
		return func() bool { return false }
	}
	if l.after == nil {
		l.after = l.few[:0]
	}
	l.last++
	id := l.last
	l.after = append(l.after, afterEnd{id, f})
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		before := len(l.after)
		l.after = slices.DeleteFunc(l.after, func(a afterEnd) bool { return a.id == id })
		return len(l.after) < before
	}
}
