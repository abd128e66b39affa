package downstream

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
)

// ErrHeader says that a header of the caller's cannot be forwarded. There are servers
// that end an HTTP/2 connection over one, and with it other callers' requests.
var ErrHeader = errors.New("a header value is not valid")

const (
	// maxField bounds one header field towards an API: Kestrel's limit, the largest
	// among those of common servers, as of .NET 8.
	maxField = 32 << 10

	// usualField is a size up to which servers take a field: nginx' limit
	// (large_client_header_buffers), the smallest among those of common servers.
	usualField = 8 << 10

	// usualHeaders and usualCount are the same for all fields together. The limits of
	// Kestrel are 32 KiB and 100.
	usualHeaders = 24 << 10
	usualCount   = 80

	// fieldOverhead is what HTTP/2 adds to the size of a field (RFC 9113, section 6.5.2).
	fieldOverhead = 32
)

// headerSize says how large the headers of a request are.
type headerSize struct {
	total, count int
	largest      int  // field but the token
	token        int  // the Authorization field, which is ours
	foreign      bool // there is a value that is not ASCII
}

// large reports whether there are servers that do not take so much.
func (s headerSize) large() bool {
	return max(s.largest, s.token) > usualField || s.total > usualHeaders || s.count > usualCount
}

// offends reports whether there are servers that end an HTTP/2 connection over such
// headers. The API in question has taken a token field of size taken.
func (s headerSize) offends(taken int) bool {
	if s.token <= taken {
		s.token = 0
	}
	return s.large() || s.foreign
}

// measure returns the size of h, or why h cannot be sent: ErrHeader, or an *Error. It
// takes white space around values off, which is not part of them (RFC 9110, section
// 5.5), and which HTTP/2 does not allow (RFC 9113, section 8.2.1). The token is ours,
// and may be as large as it is.
func measure(h http.Header) (headerSize, error) {
	var s headerSize
	for name, values := range h {
		for i, value := range values {
			value = textproto.TrimString(value)
			values[i] = value
			if !httpguts.ValidHeaderFieldValue(value) {
				return s, fmt.Errorf("%w: %.64s holds a control character", ErrHeader, name)
			}
			if !isASCII(value) {
				if !utf8.ValidString(value) {
					return s, fmt.Errorf("%w: %.64s is not UTF-8", ErrHeader, name)
				}
				s.foreign = true
			}
			size := len(name) + len(value) + fieldOverhead
			switch {
			case name == "Authorization":
				s.token = size
			case size > maxField:
				return s, &Error{Kind: HeadersTooLarge, Err: fmt.Errorf("%.64s is larger than %d KiB", name, maxField>>10)}
			default:
				s.largest = max(s.largest, size)
			}
			s.total += size
			s.count++
		}
	}
	return s, nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// explain says so where an API did not take the headers of a request. x is nil for a
// request that is not a caller's.
func (x *exchange) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "request header list larger than peer's advertised limit"),
		x != nil && x.headers.large() && isOffence(err):
		return &Error{Kind: HeadersTooLarge, Err: err}
	}
	return err
}

// isOffence reports whether an API ended a request with an error that servers use
// for headers that they do not take.
func isOffence(err error) bool {
	var stream http2.StreamError
	//lint:ignore SA1019 net/http does not export its own
	var goAway http2.GoAwayError
	code := http2.ErrCodeNo
	switch {
	case errors.As(err, &stream):
		code = stream.Code
	case errors.As(err, &goAway):
		code = goAway.ErrCode
	default:
		_, name, _ := strings.Cut(err.Error(), "http2: Transport received GOAWAY from server ErrCode:")
		return name == "PROTOCOL_ERROR" || name == "COMPRESSION_ERROR" || name == "ENHANCE_YOUR_CALM"
	}
	return code == http2.ErrCodeProtocol || code == http2.ErrCodeCompression || code == http2.ErrCodeEnhanceYourCalm
}
