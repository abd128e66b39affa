package listener

import "net/http"

// stackReserve is how much stack is reserved for a request, in bytes.
const stackReserve = 8 << 10

// protocolHandler does what a request needs because of its protocol.
//
// Over HTTP/2 it reserves stack: each request has a new goroutine with a small one, which would grow
// deep within the handler, where there are many frames to copy and to adjust: a tenth of the CPU of
// a forwarded call. Here there are few. And it sets deadlines late; see lateDeadline.
type protocolHandler struct{ http.Handler }

func (h protocolHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 2 {
		if r.Header["Upgrade"] != nil {
			defer handled(r.Context())
		}
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
