package listener

import "net/http"

// stackReserve is how much stack is reserved for a request, in bytes.
const stackReserve = 8 << 10

// roomyStack reserves stack for a handler over HTTP/2, where each request has a new goroutine
// with a small stack. It would grow deep within the handler, where there are many frames to
// copy and to adjust: a tenth of the CPU of a forwarded call. Here there are few.
type roomyStack struct{ http.Handler }

func (h roomyStack) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 2 {
		reserveStack(len(r.Method))
	}
	h.Handler.ServeHTTP(w, r)
}

// reserveStack lets the stack grow to hold a frame of stackReserve. The index is unknown to
// the compiler, which would leave the array out otherwise.
//
//go:noinline
func reserveStack(i int) byte {
	var reserve [stackReserve]byte
	return reserve[i%stackReserve]
}
