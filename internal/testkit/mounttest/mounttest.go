// Package mounttest mounts a file for tests as Kubernetes mounts a secret.
package mounttest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Mount is a folder with one file: a link into the folder that the link ..data
// points at. Replacing the file makes a new folder and moves ..data to it.
type Mount struct {
	t       testing.TB
	folder  string
	version int
}

// New mounts a file with content until the test ends.
func New(t testing.TB, content string) *Mount {
	t.Helper()
	m := &Mount{t: t, folder: t.TempDir()}
	m.Replace(content)
	if err := os.Symlink(filepath.Join("..data", "credential"), m.Path()); err != nil {
		t.Fatal(err)
	}
	return m
}

// Path is the file's.
func (m *Mount) Path() string { return filepath.Join(m.folder, "credential") }

// Replace gives the file another content.
func (m *Mount) Replace(content string) {
	m.t.Helper()
	m.version++
	name := fmt.Sprintf("..version-%d", m.version)
	for _, err := range []error{
		os.Mkdir(filepath.Join(m.folder, name), 0o700),
		os.WriteFile(filepath.Join(m.folder, name, "credential"), []byte(content), 0o600),
		os.Symlink(name, filepath.Join(m.folder, "..new")),
		os.Rename(filepath.Join(m.folder, "..new"), filepath.Join(m.folder, "..data")),
	} {
		if err != nil {
			m.t.Fatal(err)
		}
	}
}
