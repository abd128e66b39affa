package door

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"middletier/internal/problem"
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

// grpcCodes are the gRPC statuses of the problems' HTTP statuses. Most follow gRPC's "HTTP
// to gRPC Status Code Mapping". That mapping is for clients, which do not know which server
// answered. Where this service knows more, the codes follow google.rpc.Code:
//
//   - 400 is not INTERNAL: the request is wrong, and a retry does not help.
//   - 504 is not UNAVAILABLE: clients retry UNAVAILABLE, and the API may have executed
//     the call.
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
	problem.StatusClientClosed:             grpcCancelled,
	http.StatusInternalServerError:         grpcInternal,
	http.StatusNotImplemented:              grpcUnimplemented,
	http.StatusBadGateway:                  grpcUnavailable,
	http.StatusServiceUnavailable:          grpcUnavailable,
	http.StatusGatewayTimeout:              grpcDeadlineExceeded,
}

// GRPCStatus returns the gRPC status of a problem's HTTP status.
func GRPCStatus(status int) int { return int(grpcCodes[status]) }

const (
	grpcMediaType        = "application/grpc"
	grpcWebMediaType     = "application/grpc-web"
	grpcWebTextMediaType = "application/grpc-web-text"
)

// grpcType returns the media type for the error answer to a gRPC or gRPC-Web call, and
// "" for other requests.
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

// isGRPC reports whether r is a gRPC call. gRPC clients handle streams that end early;
// browsers, which use gRPC-Web, do not.
func isGRPC(r *http.Request) bool { return grpcType(r) == grpcMediaType }

// writeGRPC sends p to a gRPC caller, as an answer of headers only ("gRPC over HTTP2",
// Trailers-Only; gRPC-Web allows it too).
func writeGRPC(c echo.Context, contentType string, p problem.Problem) {
	h := c.Response().Header()
	h.Set("Content-Type", contentType)
	h.Set("Grpc-Status", strconv.Itoa(int(grpcCodes[problem.Types[p.Kind].Status])))
	h.Set("Grpc-Message", grpcMessage(p.Detail))
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
