package downstream

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// isQueueEmpty reports whether conn has no data that is not acknowledged.
func isQueueEmpty(conn *net.TCPConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return true // the connection is closed
	}
	empty := true
	_ = raw.Control(func(fd uintptr) {
		n, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) // tcp(7)
		empty = err != nil || n == 0
	})
	return empty
}

// setUserTimeout makes conn end when sent data is not acknowledged for after (RFC
// 5482). With 0 Linux uses its default, about a quarter of an hour.
func setUserTimeout(conn *net.TCPConn, after time.Duration) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return // the connection is closed
	}
	_ = raw.Control(func(fd uintptr) { // on failure the default stays
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(after.Milliseconds()))
	})
}
