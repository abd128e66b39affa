package door

import (
	"fmt"
	"strings"
	"time"

	"middletier/internal/obo"
)

// Timing measures the parts of a request for Server-Timing (W3C Server Timing). The
// methods of a nil Timing do nothing.
type Timing struct {
	validate    time.Duration // zero: no token was validated
	token       time.Duration // the sum for all tokens; zero: none was requested
	callStart   time.Time     // when the call to the API began; zero: not yet
	tokenBefore time.Duration // token when the call began
}

// now returns the time, or without timing the zero time.
func (t *Timing) now() time.Time {
	if t == nil {
		return time.Time{}
	}
	return time.Now()
}

func (t *Timing) validated(start time.Time) {
	if t != nil {
		t.validate = time.Since(start)
	}
}

// gotToken adds the time that a token took. The call to the API begins with the first
// token.
func (t *Timing) gotToken(start time.Time, err error) {
	if t == nil {
		return
	}
	t.token += time.Since(start)
	if err == nil && t.callStart.IsZero() {
		t.callStart, t.tokenBefore = time.Now(), t.token
	}
}

// header returns the value of the header, or "". The API's part is the time to its
// response headers.
func (t *Timing) header(source obo.TokenOrigin) string {
	var parts []string
	add := func(name string, d time.Duration) {
		parts = append(parts, fmt.Sprintf("%s;dur=%.3f", name, d.Seconds()*1e3))
	}
	if t.validate > 0 {
		add("validate", t.validate)
	}
	if t.token > 0 {
		add("token;desc="+string(source), t.token)
	}
	if !t.callStart.IsZero() {
		add("downstream", time.Since(t.callStart)-(t.token-t.tokenBefore))
	}
	return strings.Join(parts, ", ")
}
