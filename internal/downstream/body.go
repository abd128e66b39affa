package downstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// ErrBody says that the caller's body was malformed or broke off.
var ErrBody = errors.New("the request body could not be read")

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

// callersBody is the body of a caller's request. Its errors are told from the
// transport's, and its time from the API's. At its end the trailers that were
// announced have come, and are passed on.
type callersBody struct {
	io.ReadCloser
	call    *exchange
	trailer http.Header // of the caller's request
	answer  http.ResponseWriter
	reading sync.Mutex // held by each read

	mu    sync.Mutex // guards what follows
	whole bool       // it was read to its end before it was cut off
	cut   bool       // off
}

// keep reads a small body of known length, so that it can be sent twice. Others
// the transport reads, while it sends.
func (b *callersBody) keep(r *http.Request) error {
	if r.Body = b; r.ContentLength < 0 || r.ContentLength > replayLimit {
		return nil
	}
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(b, body); err != nil {
		return err
	}
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	r.Body, _ = r.GetBody()
	return nil
}

func (b *callersBody) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	b.call.limit.awaitBody(true)
	n, err := b.ReadCloser.Read(p)
	b.call.limit.awaitBody(false)
	switch {
	case err == io.EOF:
		b.mu.Lock()
		b.whole = !b.cut
		b.mu.Unlock()
		for name := range b.call.trailer {
			b.call.trailer[name] = b.trailer[name]
		}
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrBody, err)
	}
	return n, err
}

// isWhole reports whether nothing is left of b.
func (b *callersBody) isWhole() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.whole
}

// cutOff ends a read of b, and each that begins, and reports whether it could: not
// every writer can. Behind a whole body net/http reads by itself, and would take
// the end of that for the caller's: the next request of the connection would be
// cancelled.
func (b *callersBody) cutOff() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.whole && !b.cut {
		b.cut = http.NewResponseController(b.answer).SetReadDeadline(time.Now()) == nil
	}
	return b.cut
}

// hangUp closes the connection behind the answer, unless b is whole. Where net/http
// leaves a body to its handler (EnableFullDuplex), it does not look whether it came
// to its end, and would take the rest for a request.
func (b *callersBody) hangUp() {
	if !b.isWhole() {
		hangUp(b.answer)
	}
}

// hangUp lets the answer be the last of an HTTP/1 connection, which lingers for a
// moment. This is the one way to tell net/http.
func hangUp(w http.ResponseWriter) {
	for inner, ok := w.(wrapper); ok; inner, ok = w.(wrapper) {
		w = inner.Unwrap()
	}
	_, _ = http.MaxBytesReader(w, io.NopCloser(strings.NewReader("x")), 0).Read(make([]byte, 1)) // that is too much
}

type wrapper interface{ Unwrap() http.ResponseWriter }

// leave ends the reading of b before the handler does: behind that net/http would
// wait for the rest for ever.
func (b *callersBody) leave() {
	b.hangUp()
	if b.cutOff() {
		b.reading.Lock() // the last read has ended
		defer b.reading.Unlock()
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

// notedBody is an API's answer that tells when it breaks off. One that ends
// because the caller left did not break. At its end all trailers have come.
type notedBody struct {
	io.ReadCloser
	call   *exchange
	client *Client
	answer *http.Response
}

func (b *notedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == io.EOF:
		b.client.stripTrailer(b.answer.Trailer)
	case err != nil && b.call.Broken != nil:
		if cause := context.Cause(b.call); cause == nil || errors.Is(cause, errTimeout) {
			b.call.Broken(err)
		}
	}
	return n, err
}

// buffers are shared by all copies of bodies.
type buffers struct{}

var bufferPool = sync.Pool{New: func() any { return new([32 << 10]byte) }}

func (buffers) Get() []byte  { return bufferPool.Get().(*[32 << 10]byte)[:] }
func (buffers) Put(b []byte) { bufferPool.Put((*[32 << 10]byte)(b)) }
