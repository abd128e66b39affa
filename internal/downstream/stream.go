package downstream

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

const eventStream = "text/event-stream"

// wantsStream reports whether a request with these headers is for a stream:
// server-sent events, or a gRPC call, whose caller sets its own limit by grpc-timeout.
func wantsStream(h http.Header) bool {
	if kinds := h["Content-Type"]; len(kinds) == 1 {
		if _, ok := cutGRPC(kinds[0]); ok {
			return true
		}
	}
	for _, list := range h["Accept"] {
		if acceptsEvents(list) {
			return true
		}
	}
	return false
}

// cutGRPC returns what follows application/grpc in a content type of gRPC or gRPC-Web,
// in upper or lower case (RFC 9110, section 8.3.1). ok is false for another type.
func cutGRPC(contentType string) (rest string, ok bool) {
	const prefix = "application/grpc"
	if len(contentType) < len(prefix) || !strings.EqualFold(contentType[:len(prefix)], prefix) {
		return "", false
	}
	rest = contentType[len(prefix):]
	return rest, rest == "" || strings.IndexByte("+-; \t", rest[0]) >= 0
}

// isGRPC reports whether a request of the content type is for a gRPC server. gRPC-Web
// is for a proxy.
func isGRPC(contentType string) bool {
	rest, ok := cutGRPC(contentType)
	return ok && !strings.HasPrefix(rest, "-")
}

// acceptsEvents reports whether a list of media types contains that of server-sent
// events, and not with q=0 (RFC 9110, section 12.5.1).
func acceptsEvents(list string) bool {
	for list != "" && strings.Contains(strings.ToLower(list), eventStream) {
		var element string
		element, list = cutElement(list)
		kind, parameters, err := mime.ParseMediaType(element)
		if err != nil || kind != eventStream {
			continue
		}
		weight, given := parameters["q"]
		if q, err := strconv.ParseFloat(weight, 64); !given || err == nil && q > 0 {
			return true
		}
	}
	return false
}

// cutElement splits a list after its first element. A quoted comma is no separator
// (RFC 9110, sections 5.6.1 and 5.6.4).
func cutElement(list string) (element, rest string) {
	quoted := false
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == ',' && !quoted:
			return list[:i], list[i+1:]
		}
	}
	return list, ""
}

// isStream reports whether a response is a stream, which may take any time.
func isStream(resp *http.Response) bool {
	return resp.ContentLength < 0 || resp.ContentLength >= streamThreshold || isEventStream(resp.Header)
}

// isEventStream reports whether a response with these headers is for server-sent events.
func isEventStream(h http.Header) bool {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(kind), eventStream)
}
