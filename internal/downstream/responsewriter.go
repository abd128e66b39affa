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

	mu      sync.Mutex    // guards what follows, and the writer while a body is copied
	final   bool          // no informational response is passed on any more
	writing chan struct{} // closed when an informational response is written; nil before the first
	unsent  bool          // headers or a part of the body wait, in the writer or in held
	held    []byte        // a short part that waits, in the buffer of copyThrough; nil: none, or it was sent
}

// endInformational ends the passing on of informational responses: from now on their
// writing does not use the caller's headers.
func (w *responseWriter) endInformational() {
	w.mu.Lock()
	w.final = true
	writing := w.writing
	w.mu.Unlock()
	if writing != nil {
		<-writing
	}
}

// passInformational passes an informational response on (RFC 9110, section 15.2). The
// transport waits for it, and over HTTP/2 all calls to the API wait too: a caller that
// reads slowly must not block them. So it is written in another goroutine, and one that
// arrives before the last is written is dropped. It is never an error.
func (w *responseWriter) passInformational(status int, header textproto.MIMEHeader) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.final || !w.canSendInformational(status) {
		return nil
	}
	if w.writing != nil {
		select {
		case <-w.writing:
		default:
			return nil
		}
	}
	h := http.Header(header).Clone()
	stripHopByHop(h)
	w.client.stripResponse(h)
	writing := make(chan struct{})
	w.writing = writing
	go func() {
		defer close(writing)
		w.writeInformational(status, h)
	}()
	return nil
}

// canSendInformational reports whether the caller can get an informational response. 100
// is between this service and the API. HTTP/1.0 has none. And if the caller expects a 100
// from this service, reading its body may send that at the same moment.
func (w *responseWriter) canSendInformational(status int) bool {
	r := w.call.in
	return status != http.StatusContinue && r.ProtoAtLeast(1, 1) && (r.ContentLength == 0 || r.Header["Expect"] == nil)
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
