package listener_test

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"middletier/internal/listener"
)

// socketPath is short: a socket's path may have about 100 bytes.
func socketPath(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "mt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) }) // at worst, an empty folder stays
	return filepath.Join(folder, "s")
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := listener.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // a test may have closed it
	return l
}

func TestUnixSocketIsForOwnerAndGroup(t *testing.T) {
	path := socketPath(t)
	l := listen(t, "unix:"+path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode(); runtime.GOOS != "windows" && got != fs.ModeSocket|0o660 {
		t.Errorf("mode: got %v, want a socket with 0660", got)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close() // it has served
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("after Close: got %v, want no socket", err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := socketPath(t)
	killed, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	killed.SetUnlinkOnClose(false) // as if the process had been killed
	if err := killed.Close(); err != nil {
		t.Fatal(err)
	}
	listen(t, "unix:"+path)
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the new socket: %v", err)
	}
	_ = conn.Close() // it has served
}

func TestSocketInUseIsAnError(t *testing.T) {
	path := socketPath(t)
	listen(t, "unix:"+path)
	if _, err := listener.Listen("unix:" + path); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v, want that the socket is in use", err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the first listener does not serve any more: %v", err)
	}
	_ = conn.Close() // it has served
}

func TestFileAtTheSocketsPathStays(t *testing.T) {
	path := socketPath(t)
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listener.Listen("unix:" + path); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("got %v, want that it is not a socket", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "mine" {
		t.Errorf("the file: got %q, %v, want mine", got, err)
	}
}

func TestListenOnTCP(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close() // it has served
}
