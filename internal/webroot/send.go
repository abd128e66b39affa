package webroot

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

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
