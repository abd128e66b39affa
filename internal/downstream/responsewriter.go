package downstream

import (
	"maps"
	"net/http"
	"net/textproto"
	"strings"
)

// answerWriter is the caller's writer as ReverseProxy sees it. It keeps what an API
// sends apart from the caller's headers until an answer has come that may be passed
// on: where a call fails, nothing of the API's is in the answer that says so. An
// informational answer is passed on by itself.
type answerWriter struct {
	http.ResponseWriter
	call     *exchange
	client   *Client
	accepted bool          // the headers are those of an answer that is passed on
	informed http.Header   // where ReverseProxy puts those of an informational answer
	writing  chan struct{} // closed when an informational answer is written; nil before the first
}

// Header returns the caller's headers once an answer is accepted.
func (a *answerWriter) Header() http.Header {
	if a.accepted {
		return a.ResponseWriter.Header()
	}
	if a.informed == nil {
		a.informed = http.Header{}
	}
	return a.informed
}

// WriteHeader sends an answer's head: an informational one, until an answer is
// accepted.
func (a *answerWriter) WriteHeader(status int) {
	if a.accepted {
		a.ResponseWriter.WriteHeader(status)
		return
	}
	a.inform(status)
}

// Unwrap is for http.ResponseController.
func (a *answerWriter) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// accept lets an answer go to the caller.
func (a *answerWriter) accept() {
	a.settle()
	a.accepted = true
}

// settle waits until nothing is written beside the call.
func (a *answerWriter) settle() {
	if a.writing != nil {
		<-a.writing
	}
}

// inform passes an informational answer on (RFC 9110, section 15.2). The transport
// waits for it, and over HTTP/2 so do all calls to the API: a caller who reads slowly
// must not hold them up. So it is written beside the call, and one that comes before
// the last has left is dropped.
func (a *answerWriter) inform(status int) {
	if !a.mayInform(status) {
		return
	}
	if a.writing != nil {
		select {
		case <-a.writing:
		default:
			return
		}
	}
	header := a.informed.Clone() // ReverseProxy clears it
	stripHop(header)
	a.client.stripResponse(header)
	a.writing = make(chan struct{})
	go func() {
		defer close(a.writing)
		a.writeInformational(status, header)
	}()
}

// mayInform reports whether the caller can be sent an informational answer. 100 is
// between us and the API. HTTP/1.0 knows none. And where the caller waits for a 100 of
// ours, the reading of its body may send that at the same moment.
func (a *answerWriter) mayInform(status int) bool {
	r := a.call.in
	return status != http.StatusContinue && r.ProtoAtLeast(1, 1) && (r.ContentLength == 0 || r.Header["Expect"] == nil)
}

// writeInformational writes past Echo, which would take the answer for the final
// one, and leaves the caller's headers as they are.
func (a *answerWriter) writeInformational(status int, header http.Header) {
	h := a.ResponseWriter.Header()
	own := maps.Clone(h)
	clear(h)
	maps.Copy(h, header)
	innermost(a.ResponseWriter).WriteHeader(status)
	clear(h)
	maps.Copy(h, own)
}

// stripHop takes the headers of one hop out of an informational answer (RFC 9110,
// section 7.6.1). ReverseProxy does so for others.
func stripHop(h http.Header) {
	for _, list := range h["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			h.Del(textproto.TrimString(name))
		}
	}
	for _, name := range []string{"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		h.Del(name)
	}
}

type wrapper interface{ Unwrap() http.ResponseWriter }

// innermost returns the writer of net/http below w.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for inner, ok := w.(wrapper); ok; inner, ok = w.(wrapper) {
		w = inner.Unwrap()
	}
	return w
}
