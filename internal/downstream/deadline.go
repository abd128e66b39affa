package downstream

import (
	"errors"
	"sync"
	"time"
)

var (
	errTimeout  = errors.New("the response did not come in time")
	errLateBody = errors.New("it did not come in time")
)

// deadline is when a call ends. While the API's response is awaited, the API's timeout
// runs. It pauses while the API waits for more of the caller's body: how long a caller
// takes to send it counts only against the time of the whole request.
//
//	the call waits for       it ends after
//	the token, small bodies  the request's time
//	the response             the API's timeout, and not after the request's time
//	more of the body         the request's time
//	the response's end       the request's time
//	a stream                 never
type deadline struct {
	request time.Time     // when the time of the whole request is over
	api     time.Duration // the API's timeout
	timer   *time.Timer   // runs the function passed to start

	mu               sync.Mutex // guards what follows; Upload.mu may be locked within
	at               time.Time  // zero: never
	awaitingResponse bool       // the API has the request, and has not responded
	awaitingBody     bool       // and waits for more of the body
}

// start begins the request's time, which is total. The API's timeout runs from
// awaitResponse on. end is called when the deadline may have passed; it asks ifPassed.
func (d *deadline) start(total, api time.Duration, end func()) {
	d.request, d.api = time.Now().Add(total), api
	d.at = d.request
	d.timer = time.AfterFunc(total, end)
}

// ifPassed calls end with what did not come in time, if the deadline has passed. It may
// have been moved at the moment that the timer fired.
func (d *deadline) ifPassed(end func(cause error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.at.IsZero() || time.Now().Before(d.at):
	case d.awaitingBody:
		end(errLateBody)
	default:
		end(errTimeout)
	}
}

// awaitResponse begins the API's timeout. A request for a stream has none, because the
// first event may come late; the transport still bounds how long it dials.
func (d *deadline) awaitResponse(stream bool) {
	if stream {
		d.stop()
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.awaitingResponse = true
	d.reset(d.api)
}

// awaitBody says whether the API waits for more of the body from now on.
func (d *deadline) awaitBody(awaiting bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case !d.awaitingResponse: // the call may be over, and the server read the rest
		return
	case awaiting:
		d.reset(time.Until(d.request))
	default:
		d.reset(d.api)
	}
	d.awaitingBody = awaiting
}

// responded leaves what remains of the request's time for the rest of the response, or
// no limit for a stream.
func (d *deadline) responded(stream bool) {
	if stream {
		d.stop()
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.awaitingResponse, d.awaitingBody = false, false
	d.reset(time.Until(d.request))
}

// stop removes the deadline. The call goes on.
func (d *deadline) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.awaitingResponse, d.awaitingBody = false, false
	d.at = time.Time{}
	d.timer.Stop()
}

// reset moves the deadline to after from now, and not beyond the request's time. The
// caller holds mu.
func (d *deadline) reset(after time.Duration) {
	after = min(after, time.Until(d.request))
	d.at = time.Now().Add(after)
	d.timer.Reset(after)
}

// remaining returns how long the call may still take. A call without a deadline is not
// retried beyond the time of a request with one.
func (d *deadline) remaining() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.at.IsZero() {
		return time.Until(d.request)
	}
	return time.Until(d.at)
}
