package listener

import "syscall"

// limitSocket sets the mode that a Unix socket has from the beginning: Linux takes the
// mode of the file from that of the socket that is bound to it.
func limitSocket(_, _ string, socket syscall.RawConn) error {
	var failed error
	if err := socket.Control(func(fd uintptr) { failed = syscall.Fchmod(int(fd), socketMode) }); err != nil {
		return err
	}
	return failed
}
