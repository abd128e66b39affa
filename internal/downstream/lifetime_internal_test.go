package downstream

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A lifetime is a context as package context makes them: it ends with its parent or by
// itself, once, and so do contexts that are made of it.
func TestLifetime(t *testing.T) {
	left := errors.New("the caller left")
	for name, row := range map[string]struct {
		end   func(l *lifetime, leave context.CancelCauseFunc)
		err   error
		cause error
	}{
		"goes on":                       {func(*lifetime, context.CancelCauseFunc) {}, nil, nil},
		"the caller leaves":             {func(_ *lifetime, leave context.CancelCauseFunc) { leave(left) }, context.Canceled, left},
		"the time is over":              {func(l *lifetime, _ context.CancelCauseFunc) { l.end(errTimeout) }, context.DeadlineExceeded, errTimeout},
		"the body is late":              {func(l *lifetime, _ context.CancelCauseFunc) { l.end(errLateBody) }, context.DeadlineExceeded, errLateBody},
		"the call is over":              {func(l *lifetime, _ context.CancelCauseFunc) { l.end(context.Canceled) }, context.Canceled, context.Canceled},
		"the first end counts":          {func(l *lifetime, _ context.CancelCauseFunc) { l.end(errTimeout); l.end(left) }, context.DeadlineExceeded, errTimeout},
		"the time is over, then leaves": {func(l *lifetime, leave context.CancelCauseFunc) { l.end(errTimeout); leave(left) }, context.DeadlineExceeded, errTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				parent, leave := context.WithCancelCause(t.Context())
				defer leave(nil)
				var l lifetime
				l.begin(parent)
				defer l.end(context.Canceled)
				child, cancel := context.WithCancel(&l)
				defer cancel()
				var ran [4]int
				var stops []func() bool
				for i := range ran {
					stops = append(stops, l.AfterFunc(func() { ran[i]++ }))
				}
				if !stops[1]() || stops[1]() {
					t.Error("a function was not stopped once")
				}
				done := l.Done()

				row.end(&l, leave)
				if got := l.cause(); !errors.Is(got, row.cause) || (got == nil) != (row.cause == nil) {
					t.Errorf("cause: got %v at once, want %v", got, row.cause)
				}
				synctest.Wait()
				ended := row.err != nil
				want := [4]int{}
				if ended {
					want = [4]int{1, 0, 1, 1}
				}
				if ran != want {
					t.Errorf("functions ran %v times, want %v", ran, want)
				}
				if err := l.Err(); err != row.err {
					t.Errorf("Err: got %v, want %v", err, row.err)
				}
				if err := child.Err(); err != row.err {
					t.Errorf("Err of a child: got %v, want %v", err, row.err)
				}
				select {
				case <-done:
					if !ended {
						t.Error("Done is closed")
					}
				default:
					if ended {
						t.Error("Done is not closed")
					}
				}
				if stops[0]() == ended {
					t.Errorf("a function was stopped: %t", !ended)
				}
				late := make(chan struct{})
				stop := l.AfterFunc(func() { close(late) })
				if ended {
					<-late
				}
				if stop() == ended {
					t.Error("a late function was stopped, or could not be")
				}
			})
		})
	}
}

// A channel that is asked for after the end is closed.
func TestLifetimeDoneAfterTheEnd(t *testing.T) {
	var l lifetime
	l.begin(t.Context())
	l.end(errTimeout)
	select {
	case <-l.Done():
	case <-time.After(10 * time.Second):
		t.Error("Done is not closed")
	}
}

// A lifetime that has ended leaves nothing in its parent.
func TestLifetimeLeavesItsParent(t *testing.T) {
	var parent, l lifetime
	parent.begin(t.Context())
	defer parent.end(context.Canceled)
	l.begin(&parent)
	if got := len(parent.after); got != 1 {
		t.Fatalf("%d functions in the parent, want 1", got)
	}
	l.end(context.Canceled)
	if got := len(parent.after); got != 0 {
		t.Errorf("%d functions stay in the parent", got)
	}
}

// A parent that has ended before ends the lifetime while it begins.
func TestLifetimeWithinAnEndedParent(t *testing.T) {
	parent, leave := context.WithCancel(t.Context())
	leave()
	for range 1000 {
		var l lifetime
		l.begin(parent)
		<-l.Done()
		l.end(errTimeout)
		if cause := l.cause(); cause != context.Canceled {
			t.Fatalf("cause: got %v, want the parent's", cause)
		}
	}
}
