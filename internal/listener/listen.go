package listener

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	// socketMode lets the owner and the group of a Unix socket connect.
	socketMode = 0o660

	// dialTimeout is how long a process at an existing Unix socket may take to accept.
	dialTimeout = time.Second
)

// UnixPath returns the path of an address of the form unix:/path, and whether address
// has that form.
func UnixPath(address string) (path string, ok bool) {
	path, ok = strings.CutPrefix(address, "unix:")
	return path, ok && strings.HasPrefix(path, "/")
}

// Listen listens at HOST:PORT or unix:/path. The socket of a process that has ended is
// replaced; anything else at the path is an error. Close removes the socket.
func Listen(address string) (net.Listener, error) {
	path, ok := UnixPath(address)
	if !ok {
		return net.Listen("tcp", address)
	}
	l, err := listenUnix(path)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	return listenUnix(path)
}

func listenUnix(path string) (net.Listener, error) {
	l, err := (&net.ListenConfig{Control: limitSocket}).Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	// Linux applies the umask to what limitSocket sets, and others ignore that.
	if err := os.Chmod(path, socketMode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// removeStale removes the socket at path if no process listens there.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists, and is not a socket", path)
	}
	conn, err := net.DialTimeout("unix", path, dialTimeout)
	if err == nil {
		return errors.Join(fmt.Errorf("%s is in use: another process listens there", path), conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s exists, and may be in use: %w", path, err)
	}
	return os.Remove(path)
}
