package downstream

import (
	"io"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// A connection ends if sent data is not acknowledged, but not during an upload: a server
// that does not read for a while is not dead.
func TestUnacknowledgedDataEndsAConnection(t *testing.T) {
	conn, server := dialPair(t)
	want := func(when string, want int) {
		t.Helper()
		conn.mu.Lock() // the option is being changed
		defer conn.mu.Unlock()
		raw, err := conn.tcp.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var got int
		var failed error
		err = raw.Control(func(fd uintptr) { got, failed = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) })
		if err != nil || failed != nil || got != want {
			t.Errorf("%s: got %d ms %v %v, want %d", when, got, err, failed, want)
		}
	}
	write := func(to io.Writer, n int) {
		t.Helper()
		if _, err := to.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	const inTime = 10_000
	want("at first", inTime)
	write(conn, uploadThreshold)
	want("a request", inTime)
	write(conn, 1)
	want("an upload", 0)
	write(server, 1)
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	want("an answer", inTime)

	go func() { _, _ = conn.Write(make([]byte, 16<<20)) }() // more than the server's TCP takes
	for !conn.uploading.Load() {
		runtime.Gosched()
	}
	write(server, 1)
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	want("a server that sends and does not read", 0)
}
