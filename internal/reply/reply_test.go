package reply_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"middletier/internal/reply"
)

type body struct {
	io.Reader
	closed bool
}

func (b *body) Close() error {
	b.closed = true
	return nil
}

func TestBodyIsReadUpToItsLimit(t *testing.T) {
	broken := errors.New("broken")
	for name, row := range map[string]struct {
		reader io.Reader
		want   string
		err    error
	}{
		"nothing":   {strings.NewReader(""), "", nil},
		"the limit": {strings.NewReader("12345678"), "12345678", nil},
		"beyond it": {strings.NewReader("123456789"), "", reply.ErrTooLarge},
		"endless":   {endless{}, "", reply.ErrTooLarge},
		"broken":    {iotest.ErrReader(broken), "", broken},
	} {
		b := &body{Reader: row.reader}
		got, err := reply.Body(&http.Response{Body: b}, 8)
		if string(got) != row.want || !errors.Is(err, row.err) || !b.closed {
			t.Errorf("%s: got %q %v, closed %v; want %q %v, closed", name, got, err, b.closed, row.want, row.err)
		}
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"0": 0, "120": 2 * time.Minute, "99999999999999999999999": 365 * 24 * time.Hour,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:03:05 GMT": 0, "Fri, 02 Jan 2099 03:03:05 GMT": 365 * 24 * time.Hour,
		"-1": 0, "": -1, "soon": -1, "1.5": -1,
	} {
		got, ok := reply.RetryAfter(http.Header{"Retry-After": {value}}, now)
		if ok != (want >= 0) || got != max(want, 0) {
			t.Errorf("%q: got %v %v, want %v", value, got, ok, want)
		}
	}
}
