//go:build !linux

package downstream

import (
	"net"
	"time"
)

// setUserTimeout does nothing: the default of the system stays.
func setUserTimeout(*net.TCPConn, time.Duration) {}
