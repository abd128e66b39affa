package downstream

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
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

// copyBody copies the body of a response.
func (w *responseWriter) copyBody(resp *http.Response) error {
	buffer := takeBuffer(bufferSize(resp.ContentLength))
	defer giveBuffer(buffer)
	return w.copyThrough(buffer, resp)
}

// minPart is the size below which a part of a body of known length waits for the next one. net/http
// reads up to 4 KiB of a response with its headers, and that part would take a write of its own.
const minPart = 4 << 10

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

	held := 0 // bytes at the beginning of buffer that addPart holds
	for {
		n, err := resp.Body.Read(buffer[held:])
		heldNow, waits, writeErr := w.addPart(buffer[:held+n], held, err == nil, patience == 0)
		if writeErr != nil {
			return writeErr
		}
		if held = heldNow; waits && err == nil {
			w.call.deadline.wakeIn(patience)
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// addPart writes a part of the body, or holds it while more follows. The first bytes of part, so many
// as held says, were held before; flushLate may have sent them since. It returns how many bytes are
// held now, which must not change until the next call, and reports whether something waits for being
// sent, and is the first that does.
func (w *responseWriter) addPart(part []byte, held int, more, atOnce bool) (heldNow int, waits bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	waits = !w.unsent && !atOnce
	switch sentLate := held > 0 && w.held == nil; {
	case sentLate:
		part = part[held:]
	case more && !atOnce && len(part) < minPart:
		w.held, w.unsent = part, true
		return len(part), waits, nil
	}
	w.held = nil
	if len(part) == 0 {
		return 0, false, nil
	}
	if _, err := w.Write(part); err != nil { // a short write has an error too
		return 0, false, err
	}
	if w.unsent = !atOnce; atOnce {
		_ = w.flush() // the next write fails too
	}
	return 0, waits, nil
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
		if w.held != nil {
			_, _ = w.Write(w.held) // the next write fails too
			w.held = nil
		}
		_ = w.flush() // as above
	}
}

// flush sends what the caller's writer holds.
func (w *responseWriter) flush() error { return http.NewResponseController(w.ResponseWriter).Flush() }
