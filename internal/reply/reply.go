// Package reply reads the parts of HTTP responses that several packages read alike: a body up
// to a limit, and Retry-After.
package reply

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// ErrTooLarge says that a body is larger than its limit.
var ErrTooLarge = errors.New("the body is larger than its limit")

// Body reads a response's body of at most limit bytes, and closes it. The error is
// ErrTooLarge, or that of the connection.
func Body(resp *http.Response, limit int) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
	_ = resp.Body.Close() // what counts has been read
	switch {
	case err != nil:
		return nil, err
	case len(body) > limit:
		return nil, ErrTooLarge
	}
	return body, nil
}

// maxWait is longer than any time that a caller of RetryAfter accepts.
const maxWait = 365 * 24 * time.Hour

// RetryAfter returns the time in the header Retry-After, in seconds or as a date (RFC 9110,
// section 10.2.3), at most a year. ok is false if there is none, or one that cannot be read.
// A time in the past is 0, and so is a negative one.
func RetryAfter(header http.Header, now time.Time) (wait time.Duration, ok bool) {
	value := header.Get("Retry-After")
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(max(0, seconds), int64(maxWait/time.Second))) * time.Second, true
	}
	if date, err := http.ParseTime(value); err == nil {
		return min(max(0, date.Sub(now)), maxWait), true
	}
	return 0, false
}
