package downstream

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// send sends the API's final response to the caller. If the body cannot be copied to its
// end, it panics with http.ErrAbortHandler.
func (w *responseWriter) send(resp *http.Response) {
	h := w.Header()
	addHeaders(h, resp.Header)
	announced := len(resp.Trailer)
	if announced > 0 {
		h.Add("Trailer", strings.Join(slices.Collect(maps.Keys(resp.Trailer)), ", "))
	}
	w.WriteHeader(resp.StatusCode)
	err := w.copyBody(resp)
	_ = resp.Body.Close() // what matters of it has been read
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if len(resp.Trailer) > 0 {
		_ = w.flush() // the headers, so that net/http does not give a short body a length
	}
	if len(resp.Trailer) == announced {
		addHeaders(h, resp.Trailer)
		return
	}
	for name, values := range resp.Trailer {
		h[http.TrailerPrefix+name] = values
	}
}

// addHeaders adds the headers of an API's response to those of the caller's.
func addHeaders(to, from http.Header) {
	for name, values := range from {
		if len(to[name]) > 0 {
			values = append(slices.Clip(to[name]), values...)
		}
		to[name] = values
	}
}

// largeChunk is a buffer for a body that is longer than a chunk, but no stream: larger parts
// cost less there, and more in a long body, where they leave the processor's caches.
type largeChunk = [2 * len(chunk{})]byte

var largeBufferPool = sync.Pool{New: func() any { return new(largeChunk) }}

// copyBody copies the body of a response.
func (w *responseWriter) copyBody(resp *http.Response) error {
	if length := resp.ContentLength; length > int64(len(chunk{})) && length < streamThreshold {
		buffer := largeBufferPool.Get().(*largeChunk)
		defer largeBufferPool.Put(buffer)
		return w.copyThrough(buffer[:], resp)
	}
	buffer := bufferPool.Get().(*chunk)
	defer bufferPool.Put(buffer)
	return w.copyThrough(buffer[:], resp)
}

// copyThrough copies the body of a response through a buffer. Every part of a stream or of a
// body of unknown length is sent at once. Others wait for flushInterval at most.
func (w *responseWriter) copyThrough(buffer []byte, resp *http.Response) error {
	patience := flushInterval
	if resp.ContentLength < 0 || isEventStream(resp.Header) {
		patience = 0
	}
	defer w.setUnsent(false)
	w.setUnsent(true) // the headers
	w.call.deadline.wakeIn(patience)

	for rest := resp.ContentLength; ; {
		n, err := resp.Body.Read(buffer)
		rest -= int64(n)
		if n > 0 {
			waits, err := w.writePart(buffer[:n], patience == 0)
			if err != nil {
				return err
			}
			if waits && rest > 0 {
				w.call.deadline.wakeIn(patience)
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// writePart writes a part of the body, and reports whether it waits for being sent, and is
// the first one that does.
func (w *responseWriter) writePart(part []byte, atOnce bool) (waits bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.Write(part); err != nil { // a short write has an error too
		return false, err
	}
	if atOnce {
		w.unsent = false
		_ = w.flush() // the next write fails too
		return false, nil
	}
	waits = !w.unsent
	w.unsent = true
	return waits, nil
}

func (w *responseWriter) setUnsent(unsent bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unsent = unsent
}

// flushLate sends what has waited for the rest of the response.
func (w *responseWriter) flushLate() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unsent {
		w.unsent = false
		_ = w.flush() // the next write fails too
	}
}

// flush sends what the caller's writer holds.
func (w *responseWriter) flush() error { return http.NewResponseController(w.ResponseWriter).Flush() }
