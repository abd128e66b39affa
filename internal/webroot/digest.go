package webroot

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"
)

const (
	// maxDigested is the size up to which a file's tag is a digest of its content.
	maxDigested = 64 << 20
	// maxDigests limits how many are remembered.
	maxDigests = 4096
	// maxAttempts is how often a file that is being written is read, before the request fails.
	maxAttempts = 3
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
// the same one. A file that changes meanwhile is read again, and f.info with it.
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
	for range maxAttempts {
		tag, err = f.digest()
		if err == nil {
			d.add(f, tag)
		}
		if !errors.Is(err, ErrChanged) {
			return tag, err
		}
		info, statErr := f.Stat()
		if statErr != nil {
			return "", statErr
		}
		f.info = info
	}
	return "", err
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
