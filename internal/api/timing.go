package api

import (
	"fmt"
	"strings"
	"time"

	"middletier/internal/obo"
)

// timing is what Server-Timing tells of a request (W3C Server Timing). Its
// methods do nothing where it is nil, for no one to be told.
type timing struct {
	validate    time.Duration // zero: the token was not looked at
	token       time.Duration // of all that were got; zero: none was asked for
	callStart   time.Time     // when the call to the API began; zero: it did not
	tokenBefore time.Duration // token, when the call began
}

// now is the time where it matters.
func (t *timing) now() time.Time {
	if t == nil {
		return time.Time{}
	}
	return time.Now()
}

func (t *timing) validated(start time.Time) {
	if t != nil {
		t.validate = time.Since(start)
	}
}

// gotToken counts the time that a token took. The call begins with the first.
func (t *timing) gotToken(start time.Time, err error) {
	if t == nil {
		return
	}
	t.token += time.Since(start)
	if err == nil && t.callStart.IsZero() {
		t.callStart, t.tokenBefore = time.Now(), t.token
	}
}

// header returns the value of the header, "" for nothing to tell. The API's part
// is the time to its answer's headers.
func (t *timing) header(source obo.TokenOrigin) string {
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
