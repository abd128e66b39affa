package listener

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"middletier/internal/linger"
)

// lateReads is a connection that sets read deadlines only if a read may need them. net/http sets
// five for each request, and each moves a timer of the Go runtime, though most bound no read, or are
// later than the one before. Here one is set when a read begins or is in progress, and only if it is
// earlier than the one that is set. If that one ends a read too early, the read goes on. So nobody
// else may set read deadlines of Conn, except watch, while nothing else is read.
type lateReads struct {
	net.Conn

	mu      sync.Mutex // guards what follows; it is not held during a read
	wanted  time.Time  // the deadline that was asked for last; zero: none
	set     time.Time  // that Conn has; zero: none
	passed  bool       // a read has ended by its deadline since set was set
	reading int        // reads in progress

	watch *watch // of the caller; nil: net/http watches
}

// SetReadDeadline is that of net.Conn. On a connection that has ended it may return nil.
func (c *lateReads) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = t
	if c.watch != nil {
		c.watch.cleared = t.IsZero()
	}
	if c.reading > 0 {
		return c.apply()
	}
	return nil
}

// SetDeadline is that of net.Conn.
func (c *lateReads) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// CloseWrite lets the connection linger.
func (c *lateReads) CloseWrite() error { return linger.CloseWrite(c.Conn) }

func (c *lateReads) Read(p []byte) (int, error) {
	for {
		if n, done, err := c.begin(p); done {
			return n, err
		}
		n, err := c.Conn.Read(p)
		if !c.end(err) {
			return n, err
		}
	}
}

// begin sets the deadline of a read into p, if it must be. done: the read has ended, perhaps with
// os.ErrDeadlineExceeded.
func (c *lateReads) begin(p []byte) (n int, done bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watch != nil {
		if c.isWatch(len(p)) {
			return 0, true, nil
		}
		if n := c.endWatch(p); n > 0 {
			return n, true, nil
		}
	}
	if c.passed || c.isLate() {
		if c.isOver() {
			return 0, true, os.ErrDeadlineExceeded
		}
		_ = c.apply() // on a connection that has ended the read fails
	}
	c.reading++
	return 0, false, nil
}

// end reports whether a read that ended with err must go on: its deadline was not the one that is
// wanted.
func (c *lateReads) end(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading--
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	c.passed = true
	return !c.isOver()
}

// apply sets the deadline that is wanted. c.mu is held, as by the functions below.
func (c *lateReads) apply() error { return c.setTo(c.wanted) }

// setTo sets a deadline.
func (c *lateReads) setTo(t time.Time) error {
	c.set, c.passed = t, false
	return c.Conn.SetReadDeadline(t)
}

// isLate reports whether the deadline that is set is later than the one that is wanted.
func (c *lateReads) isLate() bool {
	return !c.wanted.IsZero() && (c.set.IsZero() || c.wanted.Before(c.set))
}

// isOver reports whether the deadline that is wanted has passed.
func (c *lateReads) isOver() bool { return !c.wanted.IsZero() && !time.Now().Before(c.wanted) }
