package downstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// ErrBody says that the caller's body was malformed or broke off.
var ErrBody = errors.New("the request body could not be read")

// replayLimit is the size up to which a body is read first and kept, so that
// the call can be made once more when the API rejects the token.
const replayLimit = 64 << 10

// keepBody reads a small body of known length, so that it can be sent twice. It
// marks errors of other bodies, which the transport meets while it sends.
func keepBody(x *exchange, r *http.Request) error {
	if r.ContentLength == 0 {
		return nil
	}
	marked := &markedBody{r.Body, x, r.Trailer}
	if r.Body = marked; r.ContentLength < 0 || r.ContentLength > replayLimit {
		return nil
	}
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(marked, body); err != nil {
		return err
	}
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	r.Body, _ = r.GetBody()
	return nil
}

// markedBody is a caller's body whose errors are told from the transport's, and
// whose time from the API's. At its end the trailers that were announced have
// come, and are passed on.
type markedBody struct {
	io.ReadCloser
	call    *exchange
	trailer http.Header // of the caller's request
}

func (b *markedBody) Read(p []byte) (int, error) {
	b.call.limit.awaitBody(true)
	n, err := b.ReadCloser.Read(p)
	b.call.limit.awaitBody(false)
	switch {
	case err == io.EOF:
		for name := range b.call.trailer {
			b.call.trailer[name] = b.trailer[name]
		}
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrBody, err)
	}
	return n, err
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
