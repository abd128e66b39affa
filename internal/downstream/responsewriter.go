package downstream

import (
	"maps"
	"net/http"
	"net/textproto"
	"strings"
	"sync"
)

// responseWriter is the caller's writer. Until the final response arrives, the API's
// headers stay out of the caller's: if the call fails, the error response has none of them.
type responseWriter struct {
	http.ResponseWriter
	call   *call
	client *Client

	mu      sync.Mutex     // guards what follows, and the writer while a body is copied
	final   bool           // no informational response is passed on any more
	waiting *informational // waits while another is written; nil: none waits
	written chan struct{}  // closed when the goroutine that writes them ends; nil: none does, or it only ends
	unsent  bool           // headers or a part of the body wait, in the writer or in held
	held    []byte         // a short part that waits, in the buffer of copyThrough; nil: none, or it was sent
}

// endInformational ends the passing on of informational responses: from now on their
// writing does not use the caller's headers.
func (w *responseWriter) endInformational() {
	w.mu.Lock()
	w.final = true
	written := w.written
	w.mu.Unlock()
	if written != nil {
		<-written
	}
}

// informational is an informational response.
type informational struct {
	status int
	header http.Header
}

// passInformational passes an informational response on (RFC 9110, section 15.2). The
// transport waits for it, and over HTTP/2 all calls to the API wait too: a caller that
// reads slowly must not block them. So it is written in another goroutine. While one is
// written, the newest of the others waits, and those before it are dropped. It is never an
// error.
func (w *responseWriter) passInformational(status int, header textproto.MIMEHeader) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.final || !w.canSendInformational(status) {
		return nil
	}
	h := http.Header(header).Clone()
	stripHopByHop(h)
	w.client.stripResponse(h)
	resp := &informational{status, h}
	if w.written != nil {
		w.waiting = resp
		return nil
	}
	written := make(chan struct{})
	w.written = written
	go func() {
		defer close(written)
		for ; resp != nil; resp = w.takeWaiting() {
			w.writeInformational(resp.status, resp.header)
		}
	}()
	return nil
}

// takeWaiting returns the informational response to write next, or nil. After nil, the goroutine
// must not write any more: the next response starts another one.
func (w *responseWriter) takeWaiting() *informational {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting == nil || w.final {
		w.written = nil
		return nil
	}
	resp := w.waiting
	w.waiting = nil
	return resp
}

// canSendInformational reports whether the caller can get an informational response. 100
// is between this service and the API. 101 does not exist in HTTP/2 (RFC 9113, section 8.6),
// and net/http's server would take it for the final response. HTTP/1.0 has none. And if the
// caller expects a 100 from this service, reading its body may send that at the same moment.
func (w *responseWriter) canSendInformational(status int) bool {
	r := w.call.in
	return status != http.StatusContinue && status != http.StatusSwitchingProtocols &&
		r.ProtoAtLeast(1, 1) && (r.ContentLength == 0 || r.Header["Expect"] == nil)
}

// writeInformational bypasses Echo, which would take the response for the final one, and
// restores the caller's headers.
func (w *responseWriter) writeInformational(status int, header http.Header) {
	h := w.ResponseWriter.Header()
	saved := maps.Clone(h)
	clear(h)
	maps.Copy(h, header)
	innermost(w.ResponseWriter).WriteHeader(status)
	clear(h)
	maps.Copy(h, saved)
}

// hopByHop are the headers of one connection (RFC 9110, section 7.6.1).
var hopByHop = [...]string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// stripHopByHop removes the headers of one connection.
func stripHopByHop(h http.Header) {
	for _, list := range h["Connection"] {
		deleteListed(h, list)
	}
	for _, name := range hopByHop {
		delete(h, name)
	}
}

// deleteListed removes the headers that a Connection header names.
func deleteListed(h http.Header, list string) {
	for name := range strings.SplitSeq(list, ",") {
		h.Del(textproto.TrimString(name))
	}
}

type unwrapper interface{ Unwrap() http.ResponseWriter }

// innermost returns the writer of net/http below w.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for inner, ok := w.(unwrapper); ok; inner, ok = w.(unwrapper) {
		w = inner.Unwrap()
	}
	return w
}
