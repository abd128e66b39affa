//go:build unix

package webroot_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"middletier/internal/webroot"
)

// To open a pipe would wait for somebody who writes to it.
func TestSpecialFilesAreNotServed(t *testing.T) {
	t.Parallel()
	folder, err := os.MkdirTemp("", "webroot") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	if err := syscall.Mkfifo(filepath.Join(folder, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(folder, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Mkdir(filepath.Join(folder, "index.html"), 0o700); err != nil {
		t.Fatal(err)
	}
	site := newSite(folder)
	for _, path := range []string{"/pipe", "/socket", "/", "/index.html"} {
		if w, err := get(site, path); !errors.Is(err, webroot.ErrNotFound) {
			t.Errorf("GET %s: got %d, %v; want not found", path, w.Code, err)
		}
	}
}
