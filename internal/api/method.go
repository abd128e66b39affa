package api

import (
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"
)

var errMethod = newRequestError("invalid-request", "The method is not an HTTP method in upper case.")

// isMethod reports whether a method is valid and has no lower-case letter. Methods are
// case-sensitive (RFC 9110, section 9.1), but many frameworks convert them to upper case
// before they choose a handler. An access rule would take "delete" for a method other
// than DELETE, and the API would not. net/http checks the characters for HTTP/1.1 only.
func isMethod(method string) bool {
	for _, c := range []byte(method) {
		if 'a' <= c && c <= 'z' {
			return false
		}
	}
	return httpguts.ValidHeaderFieldName(method) // both are tokens
}

// methodHeaders are the headers in which frameworks accept a method that replaces the
// request's method, in lower case. CGI and WSGI do not distinguish - from _.
var methodHeaders = [...]string{"x-http-method-override", "x-http-method", "x-method-override"}

// overridingMethods returns the methods in such headers, in upper case. Most requests
// have none.
func overridingMethods(h http.Header) (methods []string) {
	for name, values := range h {
		if !isMethodHeader(name) {
			continue
		}
		for _, value := range values {
			for method := range strings.SplitSeq(value, ",") {
				if method = strings.ToUpper(strings.TrimSpace(method)); method != "" {
					methods = append(methods, method)
				}
			}
		}
	}
	return methods
}

func isMethodHeader(name string) bool {
	if len(name) < 13 || len(name) > 22 || name[0]|0x20 != 'x' { // true for nearly all headers
		return false
	}
	name = strings.ReplaceAll(name, "_", "-")
	for _, h := range methodHeaders {
		if strings.EqualFold(name, h) {
			return true
		}
	}
	return false
}
