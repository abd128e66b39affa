package downstream

import (
	"maps"
	"net/http"
	"net/textproto"
	"strings"
)

// responseWriter is the caller's writer as ReverseProxy sees it. Until a response is
// accepted, the API's headers stay out of the caller's: if the call fails, the error
// response has none of them. An informational response is passed on by itself.
type responseWriter struct {
	http.ResponseWriter
	call          *call
	client        *Client
	accepted      bool          // ReverseProxy writes the headers of the final response
	informational http.Header   // where ReverseProxy puts those of an informational one
	writing       chan struct{} // closed when an informational response is written; nil before the first
}

// Header returns the caller's headers once a response is accepted.
func (w *responseWriter) Header() http.Header {
	if w.accepted {
		return w.ResponseWriter.Header()
	}
	if w.informational == nil {
		w.informational = http.Header{}
	}
	return w.informational
}

// WriteHeader sends the status and headers of a response, which is an informational one
// until a response is accepted.
func (w *responseWriter) WriteHeader(status int) {
	if w.accepted {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.passInformational(status)
}

// Unwrap is for http.ResponseController.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// accept lets the final response pass to the caller.
func (w *responseWriter) accept() {
	w.waitInformational()
	w.accepted = true
}

// waitInformational waits until no informational response is being written.
func (w *responseWriter) waitInformational() {
	if w.writing != nil {
		<-w.writing
	}
}

// passInformational passes an informational response on (RFC 9110, section 15.2). The
// transport waits for it, and over HTTP/2 all calls to the API wait too: a caller that
// reads slowly must not block them. So it is written in another goroutine, and one that
// arrives before the last is written is dropped.
func (w *responseWriter) passInformational(status int) {
	if !w.canSendInformational(status) {
		return
	}
	if w.writing != nil {
		select {
		case <-w.writing:
		default:
			return
		}
	}
	header := w.informational.Clone() // ReverseProxy clears it
	stripHopByHop(header)
	w.client.stripResponse(header)
	w.writing = make(chan struct{})
	go func() {
		defer close(w.writing)
		w.writeInformational(status, header)
	}()
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
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// stripHopByHop removes the headers of one connection from an informational response.
// ReverseProxy does so for final responses.
func stripHopByHop(h http.Header) {
	for _, list := range h["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			h.Del(textproto.TrimString(name))
		}
	}
	for _, name := range hopByHop {
		h.Del(name)
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
