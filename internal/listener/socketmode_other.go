//go:build !linux

package listener

import "syscall"

// limitSocket does nothing: the mode of a socket cannot be set before it is bound.
func limitSocket(_, _ string, _ syscall.RawConn) error { return nil }
