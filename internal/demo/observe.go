package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"middletier/internal/failure"
)

// maxAnswer limits what is read of a problem document or of the platform's answer, in
// bytes.
const maxAnswer = 64 << 10

// flowKey is the key of a flow in a request's context. The service's exchanges inherit it.
type flowKey struct{}

func withFlow(ctx context.Context, flow *Flow) context.Context {
	return context.WithValue(ctx, flowKey{}, flow)
}

// serve passes a call of the middle tier on, and records it.
func (r *Recorder) serve(next http.Handler, cases *cases, w http.ResponseWriter, req *http.Request) {
	start := time.Now()
	id := requestID(req)
	name, end := cases.begin(id)
	defer end()
	flow := r.begin(Flow{
		RequestID: id, Case: name, Time: start, Method: truncate(req.Method), Path: truncate(req.URL.Path),
		Browser: req.Header.Get("Sec-Fetch-Mode") != "", Caller: claimsOf(bearer(req.Header)),
	})
	if flow == nil {
		next.ServeHTTP(w, req)
		return
	}
	req = req.WithContext(withFlow(req.Context(), flow))
	answer := &answerWriter{ResponseWriter: w}
	defer func() { // also if the handler panics, to close the connection
		r.change(flow, func(f *Flow) {
			f.Done, f.Milliseconds = true, milliseconds(time.Since(start))
			answer.describe(f)
		})
	}()
	next.ServeHTTP(answer, req)
}

// requestID returns the ID that the service gives the request. The service makes one itself
// if the caller sends none; here it is made earlier, because calls of the API are
// recognised by it.
func requestID(req *http.Request) string {
	if ids := req.Header["X-Request-Id"]; len(ids) == 1 && failure.Code(ids[0]) != "" {
		return ids[0]
	}
	id := rand.Text()
	req.Header["X-Request-Id"] = []string{id}
	return id
}

func bearer(h http.Header) string {
	_, token, _ := strings.Cut(h.Get("Authorization"), " ")
	return token
}

// answerWriter notes what an answer says.
type answerWriter struct {
	http.ResponseWriter
	status  int
	problem bytes.Buffer
	whole   bool // the problem document fits
}

// Unwrap is for http.ResponseController.
func (w *answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *answerWriter) WriteHeader(status int) {
	if status >= http.StatusOK && w.status == 0 {
		w.status = status
		w.whole = w.Header().Get("Content-Type") == "application/problem+json"
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *answerWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if w.whole = w.whole && w.problem.Len()+len(b) <= maxAnswer; w.whole {
		w.problem.Write(b)
	}
	return w.ResponseWriter.Write(b)
}

// describe writes into f what the answer says.
func (w *answerWriter) describe(f *Flow) {
	f.Status = w.status
	if w.status == 0 {
		return
	}
	if w.whole && json.Valid(w.problem.Bytes()) {
		f.Problem = w.problem.Bytes()
	}
	f.Challenge, f.RetryAfter = w.Header().Get("WWW-Authenticate"), w.Header().Get("Retry-After")
	timings := w.Header()["Server-Timing"]
	if len(timings) > 0 {
		f.Timing = parseTiming(timings[len(timings)-1]) // the API's own come before
	}
}

// parseTiming reads what the service writes into Server-Timing.
func parseTiming(header string) (t Timing) {
	for entry := range strings.SplitSeq(header, ",") {
		name, rest, _ := strings.Cut(strings.TrimSpace(entry), ";")
		var duration float64
		for parameter := range strings.SplitSeq(rest, ";") {
			key, value, _ := strings.Cut(parameter, "=")
			switch key {
			case "dur":
				duration, _ = strconv.ParseFloat(value, 64) // 0 is not shown
			case "desc":
				t.Source = value
			}
		}
		switch name {
		case "validate":
			t.Validate = duration
		case "token":
			t.Token = duration
		case "downstream":
			t.API = duration
		}
	}
	return t
}

// API returns a handler that records the calls of the API.
func (r *Recorder) API(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		flow := r.find(req.Header.Get("X-Request-ID"))
		if flow == nil {
			next.ServeHTTP(w, req)
			return
		}
		finish := r.addStep(flow, Step{
			Kind: APIStep, Method: truncate(req.Method), Path: truncate(req.URL.Path), Token: claimsOf(bearer(req.Header)),
		})
		answer := &answerWriter{ResponseWriter: w}
		defer finish(func(s *Step) {
			s.Status = answer.status
			if answer.status == http.StatusUnauthorized || answer.status == http.StatusForbidden {
				s.Error = challengeError(w.Header().Get("WWW-Authenticate"))
			}
		})
		next.ServeHTTP(answer, req)
	})
}

// challengeError returns the error code of a Bearer challenge of the ToDo API.
func challengeError(challenge string) string {
	_, rest, _ := strings.Cut(challenge, `error="`)
	code, _, _ := strings.Cut(rest, `"`)
	return code
}

// Platform returns a transport that records token requests.
func (r *Recorder) Platform(next http.RoundTripper) http.RoundTripper {
	return &platformTransport{r, next}
}

type platformTransport struct {
	recorder *Recorder
	next     http.RoundTripper
}

// RoundTrip is for http.RoundTripper.
func (t *platformTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	flow, _ := req.Context().Value(flowKey{}).(*Flow)
	if flow == nil || req.Method != http.MethodPost || req.GetBody == nil {
		return t.next.RoundTrip(req)
	}
	step := Step{Kind: ExchangeStep}
	if body, err := req.GetBody(); err == nil {
		text, _ := io.ReadAll(io.LimitReader(body, maxAnswer)) // of what cannot be read, less is shown
		_ = body.Close()
		form, _ := url.ParseQuery(string(text))
		step.Grant, step.Scope = truncate(form.Get("grant_type")), truncate(apiScopes(form.Get("scope")))
		step.Demand = truncate(demandedContext(form.Get("claims")))
	}
	finish := t.recorder.addStep(flow, step)
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		finish(func(*Step) {})
		return nil, err
	}
	// An answer that is too long is passed on and not shown.
	text, readErr := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	resp.Body = &replayedBody{io.MultiReader(bytes.NewReader(text), &failingReader{readErr}, resp.Body), resp.Body}
	finish(func(s *Step) { describeToken(s, resp.StatusCode, text) })
	return resp, nil
}

// demandedContext returns the authentication context of a claims request, or "".
func demandedContext(claims string) string {
	var request struct {
		AccessToken struct {
			Contexts struct {
				Value string `json:"value"`
			} `json:"acrs"`
		} `json:"access_token"`
	}
	_ = json.Unmarshal([]byte(claims), &request) // of what cannot be read, nothing is shown
	return request.AccessToken.Contexts.Value
}

// apiScopes leaves out the scopes that are for the client itself.
func apiScopes(scope string) string {
	var names []string
	for name := range strings.FieldsSeq(scope) {
		if name != "openid" && name != "profile" && name != "offline_access" {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

// describeToken writes into s what the platform's answer says.
func describeToken(s *Step, status int, body []byte) {
	s.Status = status
	var refusal struct {
		Error       string `json:"error"`
		Suberror    string `json:"suberror"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &refusal) == nil {
		s.Error, s.Suberror = truncate(refusal.Error), truncate(refusal.Suberror)
		description, _, _ := strings.Cut(refusal.Description, "Trace ID:") // it and what follows change each time
		s.Description = truncate(strings.TrimSpace(description))
	}
}

// replayedBody is a body whose beginning was read.
type replayedBody struct {
	io.Reader
	io.Closer
}

// failingReader ends with the error that interrupted a body, or with io.EOF.
type failingReader struct{ err error }

func (r *failingReader) Read([]byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	return 0, io.EOF
}
