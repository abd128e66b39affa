//go:build !linux

package downstream

import (
	"net"
	"time"
)

// isQueueEmpty is not needed without a user timeout.
func isQueueEmpty(*net.TCPConn) bool { return true }

// setUserTimeout does nothing: the default of the system stays.
func setUserTimeout(*net.TCPConn, time.Duration) {}
