// Package failure describes in fixed words why a connection or a request failed. The
// error texts of net/http, of client libraries and of servers quote what the other side
// sent, which may include a token or a secret. So those texts must never be logged.
package failure

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Error is a failure whose text has no words of the other side. errors.Is and errors.As
// find its cause; nothing prints the cause.
type Error struct {
	text string
	err  error
}

// New returns a failure with a text of this program, which Class repeats.
func New(text string) error { return &Error{text, nil} }

// OfPanic runs run. If run panics, OfPanic returns the error that describe makes of the
// panic's value. The value may quote the other side.
func OfPanic(run func() error, describe func(cause any) error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = describe(cause)
		}
	}()
	return run()
}

// Of returns err with the text of Class, and nil for nil.
func Of(err error) error {
	if err == nil {
		return nil
	}
	return &Error{Class(err), err}
}

func (e *Error) Error() string { return e.text }

// GoString is Error, for %#v.
func (e *Error) GoString() string { return e.text }

// Is reports whether target caused e.
func (e *Error) Is(target error) bool { return errors.Is(e.err, target) }

// As finds a cause of target's type.
func (e *Error) As(target any) bool { return errors.As(e.err, target) }

// Class describes why something failed. From the error's own text it repeats only what
// this machine or a protocol defines: the dialed address, the name of a system error, or
// a protocol code.
func Class(err error) string {
	var own *Error
	if errors.As(err, &own) {
		return own.text
	}
	if words := CauseOf(err).words(); words != "" {
		return words
	}
	text := err.Error()
	if code := http2Code.FindStringSubmatch(text); code != nil {
		return "HTTP/2: " + code[1]
	}
	if code := redisCode.FindString(text); code != "" && isRedis(err) {
		return "Redis answered " + code
	}
	for _, c := range phrases {
		if strings.Contains(text, c.phrase) {
			return c.words
		}
	}
	return "unknown failure, " + typeNames(err)
}

var (
	// http2Code matches an error of a stream or a connection (golang.org/x/net/http2,
	// errors.go). The text after the code may be the other side's.
	http2Code = regexp.MustCompile(`(?:^|: )(?:stream error: stream ID \d+; |connection error: |` +
		`http2: server sent GOAWAY and closed the connection; LastStreamID=\d+, ErrCode=)([A-Z][A-Z0-9_]{1,40})`)

	// redisCode is at the beginning of an error of Redis.
	redisCode = regexp.MustCompile(`^[A-Z]{2,24}\b`)
)

// isRedis reports whether an error is an answer of Redis.
func isRedis(err error) bool {
	var answer interface {
		error
		RedisError()
	}
	return errors.As(err, &answer)
}

// phrases identify error texts of net/http and of other libraries. Each maps to fixed
// words, so that no part of the text is repeated.
var phrases = []struct{ phrase, words string }{
	{"malformed HTTP response", "malformed HTTP response"},
	{"malformed HTTP status code", "malformed HTTP status code"},
	{"malformed HTTP version", "malformed HTTP version"},
	{"malformed MIME header", "malformed HTTP header"},
	{"invalid header field", "a header field that cannot be sent"},
	{"invalid HTTP header", "a header field that cannot be sent"},
	{"unsupported transfer encoding", "unsupported transfer encoding"},
	{"too many transfer encodings", "unsupported transfer encoding"},
	{"bad Content-Length", "bad Content-Length"},
	{"Content-Length", "bad Content-Length"},
	{"invalid byte in chunk length", "malformed chunked encoding"},
	{"chunk", "malformed chunked encoding"},
	{"bad trailer key", "malformed HTTP trailer"},
	{"response headers exceeded", "the answer's headers are too large"},
	{"response headers", "timed out waiting for the answer's headers"},
	{"1xx", "too many informational answers"},
	{"Location header", "malformed Location header"},
	{"server closed idle connection", "the connection was closed before the answer"},
	{"client connection lost", "the connection was lost"},
	{"client connection force closed", "the connection was closed before the answer"},
	{"GOAWAY", "HTTP/2: the server ends the connection"},
	{"http2:", "malformed HTTP/2"},
	{"transport connection broken", "malformed HTTP response"},
	{"body was already", "the request's body cannot be sent again"},
	{"connection pool timeout", "timed out waiting for a free connection to Redis"},
	{"can't parse", "an answer that is not Redis protocol"},
	{"invalid reply", "an answer that is not Redis protocol"},
}

// typeNames lists the types of an error and of the errors that it wraps.
func typeNames(err error) string {
	var names []string
	for ; err != nil && len(names) < 5; err = errors.Unwrap(err) {
		names = append(names, fmt.Sprintf("%T", err))
	}
	return strings.Join(names, " of ")
}

// clean returns s with printable ASCII only, for names and addresses.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f {
			return '?'
		}
		return r
	}, s[:min(len(s), 253)])
}

// Code returns s if it looks like a code, such as invalid_grant or a correlation ID: at
// most 64 letters, digits, underscores, dots and hyphens. Otherwise it returns "".
func Code(s string) string {
	if len(s) > 64 {
		return ""
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '.' && c != '-' {
			return ""
		}
	}
	return s
}
