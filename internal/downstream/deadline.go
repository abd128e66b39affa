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
//	a token, small bodies    the request's time
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
	fires            time.Time  // when the timer fires, not later than at; zero: it does not
	awaitingResponse bool       // the API has the request, and has not responded
	awaitingBody     bool       // and waits for more of the body
}

// start begins the request's time, which is total. The API's timeout runs from
// awaitResponse on. wake is called when the deadline may have passed; it asks ifPassed. The timer
// fires after the API's timeout at first, so that awaitResponse need not move it.
func (d *deadline) start(total, api time.Duration, wake func()) {
	d.mu.Lock() // so that wake finds the timer
	defer d.mu.Unlock()
	now, first := time.Now(), min(total, api)
	d.request, d.api = now.Add(total), api
	d.at, d.fires = d.request, now.Add(first)
	d.timer = time.AfterFunc(first, wake)
}

// ifPassed calls end with what did not come in time, if the deadline has passed. If it has
// not, the timer fires again.
func (d *deadline) ifPassed(end func(cause error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	switch d.fires = (time.Time{}); {
	case d.at.IsZero():
	case now.Before(d.at):
		d.arm(now)
	case d.awaitingBody:
		end(errLateBody)
	default:
		end(errTimeout)
	}
}

// arm has the timer fire at the deadline. One that fires earlier stays as it is, because
// ifPassed arms it again: most calls end first, and moving it takes longer. The caller
// holds mu.
func (d *deadline) arm(now time.Time) {
	if d.fires.IsZero() || d.at.Before(d.fires) {
		d.fires = d.at
		d.timer.Reset(d.at.Sub(now))
	}
}

// wakeIn has the timer fire in after, for another reason than the deadline.
func (d *deadline) wakeIn(after time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at := time.Now().Add(after); d.fires.IsZero() || at.Before(d.fires) {
		d.fires = at
		d.timer.Reset(after)
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

// responded leaves what remains of the request's time for the rest of the response, or for
// another token; or no limit for a stream.
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
	d.at, d.fires = time.Time{}, time.Time{}
	d.timer.Stop()
}

// reset moves the deadline to after from now, and not beyond the request's time. The
// caller holds mu.
func (d *deadline) reset(after time.Duration) {
	now := time.Now()
	if d.at = now.Add(after); d.at.After(d.request) {
		d.at = d.request
	}
	d.arm(now)
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
