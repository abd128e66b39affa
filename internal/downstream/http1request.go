package downstream

import (
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// appendRequest appends the request line and the headers of r, as http.Request.Write has
// them (RFC 9112, sections 3 and 5). ok is false if r has something that net/http would
// encode or refuse.
func appendRequest(b []byte, r *http.Request) (_ []byte, ok bool) {
	if r.Host != "" || !isPlainHost(r.URL.Host) || r.Method == http.MethodConnect || !httpguts.ValidHeaderFieldName(r.Method) {
		return nil, false
	}
	b = append(append(b, r.Method...), ' ')
	if b, ok = appendTarget(b, r.URL); !ok {
		return nil, false
	}
	b = append(append(b, " HTTP/1.1\r\nHost: "...), r.URL.Host...)
	b = append(b, "\r\n"...)
	if r.Header["User-Agent"] == nil {
		return nil, false // net/http has its own
	}
	if r.ContentLength > 0 || needsContentLength(r.Method) {
		b = strconv.AppendInt(append(b, "Content-Length: "...), r.ContentLength, 10)
		b = append(b, "\r\n"...)
	}
	for name, values := range r.Header {
		switch name {
		case "Host", "Content-Length", "Transfer-Encoding", "Trailer":
			continue
		case "User-Agent":
			if values = values[:min(1, len(values))]; len(values) == 1 && values[0] == "" {
				continue
			}
		}
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, false
		}
		for _, value := range values {
			if valid, _ := inspectValue(value); !valid {
				return nil, false
			}
			b = append(append(b, name...), ": "...)
			b = append(append(b, textproto.TrimString(value)...), "\r\n"...)
		}
	}
	return append(b, "\r\n"...), true
}

// appendTarget appends path and query of u, as url.URL.RequestURI returns them.
func appendTarget(b []byte, u *url.URL) (_ []byte, ok bool) {
	path := u.Opaque
	if path == "" {
		path = u.EscapedPath()
	}
	if path == "" {
		path = "/"
	}
	if path[0] != '/' || strings.HasPrefix(path, "//") || !isVisibleASCII(path) || CheckQuery(u.RawQuery) != nil {
		return nil, false
	}
	b = append(b, path...)
	if u.ForceQuery || u.RawQuery != "" {
		b = append(append(b, '?'), u.RawQuery...)
	}
	return b, true
}

// needsContentLength reports whether servers expect Content-Length in a request of the method
// that has no body (RFC 9110, section 8.6).
func needsContentLength(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// isPlainHost reports whether the host of a URL is sent and dialled as it is written: it is
// not internationalized, and has no zone.
func isPlainHost(host string) bool {
	for i := range len(host) {
		switch c := host[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._:[]", c) >= 0:
		default:
			return false
		}
	}
	return host != "" && host[len(host)-1] != ':'
}

// appendBody appends the body of r, and closes it.
func appendBody(b []byte, r *http.Request) ([]byte, error) {
	if r.Body == nil {
		return b, nil
	}
	defer r.Body.Close()
	if r.ContentLength == 0 {
		return b, nil
	}
	head := len(b)
	b = append(b, make([]byte, r.ContentLength)...)
	if _, err := io.ReadFull(r.Body, b[head:]); err != nil {
		return b, fmt.Errorf("the body in memory: %w", err)
	}
	return b, nil
}
