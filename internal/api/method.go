package api

import (
	"net/http"
	"strings"
)

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
