package downstream

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// giveUpUnacknowledged lets conn end when what was sent on it is not acknowledged in
// time (RFC 5482). Without, which is 0, Linux tries for a quarter of an hour.
func giveUpUnacknowledged(conn *net.TCPConn, after time.Duration) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return // it is closed
	}
	_ = raw.Control(func(fd uintptr) { // what fails leaves the system's own time
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(after.Milliseconds()))
	})
}
