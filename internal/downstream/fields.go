package downstream

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
)

// ErrHeader says that a header of the caller's cannot be forwarded. Some servers end an
// HTTP/2 connection because of such a header, and all requests on it fail.
var ErrHeader = errors.New("a header value is not valid")

const (
	// maxField bounds one header field of a request to an API. It is Kestrel's limit, the
	// largest one of the common servers, as of .NET 8.
	maxField = 32 << 10

	// commonMaxField is the size of a field that all common servers accept: nginx' limit
	// (large_client_header_buffers), which is the smallest.
	commonMaxField = 8 << 10

	// commonMaxHeaders and commonMaxCount are the same for all fields together. The limits
	// of Kestrel are 32 KiB and 100.
	commonMaxHeaders = 24 << 10
	commonMaxCount   = 80

	// fieldOverhead is what HTTP/2 adds to the size of a field (RFC 9113, section 6.5.2).
	fieldOverhead = 32
)

// headerSize is the size of a request's headers.
type headerSize struct {
	total, count int
	largest      int  // field except Authorization
	token        int  // the Authorization field, which this service sets
	nonASCII     bool // some value is not ASCII
}

// large reports whether some servers reject headers of this size.
func (s headerSize) large() bool {
	return max(s.largest, s.token) > commonMaxField || s.total > commonMaxHeaders || s.count > commonMaxCount
}

// risky reports whether some servers end an HTTP/2 connection because of such headers.
// This API has accepted an Authorization field of size acceptedToken.
func (s headerSize) risky(acceptedToken int) bool {
	if s.token <= acceptedToken {
		s.token = 0
	}
	return s.large() || s.nonASCII
}

// measure returns the size of h, or why h cannot be sent: ErrHeader, or an *Error. It
// trims white space around values, which is not part of them (RFC 9110, section 5.5) and
// not allowed in HTTP/2 (RFC 9113, section 8.2.1). The lists of values, which may be those
// of the caller's request, stay as they are. The size of the Authorization field is not
// limited: callers do not choose it.
func measure(h http.Header) (headerSize, error) {
	var s headerSize
	for name, values := range h {
		for i, value := range values {
			if trimmed := textproto.TrimString(value); trimmed != value {
				value, values = trimmed, slices.Clone(values)
				h[name], values[i] = values, value
			}
			valid, ascii := inspectValue(value)
			if !valid {
				return s, fmt.Errorf("%w: %.64s holds a control character", ErrHeader, name)
			}
			if !ascii {
				if !utf8.ValidString(value) {
					return s, fmt.Errorf("%w: %.64s is not UTF-8", ErrHeader, name)
				}
				s.nonASCII = true
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

// inspectValue reports whether a header's value may be sent, which is what
// httpguts.ValidHeaderFieldValue reports, and whether it is ASCII. Eight bytes are looked at
// together: tokens are long.
func inspectValue(s string) (valid, ascii bool) {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	seen := uint64(0) // the highest bits of all bytes
	for len(s) >= 8 {
		word := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		seen |= word
		// A byte below 0x20 borrows from its highest bit; 0x7f becomes 0 with all bits flipped.
		flipped := word ^ 0x7f*ones
		if ((word-0x20*ones)&^word|(flipped-ones)&^flipped)&highs != 0 && !httpguts.ValidHeaderFieldValue(s[:8]) {
			return false, false
		}
		s = s[8:]
	}
	if !httpguts.ValidHeaderFieldValue(s) {
		return false, false
	}
	return true, seen&highs == 0 && isASCII(s)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// explain returns err, as HeadersTooLarge if the API rejected the headers of the request.
// c is nil for a request that is not a caller's.
func (c *call) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "request header list larger than peer's advertised limit"),
		c != nil && c.headers.large() && isHeaderRejection(err):
		return &Error{Kind: HeadersTooLarge, Err: err}
	}
	return err
}

// isHeaderRejection reports whether an API ended a request with an error code that
// servers use for headers they do not accept.
func isHeaderRejection(err error) bool {
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
		_, name, _ := strings.Cut(err.Error(), goAwayError)
		return name == "PROTOCOL_ERROR" || name == "COMPRESSION_ERROR" || name == "ENHANCE_YOUR_CALM"
	}
	return code == http2.ErrCodeProtocol || code == http2.ErrCodeCompression || code == http2.ErrCodeEnhanceYourCalm
}
