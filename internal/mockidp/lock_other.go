//go:build !unix

package mockidp

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// lockPath creates the file, which is there until it is closed. A process that is killed
// leaves it.
func lockPath(path string) (io.Closer, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("another process uses %s; if none does, remove %s", filepath.Dir(path), path)
	}
	if err != nil {
		return nil, err
	}
	return removed{file}, nil
}

// removed is a file that goes when it is closed.
type removed struct{ *os.File }

func (r removed) Close() error { return errors.Join(r.File.Close(), os.Remove(r.Name())) }
