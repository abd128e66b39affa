package webroot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
)

// ErrChanged says that a file was written to while it was sent. What was sent is a part of
// its content before that.
var ErrChanged = errors.New("the file changed while it was sent")

// errFolder says that a name is a folder's.
var errFolder = fmt.Errorf("%w: it is a folder", ErrNotFound)

// file is a regular file, open for reading.
type file struct {
	*os.File
	name string // below the root
	info fs.FileInfo
}

func (f *file) close() { _ = f.Close() } // it was only read

// open opens a regular file. Others, such as pipes and devices, are not opened: that alone
// may block, or have an effect. Links are followed inside the root only. The error is
// ErrNotFound, unless the system has a fault.
func open(root *os.Root, name string) (*file, error) {
	info, err := root.Stat(name)
	switch {
	case err != nil:
		return nil, notFound(err)
	case info.IsDir():
		return nil, errFolder
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%w: it is not a regular file", ErrNotFound)
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe may have taken its place
	if err != nil {
		return nil, notFound(err)
	}
	if info, err = f.Stat(); err != nil || !info.Mode().IsRegular() {
		_ = f.Close()
		return nil, ErrNotFound
	}
	return &file{f, name, info}, nil
}

// notFound makes err an ErrNotFound, unless it is a fault of the system.
func notFound(err error) error {
	for _, fault := range []error{syscall.EIO, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(err, fault) {
			return err
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	return fmt.Errorf("%w: %w", ErrNotFound, err)
}

// isChanged reports whether a file is not the one that it was, or was written to.
func isChanged(before, after fs.FileInfo) bool {
	return before.Size() != after.Size() || !before.ModTime().Equal(after.ModTime()) || !os.SameFile(before, after)
}

// content reads a file until it changes. What it has read before is of one version of the
// file, except for changes within the resolution of the file system's clock.
type content struct {
	file    *file
	changed atomic.Bool // ServeContent reads several ranges in another goroutine
}

func (c *content) Read(p []byte) (int, error) {
	n, err := c.file.Read(p)
	info, statErr := c.file.Stat()
	if statErr != nil {
		return 0, statErr
	}
	if isChanged(c.file.info, info) {
		c.changed.Store(true)
		return 0, ErrChanged
	}
	return n, err
}

func (c *content) Seek(offset int64, whence int) (int64, error) {
	return c.file.Seek(offset, whence)
}
