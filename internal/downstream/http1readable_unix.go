//go:build unix

package downstream

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// canPoll says that readable works.
const canPoll = true

// readable tells whether something has arrived on a connection, without reading it.
type readable struct {
	raw   syscall.RawConn // nil: it cannot be told
	check func(fd uintptr)
	fds   [1]unix.PollFd
	count int
}

// of makes r that of conn.
func (r *readable) of(conn net.Conn) {
	if tcp, ok := conn.(*tcpConn); ok {
		conn = tcp.tcp
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return // the connection is closed, which sending reports
	}
	r.raw = raw
	r.check = func(fd uintptr) {
		r.fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
		r.count, _ = unix.Poll(r.fds[:], 0) // 0 after an error, as if nothing had arrived
	}
}

// now reports whether there is something to read: data, the end, or an error.
func (r *readable) now() bool {
	if r.raw == nil {
		return false
	}
	r.count = 0
	return r.raw.Control(r.check) != nil || r.count > 0
}
