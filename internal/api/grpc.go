package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
)

// grpcCode is a status of gRPC (its "Status codes and their use in gRPC").
type grpcCode int

const (
	grpcCancelled         grpcCode = 1
	grpcInvalidArgument   grpcCode = 3
	grpcDeadlineExceeded  grpcCode = 4
	grpcPermissionDenied  grpcCode = 7
	grpcResourceExhausted grpcCode = 8
	grpcUnimplemented     grpcCode = 12
	grpcInternal          grpcCode = 13
	grpcUnavailable       grpcCode = 14
	grpcUnauthenticated   grpcCode = 16
)

// grpcCodes are the problems' statuses as callers by gRPC get them. Most are those
// of gRPC's "HTTP to gRPC Status Code Mapping". That one is for clients, who cannot
// know who answered; where the answerer knows more, google.rpc.Code is followed:
//
//   - 400 is not INTERNAL: the caller has made the mistake, and repeating does not help.
//   - 504 is not UNAVAILABLE: clients repeat those calls, and the API may have done
//     what it was asked for.
//   - 413, 429 and 431 are limits.
var grpcCodes = map[int]grpcCode{
	http.StatusBadRequest:                  grpcInvalidArgument,
	http.StatusUnauthorized:                grpcUnauthenticated,
	http.StatusForbidden:                   grpcPermissionDenied,
	http.StatusNotFound:                    grpcUnimplemented,
	http.StatusMethodNotAllowed:            grpcUnimplemented,
	http.StatusRequestEntityTooLarge:       grpcResourceExhausted,
	http.StatusTooManyRequests:             grpcResourceExhausted,
	http.StatusRequestHeaderFieldsTooLarge: grpcResourceExhausted,
	statusClientClosed:                     grpcCancelled,
	http.StatusInternalServerError:         grpcInternal,
	http.StatusNotImplemented:              grpcUnimplemented,
	http.StatusBadGateway:                  grpcUnavailable,
	http.StatusServiceUnavailable:          grpcUnavailable,
	http.StatusGatewayTimeout:              grpcDeadlineExceeded,
}

const (
	grpcMediaType        = "application/grpc"
	grpcWebMediaType     = "application/grpc-web"
	grpcWebTextMediaType = "application/grpc-web-text"
)

// grpcType returns the media type of an error's answer to a call of gRPC or gRPC-Web,
// and "" for other requests.
func grpcType(r *http.Request) string {
	contentType := r.Header.Get("Content-Type")
	if !strings.HasPrefix(contentType, grpcMediaType) {
		return ""
	}
	kind := contentType
	if end := strings.IndexAny(kind, "+; "); end >= 0 {
		kind = kind[:end]
	}
	switch kind {
	case grpcMediaType, grpcWebMediaType, grpcWebTextMediaType:
		return kind
	}
	return ""
}

// isGRPC reports whether r is a call of gRPC, whose clients are used to streams that
// end early. Browsers, which speak gRPC-Web, are not.
func isGRPC(r *http.Request) bool { return grpcType(r) == grpcMediaType }

// writeGRPC answers with p as callers by gRPC can read it: an answer of headers only
// ("gRPC over HTTP2", Trailers-Only, which gRPC-Web allows too).
func writeGRPC(c echo.Context, contentType string, p problem) {
	h := c.Response().Header()
	h.Set("Content-Type", contentType)
	h.Set("Grpc-Status", strconv.Itoa(int(grpcCodes[problemTypes[p.kind].Status])))
	h.Set("Grpc-Message", grpcMessage(p.detail))
	c.Response().WriteHeader(http.StatusOK)
}

// grpcMessage percent-encodes text ("gRPC over HTTP2", Status-Message).
func grpcMessage(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		if c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
