package downstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// prefetchLimit is the size up to which a body of known length is read before the
	// call is sent, so that it can be sent a second time when the API rejects the token.
	prefetchLimit = 64 << 10

	// InspectLimit is the size of the largest body that Call.Inspect decides on, in bytes.
	InspectLimit = prefetchLimit

	// unreadBodyTimeout is how long net/http may wait for the rest of a body that no
	// handler reads: it reads that rest before it sends a response.
	unreadBodyTimeout = 2 * time.Second
)

// Upload is the body of a caller's request, from the listener to the API. It marks its
// errors with ErrBody, so that they differ from the transport's, and stops the API's
// timeout while the API waits for the caller.
//
//	state     Read returns      cutOff            finish
//	open      caller's bytes    cut               cut; the connection closes after the response
//	complete  io.EOF            stays complete    the connection stays open
//	cut       ErrBody           stays cut         the connection closes after the response
//
// An open Upload becomes complete when Read reaches the end of the body; by then the
// trailers have arrived, and they are passed on. cutOff is called when the call's time
// is over; it sets the read deadline to now, which ends a Read that waits. finish is
// called at the end of the call. Over HTTP/1.1 it does the same. Over HTTP/2 an
// interrupted read is the last one of its stream, and package linger could not read the
// rest: so a Read that waits there goes on after finish, and Rest comes after it.
//
// The read deadline of the connection is set in setReadDeadline only:
//
//	until the call is forwarded   unreadBodyTimeout, by ShortenReadDeadline
//	in ReadAll                    its argument
//	while it is forwarded         none: the call's deadline calls cutOff
//	cut off                       now; over HTTP/2 only if a Read waits
//
// The transport reads an Upload in goroutines of its own. A small body is read in
// advance (see prefetch) and sent from memory. Any other is read through a record, which
// keeps its beginning for another attempt: a replay calls record.read, which calls
// Upload.Read, which calls net/http. An Upload knows neither the call nor the record.
type Upload struct {
	body      io.ReadCloser // returns an error beyond the limit of NewUpload
	unlimited io.Reader     // the same body without that limit
	received  http.Header   // trailers, which net/http fills in at the end of the body
	w         http.ResponseWriter
	http2     bool
	closes    bool // the caller wants the connection closed after the response

	// Set before the transport reads:
	deadline *deadline   // of the call; nil: not forwarded
	sent     http.Header // trailers of the request to the API; nil: none

	reading sync.Mutex // held by each read of body, so that finish can wait for the last

	mu    sync.Mutex // guards state; may be locked while reading or the deadline's is
	state uploadState
}

type uploadState int

const (
	open uploadState = iota
	complete
	cut
)

// NewUpload returns the body of r, whose response is written to w. A body larger than
// limit ends with an *http.MaxBytesError; 0 is for no limit.
func NewUpload(w http.ResponseWriter, r *http.Request, limit int64) *Upload {
	u := &Upload{
		body: r.Body, unlimited: r.Body, received: r.Trailer,
		w: w, http2: r.ProtoMajor == 2, closes: r.Close,
	}
	if limit > 0 {
		// Without the writer: MaxBytesReader would modify it while another goroutine
		// writes the response to it.
		u.body = http.MaxBytesReader(nil, r.Body, limit)
	}
	return u
}

// ShortenReadDeadline leaves little time for a body that may never be read. Forward
// gives it more.
func (u *Upload) ShortenReadDeadline() { u.setReadDeadline(time.Now().Add(unreadBodyTimeout)) }

// ReadAll reads the whole body into memory, for a handler that needs it there. It must
// arrive before end. The error is ErrBody; for a body larger than limit, or than the limit
// of NewUpload, it wraps an *http.MaxBytesError.
func (u *Upload) ReadAll(limit int64, end time.Time) ([]byte, error) {
	u.setReadDeadline(end)
	body, err := io.ReadAll(http.MaxBytesReader(nil, u, limit))
	switch {
	case errors.Is(err, ErrBody):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrBody, err)
	}
	u.setReadDeadline(time.Time{}) // net/http would take it for the caller's leaving
	return body, nil
}

// PrepareEarlyReply prepares for a response that is sent before the body has been read.
// If the caller wants the connection closed, closing it at once could lose the response,
// because data of the body is still arriving: the connection lingers instead.
func (u *Upload) PrepareEarlyReply() {
	u.ShortenReadDeadline()
	if u.closes {
		closeAfterResponse(u.w)
	}
}

// setReadDeadline bounds reads from the caller, and reports whether it could: not every
// writer can.
func (u *Upload) setReadDeadline(t time.Time) bool {
	return http.NewResponseController(u.w).SetReadDeadline(t) == nil
}

// forward makes u the body of a call with deadline d.
func (u *Upload) forward(d *deadline) {
	u.deadline = d
	u.setReadDeadline(time.Time{})
}

// prefetch makes u the body of r. It reads a small body of known length now, so that it
// can be sent a second time. Any other the transport reads while it sends, and also a
// body with trailers, because they are sent with its end.
func (u *Upload) prefetch(r *http.Request) error {
	if r.GetBody != nil { // readWhole was called
		return nil
	}
	if r.Body = u; r.ContentLength < 0 || r.ContentLength > prefetchLimit || len(r.Trailer) > 0 {
		return nil
	}
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(u, body); err != nil {
		return err
	}
	u.become(complete) // HTTP/2 reports io.EOF only with another read
	setBody(r, body)
	return nil
}

// readWhole makes u the body of r and reads all of it, whatever its length is said to be.
// Trailers stay r's. The error is ErrBody; for a body larger than limit it wraps an
// *http.MaxBytesError.
func (u *Upload) readWhole(r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, fmt.Errorf("%w: %w", ErrBody, &http.MaxBytesError{Limit: limit})
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, u, limit))
	switch {
	case errors.Is(err, ErrBody):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrBody, err)
	}
	if len(r.Trailer) == 0 {
		r.ContentLength, r.TransferEncoding = int64(len(body)), nil
	}
	setBody(r, body)
	return body, nil
}

// setBody sends a request with a body from memory, which can be sent again.
func setBody(r *http.Request, body []byte) {
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	r.Body, _ = r.GetBody()
}

func (u *Upload) Read(p []byte) (int, error) {
	u.reading.Lock()
	defer u.reading.Unlock()
	if u.is(cut) {
		return 0, fmt.Errorf("%w: it was cut off", ErrBody)
	}
	if u.deadline != nil {
		u.deadline.awaitBody(true)
		defer u.deadline.awaitBody(false)
	}
	n, err := u.body.Read(p)
	switch {
	case err == io.EOF:
		u.become(complete)
		err = u.passTrailers()
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrBody, err)
	}
	return n, err
}

// passTrailers copies the trailers into the request to the API, and returns io.EOF, or
// why they cannot be sent.
func (u *Upload) passTrailers() error {
	for name := range u.sent {
		u.sent[name] = u.received[name]
	}
	if _, err := measure(u.sent); err != nil {
		return fmt.Errorf("%w: trailers: %w", ErrBody, err)
	}
	return io.EOF
}

// Close does nothing: net/http's server closes the body.
func (u *Upload) Close() error { return nil }

// IsComplete reports whether the whole body has been read.
func (u *Upload) IsComplete() bool { return u.is(complete) }

func (u *Upload) is(state uploadState) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.state == state
}

// become changes the state of an open Upload. The other states are final.
func (u *Upload) become(state uploadState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.state == open {
		u.state = state
	}
}

// Rest returns a reader of what is left of the body when the call is over. It waits for
// a Read that has not returned.
func (u *Upload) Rest() io.Reader { return rest{u} }

type rest struct{ *Upload }

func (r rest) Read(p []byte) (int, error) {
	r.reading.Lock()
	defer r.reading.Unlock()
	return r.unlimited.Read(p)
}

// cutOff moves an open Upload to cut, if it can, and reports whether it is cut then. A
// complete body gets no deadline: net/http reads the connection by itself then, would
// take the deadline for the caller's leaving, and cancel the next request.
func (u *Upload) cutOff() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.state != open:
	case u.http2 && u.reading.TryLock():
		u.reading.Unlock() // no Read is waiting, and the next one returns ErrBody
		u.state = cut
	case u.setReadDeadline(time.Now()):
		u.state = cut
	}
	return u.state == cut
}

// closeIfIncomplete lets the connection close after the response unless the body is
// complete. Where net/http leaves the body to its handler (EnableFullDuplex), it does not
// check that, and would take the rest of the body for the next request.
func (u *Upload) closeIfIncomplete() {
	if !u.IsComplete() {
		closeAfterResponse(u.w)
	}
}

// closeAfterResponse makes a response the last one of its HTTP/1.1 connection, which
// then lingers for a moment. net/http has no other way to ask for that.
func closeAfterResponse(w http.ResponseWriter) {
	tooLarge := http.MaxBytesReader(innermost(w), io.NopCloser(strings.NewReader("x")), 0)
	_, _ = tooLarge.Read(make([]byte, 1))
}

// finish ends the reading of u before the handler returns. Over HTTP/1.1 net/http would
// otherwise wait for the rest of the body without a limit.
func (u *Upload) finish() {
	u.closeIfIncomplete()
	if u.http2 {
		u.become(cut)
		return
	}
	if u.cutOff() {
		u.reading.Lock() // until the last Read has returned
		defer u.reading.Unlock()
	}
}
