package api

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
		{errNoToken, "missing-token", 401},
		{errPresentation, "invalid-request", 400},
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
		{errAppOnUser, "wrong-token-type", 403},
		{errUserOnApp, "wrong-token-type", 403},
		{&validate.AccessError{Allow: []string{"GET"}}, "method-not-allowed", 405},
		{&validate.AccessError{Needed: []string{"Read"}}, "insufficient-scope", 403},
		{&validate.AccessError{}, "no-access-rule", 403},
		{errUnknownAPI, "unknown-api", 404},
		{downstream.ErrPath, "invalid-request", 400},
		{validate.ErrPath, "invalid-request", 400},
		{errMethod, "invalid-request", 400},
		{downstream.ErrBody, "invalid-request", 400},
		{downstream.ErrHeader, "invalid-request", 400},
		{errUpgrade, "upgrade-not-supported", 501},
		{errBodyTooLarge, "body-too-large", 413},
		{&http.MaxBytesError{Limit: 1}, "body-too-large", 413},
		{errHeadersTooLarge, "headers-too-large", 431},
		{&rateError{time.Second}, "rate-limited", 429},
		{errLogLevel, "invalid-request", 400},
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
		{echo.ErrNotFound, "not-found", 404},
		{echo.ErrMethodNotAllowed, "method-not-allowed", 405},
		{echo.ErrTeapot, "internal", 500},
		{errors.New("anything else"), "internal", 500},
	} {
		got := problemFor(fmt.Errorf("on the way: %w", row.err), nil)
		if got.kind != row.kind || problemTypes[got.kind].Status != row.status {
			t.Errorf("%v: got %s %d, want %s %d", row.err, got.kind, problemTypes[got.kind].Status, row.kind, row.status)
		}
		if strings.Contains(got.detail, "inner") || got.detail == "" && row.status != statusClientClosed {
			t.Errorf("%v: detail is %q, want a fixed sentence", row.err, got.detail)
		}
	}
}

// An error_description is sent in quotes and without escapes (RFC 6750, section 3).
func TestSentencesAboutTokensCanBeSentInAChallenge(t *testing.T) {
	said := map[string]validate.Reason{}
	for reason, sentence := range tokenDetails {
		if i := strings.IndexFunc(sentence, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }); i >= 0 {
			t.Errorf("%s: %q holds %q", reason, sentence, sentence[i:])
		}
		if other, taken := said[sentence]; taken || !strings.HasSuffix(sentence, ".") {
			t.Errorf("%s: got %q, the same as for %q, or not a sentence", reason, sentence, other)
		}
		said[sentence] = reason
	}
}

func newTelemetry(t *testing.T) *telemetry.Telemetry {
	t.Helper()
	watch, err := telemetry.New(telemetry.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return watch
}

// A panic is answered and logged, and the process goes on.
func TestPanicIsAnInternalErrorAndLoggedOnce(t *testing.T) {
	var log strings.Builder
	s := New(Config{
		MaxBodySize: 1 << 20, MaxHeaderSize: 64 << 10, // no validator: a call that needs it panics
		Log: slog.New(slog.NewTextHandler(&log, nil)), Telemetry: newTelemetry(t),
	})
	for range 2 {
		log.Reset()
		r := httptest.NewRequest("GET", "/api/todo/items", nil)
		r.Header.Set("Authorization", "Bearer token")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != 500 || !strings.Contains(w.Body.String(), "/problems/internal") || strings.Contains(w.Body.String(), "nil pointer") {
			t.Errorf("got %d %s, want 500 internal with a fixed text", w.Code, w.Body)
		}
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "nil pointer") || !strings.Contains(got, "level=ERROR") {
			t.Errorf("log: got %q, want one line with the panic", got)
		}
	}
}

func TestRetryAfterIsRoundedUp(t *testing.T) {
	s := New(Config{MaxBodySize: 1, MaxHeaderSize: 1 << 10, Log: slog.New(slog.DiscardHandler), Telemetry: newTelemetry(t)})
	handler := s.observe(func(echo.Context) error {
		return &obo.Error{Kind: obo.Unavailable, RetryAfter: 1500 * time.Millisecond}
	})
	w := httptest.NewRecorder()
	c := echo.New().NewContext(httptest.NewRequest("HEAD", "/", nil), w)
	if err := handler(c); err != nil {
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
		{nil, "", errNoToken},
		{[]string{""}, "", errNoToken},
		{[]string{"Basic YTpi"}, "", errNoToken},
		{[]string{"a.b.c"}, "", errNoToken},
		{[]string{"Bearer\ta.b.c"}, "", errNoToken},
		{[]string{"Bearer a.b.c"}, "a.b.c", nil},
		{[]string{"bEARER   a.b.c"}, "a.b.c", nil},
		{[]string{"Bearer"}, "", errNoToken},
		{[]string{"Bearer "}, "", errNoToken},
		{[]string{"bearer  \t"}, "", errNoToken}, // HTTP/2 keeps it
		{[]string{"Bearer \ta.b.c"}, "", errPresentation},
		{[]string{"Bearer a b"}, "", errPresentation},
		{[]string{"Bearer a\tb"}, "", errPresentation},
		{[]string{"Bearer a,Bearer b"}, "", errPresentation},
		{[]string{"Bearer a", "Bearer b"}, "", errPresentation},
		{[]string{"Basic YTpi", "Bearer b"}, "", errPresentation},
	} {
		if token, err := bearerToken(row.values); token != row.token || !errors.Is(err, row.err) {
			t.Errorf("%q: got %q, %v; want %q, %v", row.values, token, err, row.token, row.err)
		}
	}
}

func FuzzBearerToken(f *testing.F) {
	for _, seed := range []string{"", "Bearer a.b.c", "bearer  x", "Basic YTpi", "Bearer a, Bearer b", "Bearer\x00a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		token, err := bearerToken([]string{value})
		if (token == "") != (err != nil) {
			t.Fatalf("%q: token %q with error %v", value, token, err)
		}
		if err == nil && (!strings.HasSuffix(value, " "+token) || !strings.EqualFold(value[:6], "bearer") || strings.ContainsAny(token, " ,\t")) {
			t.Fatalf("%q: token %q", value, token)
		}
	})
}

func FuzzSplitTarget(f *testing.F) {
	for _, seed := range []string{"/api/todo/items", "/api/todo", "/api/", "/api", "/x", "/api/todo//", "/api/%74odo/x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		name, path, err := splitTarget(escaped, "/api/")
		if err == nil && ("/api/"+name+path != escaped || strings.Contains(name, "/") || path != "" && path[0] != '/') {
			t.Fatalf("%q: got %q and %q", escaped, name, path)
		}
	})
}
