package webroot

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
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

const (
	// maxDigested is the size up to which a file's tag is a digest of its content.
	maxDigested = 64 << 20
	// maxDigests limits how many are remembered.
	maxDigests = 4096
	// settled is the age from which the time of the last change tells versions of a file
	// apart: file systems count in ticks of up to 2 s.
	settled = 2 * time.Second
)

// digest is the entity tag of a version of a file.
type digest struct {
	info fs.FileInfo
	tag  string
}

// digests are the tags of files that were served.
type digests struct {
	mu    sync.Mutex        // guards known
	known map[string]digest // by name
}

// tag returns the entity tag of f, or "". It is a digest of the content, and not of the
// time: replicas have files of different times, and reproducible builds give all versions
// the same one. A file that is being written gets a few attempts.
func (d *digests) tag(f *file) (tag string, err error) {
	if f.info.Size() > maxDigested {
		if hasNoTime(f.info) {
			return "", nil
		}
		return fmt.Sprintf(`"%x-%x"`, f.info.ModTime().UnixNano(), f.info.Size()), nil
	}
	if tag = d.find(f); tag != "" {
		return tag, nil
	}
	for range 3 {
		if tag, err = f.digest(); !errors.Is(err, ErrChanged) {
			break
		}
		if f.info, err = f.Stat(); err != nil {
			return "", err
		}
		err = ErrChanged
	}
	if err == nil {
		d.add(f, tag)
	}
	return tag, err
}

// digest reads the whole of f, and then begins again.
func (f *file) digest() (tag string, err error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, &content{file: f}); err != nil {
		return "", err
	}
	_, err = f.Seek(0, io.SeekStart)
	return `"` + base64.RawURLEncoding.EncodeToString(hash.Sum(nil)[:18]) + `"`, err
}

func (d *digests) find(f *file) (tag string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if known, ok := d.known[f.name]; ok && !isChanged(known.info, f.info) {
		return known.tag
	}
	return ""
}

// add remembers a tag, unless f is so new that its time may not tell it from the next version.
func (d *digests) add(f *file, tag string) {
	if age := time.Since(f.info.ModTime()); -settled < age && age < settled {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.known) >= maxDigests {
		clear(d.known)
	}
	d.known[f.name] = digest{f.info, tag}
}

// hasNoTime reports whether the time of the last change is one that builds make up, so that
// all versions of the file have it: reproducible ones use 1970 or, for ZIP, 1980.
func hasNoTime(info fs.FileInfo) bool { return info.ModTime().Year() <= 1980 }

// reply is what a request is answered with.
type reply struct {
	name     string // of the file, which decides its type
	file     *file  // what is sent: that file, or a compressed form of it
	encoding string // the form's name; "" for none
	vary     []string
}

// send sends p. It sets no header before it is certain that there will be an answer.
func (s *Site) send(w http.ResponseWriter, r *http.Request, p reply) error {
	tag, err := s.digests.tag(p.file)
	if err != nil {
		return err
	}
	s.setHeaders(w.Header(), p, tag)
	modified := p.file.info.ModTime()
	if hasNoTime(p.file.info) {
		modified = time.Time{}
	}
	if strings.Count(strings.Join(r.Header["Range"], ","), ",") >= maxRanges {
		r.Header.Del("Range") // a server may ignore it (RFC 9110, section 14.2)
	}
	body, out := &content{file: p.file}, &writer{ResponseWriter: w, size: p.file.info.Size()}
	http.ServeContent(out, r, p.name, modified, body)
	if body.changed.Load() {
		return ErrChanged
	}
	return out.err
}

// maxRanges is how many parts of a file are sent at once.
const maxRanges = 10

// writer is what ServeContent writes to.
type writer struct {
	http.ResponseWriter
	size     int64 // of the whole file
	bodiless bool
	err      error // of the first Write that failed
}

// WriteHeader adds the length, which ServeContent leaves out if there is an encoding, and
// removes the text of its errors.
func (w *writer) WriteHeader(status int) {
	h := w.Header()
	switch {
	case status == http.StatusOK:
		h.Set("Content-Length", strconv.FormatInt(w.size, 10))
	case status >= 400: // 412 and 416
		w.bodiless = true
		for _, name := range []string{"Content-Type", "Content-Encoding", "ETag", "Last-Modified"} {
			h.Del(name)
		}
		h.Set("Content-Length", "0")
		h.Set("Cache-Control", "no-store")
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	if w.bodiless {
		return len(p), nil
	}
	n, err := w.ResponseWriter.Write(p)
	if err != nil && w.err == nil {
		w.err = err
	}
	return n, err
}
