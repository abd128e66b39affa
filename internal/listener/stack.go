package listener

import "net/http"

// stackReserve is how much stack is reserved for a request, in bytes.
const stackReserve = 8 << 10

// http2Handler makes requests over HTTP/2 cheaper.
//
// It reserves stack: each request has a new goroutine with a small one, which would grow deep
// within the handler, where there are many frames to copy and to adjust: a tenth of the CPU of
// a forwarded call. Here there are few. And it sets deadlines late; see lateDeadline.
type http2Handler struct{ http.Handler }

func (h http2Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 2 {
		h.Handler.ServeHTTP(w, r)
		return
	}
	reserveStack(len(r.Method))
	late := &lateDeadline{ResponseWriter: w}
	h.Handler.ServeHTTP(late, r)
	late.setBlocking(true) // net/http sends what it holds back
}

// reserveStack lets the stack grow to hold a frame of stackReserve. n is never negative, which
// the compiler does not know: the array belongs to the frame, but is not cleared.
//
//go:noinline
func reserveStack(n int) byte {
	if n >= 0 {
		return 0
	}
	var reserve [stackReserve]byte
	return reserve[-n%stackReserve]
}
