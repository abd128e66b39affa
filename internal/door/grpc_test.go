package door

import (
	"net/http/httptest"
	"net/url"
	"testing"

	"google.golang.org/grpc/codes"

	"middletier/internal/problem"
)

// Every type of problem has its code. A new type needs a row.
func TestEveryProblemHasItsGRPCCode(t *testing.T) {
	want := map[string]codes.Code{
		"missing-token":                 codes.Unauthenticated,
		"invalid-token":                 codes.Unauthenticated,
		"claims-challenge":              codes.Unauthenticated,
		"interaction-required":          codes.Unauthenticated,
		"session-required":              codes.Unauthenticated,
		"insufficient-scope":            codes.PermissionDenied,
		"no-access-rule":                codes.PermissionDenied,
		"wrong-token-type":              codes.PermissionDenied,
		"caller-not-allowed":            codes.PermissionDenied,
		"tenant-not-allowed":            codes.PermissionDenied,
		"consent-required":              codes.PermissionDenied,
		"cross-site-request":            codes.PermissionDenied,
		"invalid-request":               codes.InvalidArgument,
		"unknown-api":                   codes.Unimplemented,
		"not-found":                     codes.Unimplemented,
		"method-not-allowed":            codes.Unimplemented,
		"upgrade-not-supported":         codes.Unimplemented,
		"body-too-large":                codes.ResourceExhausted,
		"rate-limited":                  codes.ResourceExhausted,
		"headers-too-large":             codes.ResourceExhausted,
		"shared-cache-unavailable":      codes.Unavailable,
		"identity-provider-unavailable": codes.Unavailable,
		"identity-provider-error":       codes.Unavailable,
		"downstream-unreachable":        codes.Unavailable,
		"downstream-invalid-response":   codes.Unavailable,
		"downstream-rejected-token":     codes.Unavailable,
		"downstream-timeout":            codes.DeadlineExceeded,
		"misconfigured":                 codes.Internal,
		"internal":                      codes.Internal,
		"client-closed-request":         codes.Canceled,
	}
	for kind, known := range problem.Types {
		if got, ok := grpcCodes[known.Status]; !ok || codes.Code(got) != want[kind] {
			t.Errorf("%s: got %s, want %s", kind, codes.Code(got), want[kind])
		}
	}
}

func TestCallsByGRPCAreTold(t *testing.T) {
	for _, row := range []struct {
		contentType, want string
		isGRPC            bool
	}{
		{"application/grpc", "application/grpc", true},
		{"application/grpc+proto", "application/grpc", true},
		{"application/grpc;x=y", "application/grpc", true},
		{"application/grpc-web", "application/grpc-web", false},
		{"application/grpc-web+proto", "application/grpc-web", false},
		{"application/grpc-web-text", "application/grpc-web-text", false},
		{"application/grpc-web-text+proto", "application/grpc-web-text", false},
		{"application/grpc-other", "", false},
		{"application/grpcs", "", false},
		{"application/json", "", false},
		{"", "", false},
	} {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set("Content-Type", row.contentType)
		if got := grpcType(r); got != row.want || isGRPC(r) != row.isGRPC {
			t.Errorf("%q: got %q and %v, want %q and %v", row.contentType, got, isGRPC(r), row.want, row.isGRPC)
		}
	}
}

func TestMessagesByGRPCAreEncoded(t *testing.T) {
	for text, want := range map[string]string{
		"The token has expired.": "The token has expired.",
		"100 %":                  "100 %25",
		"two\nlines":             "two%0Alines",
		"…":                      "%E2%80%A6",
	} {
		got := grpcMessage(text)
		if back, err := url.PathUnescape(got); got != want || back != text {
			t.Errorf("%q: got %q, want %q (%q, %v)", text, got, want, back, err)
		}
	}
}
