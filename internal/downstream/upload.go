package downstream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// replayLimit is the size up to which a body is read first and kept, so that
// the call can be made once more when the API rejects the token.
const replayLimit = 64 << 10

// bodyGrace is how long net/http may wait for a body that nobody reads. It reads
// the rest of one before it sends an answer.
const bodyGrace = 2 * time.Second

// Spare gives a request's body little time, which will perhaps not be read.
// Forward gives it more.
func Spare(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyGrace)) // not every writer can
}

// Refuse prepares w for an answer to r, whose body, if any, will not be read. A connection
// that the caller wants closed would be closed over what is still on its way, and
// the caller might lose the answer: it lingers.
func Refuse(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 {
		return
	}
	Spare(w)
	if r.Close {
		hangUp(w)
	}
}

// Upload is the body of a caller's request. Its errors are told from the transport's,
// and its time from the API's. At its end the trailers that were announced have come,
// and are passed on.
//
//	state    who reads it                      what follows
//	open     the transport, or our own handler whole, cut
//	whole    nobody: it came to its end        -
//	cut      nobody but Rest                   -
//
// Over HTTP/1.1 cutting it also ends a read that waits: the connection is closed after
// the answer. Over HTTP/2 a read that was ended would be the last of the body, so one
// that waits goes on where nobody waits for it.
type Upload struct {
	body    io.ReadCloser // up to the limit
	rest    io.Reader     // without one
	trailer http.Header   // of the caller's request
	answer  http.ResponseWriter
	http2   bool
	call    *exchange  // nil until it is forwarded
	reading sync.Mutex // held by each read

	mu    sync.Mutex // guards what follows
	state uploadState
}

type uploadState int

const (
	open uploadState = iota
	whole
	cut
)

// NewUpload returns the body of r, which is answered by w. More than limit bytes of it
// are an *http.MaxBytesError; 0 is for no limit.
func NewUpload(w http.ResponseWriter, r *http.Request, limit int64) *Upload {
	u := &Upload{body: r.Body, rest: r.Body, trailer: r.Trailer, answer: w, http2: r.ProtoMajor == 2}
	if limit > 0 {
		// Without the writer, which it would change while the answer is written to
		// it: the transport reads beside that.
		u.body = http.MaxBytesReader(nil, r.Body, limit)
	}
	return u
}

// keep reads a small body of known length, so that it can be sent twice. Others
// the transport reads, while it sends; so it does where trailers are announced, which
// come at the end of that.
func (u *Upload) keep(r *http.Request) error {
	if r.Body = u; r.ContentLength < 0 || r.ContentLength > replayLimit || len(r.Trailer) > 0 {
		return nil
	}
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(u, body); err != nil {
		return err
	}
	u.become(whole) // HTTP/2 says so with the next read only
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	r.Body, _ = r.GetBody()
	return nil
}

func (u *Upload) Read(p []byte) (int, error) {
	u.reading.Lock()
	defer u.reading.Unlock()
	if u.is(cut) {
		return 0, fmt.Errorf("%w: it was cut off", ErrBody)
	}
	if u.call != nil {
		u.call.limit.awaitBody(true)
		defer u.call.limit.awaitBody(false)
	}
	n, err := u.body.Read(p)
	switch {
	case err == io.EOF:
		u.become(whole)
		if u.call != nil {
			for name := range u.call.trailer {
				u.call.trailer[name] = u.trailer[name]
			}
			if _, bad := measure(u.call.trailer); bad != nil {
				err = fmt.Errorf("%w: trailers: %w", ErrBody, bad)
			}
		}
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrBody, err)
	}
	return n, err
}

// Close does nothing: what is left of the body is the server's.
func (u *Upload) Close() error { return nil }

// IsWhole reports whether nothing is left of u.
func (u *Upload) IsWhole() bool { return u.is(whole) }

func (u *Upload) is(state uploadState) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.state == state
}

// become moves u on from open, and reports whether it is in state then.
func (u *Upload) become(state uploadState) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.state == open {
		u.state = state
	}
	return u.state == state
}

// Rest reads what is left of u, when nobody else does any more. A read that waits
// comes first.
func (u *Upload) Rest() io.Reader { return rest{u} }

type rest struct{ *Upload }

func (r rest) Read(p []byte) (int, error) {
	r.reading.Lock()
	defer r.reading.Unlock()
	return r.rest.Read(p)
}

// cutOff ends a read of u, and each that begins, and reports whether it could: not
// every writer can. After a whole body net/http reads by itself, and would take the end
// of that for the caller's: the next request of the connection would be cancelled.
func (u *Upload) cutOff() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.state != open:
	case u.http2 && u.reading.TryLock():
		u.reading.Unlock() // no read waits, and the next finds it cut
		u.state = cut
	case http.NewResponseController(u.answer).SetReadDeadline(time.Now()) == nil:
		u.state = cut
	}
	return u.state == cut
}

// hangUp closes the connection behind the answer, unless u is whole. Where net/http
// leaves a body to its handler (EnableFullDuplex), it does not look whether it came
// to its end, and would take the rest for a request.
func (u *Upload) hangUp() {
	if !u.IsWhole() {
		hangUp(u.answer)
	}
}

// hangUp lets the answer be the last of an HTTP/1 connection, which lingers for a
// moment. This is the one way to tell net/http.
func hangUp(w http.ResponseWriter) {
	_, _ = http.MaxBytesReader(innermost(w), io.NopCloser(strings.NewReader("x")), 0).Read(make([]byte, 1)) // that is too much
}

// leave ends the reading of u before the handler does. Over HTTP/1.1 net/http would
// else wait for the rest for ever.
func (u *Upload) leave() {
	u.hangUp()
	if u.http2 {
		u.become(cut)
		return
	}
	if u.cutOff() {
		u.reading.Lock() // the last read has ended
		defer u.reading.Unlock()
	}
}

// uploads sends requests whose bodies are still on their way from the caller. Closing
// the answer to one ends the call first: else HTTP/2 would wait until more of the body
// has come, and the caller may hold it open for as long as it waits for the answer's
// end (RFC 9113, section 8.1: an answer may be complete before its request is).
type uploads struct{ http.RoundTripper }

func (t uploads) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil || r.GetBody != nil {
		return t.RoundTripper.RoundTrip(r)
	}
	ctx, cancel := context.WithCancel(r.Context())
	resp, err := t.RoundTripper.RoundTrip(r.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Body = &earlyAnswer{resp.Body, cancel}
	return resp, nil
}

// earlyAnswer is an answer that may come to its end before the upload does.
type earlyAnswer struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (a *earlyAnswer) Close() error {
	a.cancel()
	return a.ReadCloser.Close()
}
