package door

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"middletier/internal/downstream"
	"middletier/internal/obo"
	"middletier/internal/problem"
	"middletier/internal/telemetry"
	"middletier/internal/validate"
)

// Every error is wrapped before it is mapped, because that is how it arrives.
func TestEveryErrorHasItsProblem(t *testing.T) {
	refused := func(kind obo.Kind) error { return &obo.Error{Kind: kind, Err: errors.New("inner")} }
	called := func(kind downstream.Kind) error {
		return &downstream.Error{Kind: kind, Err: errors.New("inner")}
	}
	invalid := func(reason validate.Reason) error {
		return &validate.InvalidTokenError{Reason: reason, Err: errors.New("inner")}
	}
	for _, row := range []struct {
		err    error
		kind   string
		status int
	}{
		{context.Canceled, "client-closed-request", 499},
		{&downstream.Error{Kind: downstream.Unreachable, Err: context.Canceled}, "client-closed-request", 499},
		{problem.ErrNoToken, "missing-token", 401},
		{problem.ErrPresentation, "invalid-request", 400},
		{invalid(validate.Malformed), "invalid-token", 401},
		{invalid(validate.BadSig), "invalid-token", 401},
		{invalid(validate.WrongIssuer), "invalid-token", 401},
		{invalid(validate.WrongAud), "invalid-token", 401},
		{invalid(validate.Expired), "invalid-token", 401},
		{invalid(validate.NotYetValid), "invalid-token", 401},
		{invalid(validate.NotAccess), "invalid-token", 401},
		{invalid(validate.IDToken), "invalid-token", 401},
		{invalid(validate.ForGraph), "invalid-token", 401},
		{invalid(validate.TooLong), "headers-too-large", 431},
		{validate.ErrKeysUnavailable, "identity-provider-unavailable", 503},
		{validate.ErrClientNotAllowed, "caller-not-allowed", 403},
		{validate.ErrTenantNotAllowed, "tenant-not-allowed", 403},
		{problem.ErrAppOnUser, "wrong-token-type", 403},
		{&validate.AccessError{Allow: []string{"GET"}}, "method-not-allowed", 405},
		{&validate.AccessError{Needed: []string{"Read"}}, "insufficient-scope", 403},
		{&validate.AccessError{}, "no-access-rule", 403},
		{problem.ErrUnknownAPI, "unknown-api", 404},
		{downstream.ErrPath, "invalid-request", 400},
		{validate.ErrPath, "invalid-request", 400},
		{errMethod, "invalid-request", 400},
		{downstream.ErrBody, "invalid-request", 400},
		{downstream.ErrHeader, "invalid-request", 400},
		{problem.ErrUpgrade, "upgrade-not-supported", 501},
		{problem.ErrBodyTooLarge, "body-too-large", 413},
		{&http.MaxBytesError{Limit: 1}, "body-too-large", 413},
		{problem.ErrHeadersTooLarge, "headers-too-large", 431},
		{&problem.RateError{After: time.Second}, "rate-limited", 429},
		{refused(obo.InteractionRequired), "interaction-required", 401},
		{refused(obo.ConsentRequired), "consent-required", 403},
		{refused(obo.Misconfigured), "misconfigured", 500},
		{refused(obo.Unavailable), "identity-provider-unavailable", 503},
		{refused(obo.InvalidResponse), "identity-provider-error", 502},
		{called(downstream.Timeout), "downstream-timeout", 504},
		{called(downstream.RejectedToken), "downstream-rejected-token", 502},
		{called(downstream.Unreachable), "downstream-unreachable", 502},
		{called(downstream.InvalidResponse), "downstream-invalid-response", 502},
		{called(downstream.HeadersTooLarge), "headers-too-large", 431},
		{called(downstream.ResponseTooLarge), "downstream-invalid-response", 502},
		{echo.ErrNotFound, "not-found", 404},
		{echo.ErrMethodNotAllowed, "method-not-allowed", 405},
		{echo.ErrTeapot, "internal", 500},
		{errors.New("anything else"), "internal", 500},
	} {
		got := problemFor(fmt.Errorf("on the way: %w", row.err), problem.Requester{})
		if got.Kind != row.kind || problem.Types[got.Kind].Status != row.status {
			t.Errorf("%v: got %s %d, want %s %d", row.err, got.Kind, problem.Types[got.Kind].Status, row.kind, row.status)
		}
		if strings.Contains(got.Detail, "inner") || got.Detail == "" && row.status != problem.StatusClientClosed {
			t.Errorf("%v: detail is %q, want a fixed sentence", row.err, got.Detail)
		}
	}
}

func TestRetryAfterIsRoundedUp(t *testing.T) {
	w := httptest.NewRecorder()
	c := echo.New().NewContext(httptest.NewRequest("HEAD", "/", nil), w)
	c.SetHandler(func(echo.Context) error {
		return &obo.Error{Kind: obo.Unavailable, RetryAfter: 1500 * time.Millisecond}
	})
	if err := newDoor(t).observe(callRoute)(nil)(c); err != nil {
		t.Fatal(err)
	}
	if got := w.Header().Get("Retry-After"); got != "2" || w.Code != 503 || w.Body.Len() != 0 {
		t.Errorf("got %d, Retry-After %q, %d bytes, want 503, 2 and no body for HEAD", w.Code, got, w.Body.Len())
	}
}

func TestBearerToken(t *testing.T) {
	for _, row := range []struct {
		values []string
		token  string
		err    error
	}{
		{nil, "", problem.ErrNoToken},
		{[]string{""}, "", problem.ErrNoToken},
		{[]string{"Basic YTpi"}, "", problem.ErrNoToken},
		{[]string{"a.b.c"}, "", problem.ErrNoToken},
		{[]string{"Bearer\ta.b.c"}, "", problem.ErrNoToken},
		{[]string{"Bearer a.b.c"}, "a.b.c", nil},
		{[]string{"bEARER   a.b.c"}, "a.b.c", nil},
		{[]string{"Bearer"}, "", problem.ErrNoToken},
		{[]string{"Bearer "}, "", problem.ErrNoToken},
		{[]string{"bearer  \t"}, "", problem.ErrNoToken}, // HTTP/2 keeps it
		{[]string{"Bearer \ta.b.c"}, "", problem.ErrPresentation},
		{[]string{"Bearer a b"}, "", problem.ErrPresentation},
		{[]string{"Bearer a\tb"}, "", problem.ErrPresentation},
		{[]string{"Bearer a,Bearer b"}, "", problem.ErrPresentation},
		{[]string{"Bearer a", "Bearer b"}, "", problem.ErrPresentation},
		{[]string{"Basic YTpi", "Bearer b"}, "", problem.ErrPresentation},
	} {
		if token, err := BearerToken(row.values); token != row.token || !errors.Is(err, row.err) {
			t.Errorf("%q: got %q, %v; want %q, %v", row.values, token, err, row.token, row.err)
		}
	}
}

func FuzzBearerToken(f *testing.F) {
	for _, seed := range []string{"", "Bearer a.b.c", "bearer  x", "Basic YTpi", "Bearer a, Bearer b", "Bearer\x00a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		token, err := BearerToken([]string{value})
		if (token == "") != (err != nil) {
			t.Fatalf("%q: token %q with error %v", value, token, err)
		}
		if err == nil && (!strings.HasSuffix(value, " "+token) || !strings.EqualFold(value[:6], "bearer") || strings.ContainsAny(token, " ,\t")) {
			t.Fatalf("%q: token %q", value, token)
		}
	})
}

// newDoor returns a Door that logs nothing.
func newDoor(t testing.TB) *Door {
	t.Helper()
	watch, err := telemetry.New(telemetry.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{
		MaxBodySize: 1 << 20, MaxHeaderSize: 64 << 10, Log: slog.New(slog.DiscardHandler), Telemetry: watch,
		TrustsPeer: func(*http.Request) bool { return false }, BaseURL: func(*http.Request) string { return "http://localhost" },
		Challenge: func(p problem.Problem, _ *http.Request, _ string) string { return p.Challenge },
		RouteName: func(path string) string { return path },
	})
}

// Callers may send a request ID of ours back, so it must pass the check for theirs.
func TestRequestIDsAreWellFormedAndDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 10000 {
		id := newRequestID()
		if len(id) != 26 || !isRequestID(id) || seen[id] {
			t.Fatalf("got %q, want 26 characters that are well formed and new", id)
		}
		seen[id] = true
	}
}
