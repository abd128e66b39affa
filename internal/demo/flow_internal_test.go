package demo

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
)

func TestRecorderKeepsTheLastFlows(t *testing.T) {
	r := newRecorder()
	for i := range 2 * maxFlows {
		flow := r.begin(Flow{RequestID: fmt.Sprint(i)})
		for range 2 * maxSteps {
			r.addStep(flow, Step{})(func(*Step) {})
		}
		r.change(flow, func(f *Flow) { f.Done = true })
	}
	flows, _, _ := r.since(0)
	if len(flows) != maxFlows || flows[0].ID != maxFlows+1 || len(flows[0].Steps) != maxSteps || len(r.running) != 0 {
		t.Errorf("got %d flows from %d on with %d steps, %d running", len(flows), flows[0].ID, len(flows[0].Steps), len(r.running))
	}
	if flows, _, _ := r.since(flows[len(flows)-2].version); len(flows) != 1 {
		t.Errorf("after the last but one: got %d, want 1", len(flows))
	}
}

// Two calls with one request ID at once could not be told apart: the second is not shown.
func TestRecorderDoesNotMixCallsWithOneID(t *testing.T) {
	r := newRecorder()
	first := r.begin(Flow{RequestID: "same"})
	if second := r.begin(Flow{RequestID: "same"}); second != nil {
		t.Errorf("while the first runs: got %+v, want none", second)
	}
	r.change(first, func(f *Flow) { f.Done = true })
	if third := r.begin(Flow{RequestID: "same"}); third == nil || third.ID != 2 {
		t.Errorf("after the first: got %+v, want the second flow", third)
	}
}

func TestClaimsOf(t *testing.T) {
	token := func(claims string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".signature"
	}
	for _, row := range []struct{ token, want string }{
		{"", ""},
		{"opaque", ""},
		{token(`{"aud":"x"}`), `{"aud":"x"}`},
		{token(`[1]`), ""},
		{token(`null`), ""},
		{token(`{"aud":`), ""},
		{token(`{"aud":"x"}`) + ".more.parts", ""},
		{"e30.***.signature", ""},
		{token(`{"aud":"` + strings.Repeat("x", maxClaims) + `"}`), ""},
	} {
		if got := string(claimsOf(row.token)); got != row.want {
			t.Errorf("%.40s: got %.40s, want %s", row.token, got, row.want)
		}
	}
}

func TestParseTiming(t *testing.T) {
	for header, want := range map[string]Timing{
		"": {},
		"validate;dur=0.125, token;desc=memory;dur=0.010, downstream;dur=2.5": {Validate: 0.125, Token: 0.01, API: 2.5, Source: "memory"},
		"token;desc=identity_provider;dur=x, other;dur=1":                     {Source: "identity_provider"},
	} {
		if got := parseTiming(header); got != want {
			t.Errorf("%q: got %+v, want %+v", header, got, want)
		}
	}
}

type answerFunc func(*http.Request) (*http.Response, error)

func (f answerFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What is recorded of the platform's answers does not change them: not long ones, and not
// those that break.
func TestPlatformsAnswersPassUnchanged(t *testing.T) {
	broken := errors.New("broken")
	long := strings.Repeat("x", 3*maxAnswer)
	for name, row := range map[string]struct {
		body io.Reader
		want string
		err  error
	}{
		"refused": {strings.NewReader(`{"error":"invalid_grant"}`), `{"error":"invalid_grant"}`, nil},
		"long":    {strings.NewReader(long), long, nil},
		"broken":  {io.MultiReader(strings.NewReader("begun"), iotest.ErrReader(broken)), "begun", broken},
	} {
		r := newRecorder()
		flow := r.begin(Flow{RequestID: name})
		platform := r.Platform(answerFunc(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusBadRequest, Body: io.NopCloser(row.body)}, nil
		}))
		req := httptest.NewRequest("POST", "https://platform.example/token", nil).WithContext(withFlow(t.Context(), flow))
		req.GetBody = func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("grant_type=g&scope=openid+api%3A%2F%2Fx%2F.default&client_secret=s3cret")), nil
		}
		resp, err := platform.RoundTrip(req)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, err := io.ReadAll(resp.Body); string(got) != row.want || !errors.Is(err, row.err) {
			t.Errorf("%s: got %d bytes, %v; want %d, %v", name, len(got), err, len(row.want), row.err)
		}
		flows, _, _ := r.since(0)
		if step := flows[0].Steps[0]; step.Grant != "g" || step.Scope != "api://x/.default" || step.Status != 400 || !step.Done {
			t.Errorf("%s: recorded %+v", name, step)
		}
	}
}

// An informational answer is not the answer, and a problem that is too long is not shown.
func TestAnswersAreDescribed(t *testing.T) {
	describe := func(answer http.HandlerFunc) (f Flow) {
		w := &answerWriter{ResponseWriter: httptest.NewRecorder()}
		answer(w, httptest.NewRequest("GET", "/", nil))
		w.describe(&f)
		return f
	}
	problem := func(body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write(body[:1])
			_, _ = w.Write(body[1:])
		}
	}
	if f := describe(problem([]byte(`{"status":403}`))); f.Status != 403 || string(f.Problem) != `{"status":403}` {
		t.Errorf("a problem: got %+v", f)
	}
	if f := describe(problem([]byte(`{"status":` + string(bytes.Repeat([]byte("1"), maxAnswer)) + `}`))); f.Status != 403 || f.Problem != nil {
		t.Errorf("a long problem: got %d bytes", len(f.Problem))
	}
	if f := describe(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }); f.Status != 200 || f.Problem != nil {
		t.Errorf("an answer without WriteHeader: got %+v", f)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	r := newRecorder()
	r.streams.Store(maxStreams)
	w := httptest.NewRecorder()
	r.stream(w, httptest.NewRequest("GET", "/demo/flow", nil))
	if w.Code != http.StatusServiceUnavailable || r.streams.Load() != maxStreams {
		t.Errorf("got %d with %d streams", w.Code, r.streams.Load())
	}
}
