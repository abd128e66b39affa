package api

import (
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"
)

var errMethod = newRequestError("invalid-request", "The method is not an HTTP method in upper case.")

// isMethod reports whether a method has one spelling. Methods are case-sensitive
// (RFC 9110, section 9.1), but many frameworks write them in upper case before
// they choose a handler: "delete" would be another method to an access rule and
// DELETE to the API. net/http checks the characters for HTTP/1.1 only.
func isMethod(method string) bool {
	for _, c := range []byte(method) {
		if 'a' <= c && c <= 'z' {
			return false
		}
	}
	return httpguts.ValidHeaderFieldName(method) // both are tokens
}

// methodHeaders are the headers in which frameworks take a method that replaces
// the request's own, in lower case. CGI and WSGI do not tell - from _.
var methodHeaders = [...]string{"x-http-method-override", "x-http-method", "x-method-override"}

// overridingMethods returns the methods that r's headers name in place of its
// own, in upper case. Most requests have none.
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
	if len(name) < 13 || len(name) > 22 || name[0]|0x20 != 'x' { // nearly all headers
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
