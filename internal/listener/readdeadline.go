package listener

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// lateReadDeadline reads from a connection, and sets read deadlines only if a read may need them.
// net/http sets five for each request, and each moves a timer of the Go runtime, though most bound
// no read, or bound one less than the deadline before. Here one is set for a read only if it is
// earlier than the one that is set. A read that ends too soon because of that goes on.
type lateReadDeadline struct {
	conn net.Conn

	mu      sync.Mutex // guards what follows; it is not held during a read
	wanted  time.Time  // the deadline that was asked for last; zero: none
	set     time.Time  // that conn has; zero: none
	passed  bool       // a read has ended because of set
	reading int        // reads in progress
}

// SetReadDeadline is that of net.Conn. On a connection that has ended it may return nil.
func (d *lateReadDeadline) SetReadDeadline(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = t
	if d.reading > 0 {
		return d.apply()
	}
	return nil
}

func (d *lateReadDeadline) Read(p []byte) (int, error) {
	for {
		if err := d.begin(); err != nil {
			return 0, err
		}
		n, err := d.conn.Read(p)
		if !d.end(err) {
			return n, err
		}
	}
}

// begin sets the deadline of a read, if it must be. The error is os.ErrDeadlineExceeded if it has
// passed.
func (d *lateReadDeadline) begin() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.passed || d.isLate() {
		if d.isOver() {
			return os.ErrDeadlineExceeded
		}
		if err := d.apply(); err != nil {
			return err
		}
	}
	d.reading++
	return nil
}

// end reports whether a read ended with err because of the deadline that is set, and begin must
// tell whether another one is wanted.
func (d *lateReadDeadline) end(err error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reading--
	if errors.Is(err, os.ErrDeadlineExceeded) {
		d.passed = true
		return true
	}
	return false
}

// apply sets the deadline. d.mu is held, as by the functions below.
func (d *lateReadDeadline) apply() error {
	d.set, d.passed = d.wanted, false
	return d.conn.SetReadDeadline(d.set)
}

// isLate reports whether the deadline that is set is later than the one that is wanted.
func (d *lateReadDeadline) isLate() bool {
	return !d.wanted.IsZero() && (d.set.IsZero() || d.wanted.Before(d.set))
}

// isOver reports whether the deadline that is wanted has passed.
func (d *lateReadDeadline) isOver() bool { return !d.wanted.IsZero() && !time.Now().Before(d.wanted) }
