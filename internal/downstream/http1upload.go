package downstream

import (
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// uploadEndTimeout is how long the end of an upload may come after the response's, before the
// connection is given up. http.Transport waits as long.
const uploadEndTimeout = 50 * time.Millisecond

// canUpload reports whether r may be sent by http1Pool.upload: its body has a known length, and is
// read from the caller meanwhile or can be recorded whole, and it needs nothing that only
// http.Transport has.
func (t *Transport) canUpload(r *http.Request) bool {
	return r.URL.Scheme == "http" && r.ContentLength > 0 && r.Body != nil && r.Body != http.NoBody &&
		(r.GetBody == nil || r.ContentLength <= recordLimitHTTP1) && r.Header["Expect"] == nil && t.canPool(r)
}

// upload sends r, which t can upload. ok is false if only http.Transport can send it; nothing has
// been read or sent then.
func (p *http1Pool) upload(t *Transport, r *http.Request) (resp *http.Response, err error, ok bool) {
	buffer := requestBuffers.Get().(*[]byte)
	defer requestBuffers.Put(buffer)
	head, ok := appendRequest((*buffer)[:0], r)
	if !ok {
		return nil, nil, false
	}
	*buffer = head
	r = r.WithContext(r.Context()) // a copy, whose body is recorded
	rec := recordBody(r, recordLimitHTTP1)
	rec.direct = true
	resp, err = p.send(t, r, head, rec)
	rec.finish(err != nil)
	return resp, causeOr(r, err), true
}

// sender sends the body of one attempt of an upload. It has a goroutine, since an API may respond before
// it has read all, and read no more. http.Transport has two for a connection, beside those that read.
type sender struct {
	conn  *http1Conn
	body  *replay
	ended chan struct{} // closed when nothing more is sent
	err   error         // why not all was sent: known when ended is closed
}

// send sends the body, which has this length. If it cannot be read, the connection is closed, so that
// nobody waits for a response.
func (s *sender) send(length int64) {
	s.err = s.sendAll(length)
	_ = s.body.Close() // its source is closed by record.finish
	close(s.ended)     // before the connection, which ends the reading of the response
	switch s.err.(type) {
	case nil:
	case bodyError:
		_ = s.conn.Close() // it may be closed already
	default:
		s.conn.awaitLastResponse()
	}
}

// sendAll sends the body, and reads it to its end.
func (s *sender) sendAll(left int64) error {
	for left > 0 {
		part, err := s.body.lend(left)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return ofBody(err)
		}
		n, err := s.conn.Write(part)
		s.body.giveBack(n)
		if err != nil {
			return err
		}
		left -= int64(n)
	}
	return ofBody(s.body.awaitEnd())
}

// bodyError is why a body could not be read.
type bodyError struct{ error }

func (e bodyError) Unwrap() error { return e.error }

// ofBody marks an error of the body, unless it only says that no more of it is wanted.
func ofBody(err error) error {
	if err == nil || err == errReplayClosed {
		return err
	}
	return bodyError{err}
}

// explain returns why there is no response, where reading it failed with err: the body could not be
// read, or the API took no more of it.
func (s *sender) explain(err error) error {
	select {
	case <-s.ended:
	default:
		return err
	}
	if _, ok := s.err.(bodyError); ok {
		return s.err
	}
	if errors.Is(s.err, net.ErrClosed) {
		return err // because of which the connection was closed
	}
	return errors.Join(err, s.err)
}

// isComplete reports whether the whole body is sent. The API may respond before the sender notes it.
func (s *sender) isComplete() bool {
	select {
	case <-s.ended:
		return s.err == nil
	case <-time.After(uploadEndTimeout):
		return false
	}
}
