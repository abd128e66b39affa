package sidecar

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/downstream"
	"middletier/internal/obo"
	"middletier/internal/problem"
	"middletier/internal/validate"
)

// callAnswer is the body of the two DownstreamApi routes.
type callAnswer struct {
	status     int
	headers    http.Header
	content    []byte // in UTF-8; nil: the answer has no body
	sessionKey string // "": none
}

// minMaxAnswer is how large an API's answer may be at least. It may be as large as the
// body of a request, if that is more.
const minMaxAnswer = 32 << 20

var errNoBaseURL = problem.New("misconfigured",
	"The API has no baseUrl, so it cannot be called. The AuthorizationHeader route gives a token for it.")

// call calls the API and answers with what it answered, whatever its status.
func (s *Server) call(c echo.Context, caller *validate.Caller, o options) error {
	event := door.EventOf(c.Request())
	request, err := tokenRequest(caller, o)
	if err != nil {
		return err
	}
	outgoing, err := newOutgoing(c.Request(), o)
	if err != nil {
		return err
	}
	outgoing.Token = s.tokenFor(event, &request, o)
	outgoing.RequestID, outgoing.Begin = event.ID, event.Start
	outgoing.MaxAnswer = max(minMaxAnswer, s.config.MaxBodySize)
	if event.Upload != nil {
		if outgoing.Body, err = event.Upload.ReadAll(s.config.MaxBodySize, o.Client.Deadline(event.Start)); err != nil {
			return err
		}
	}
	answer, err := send(event, o, outgoing)
	key := o.newSession(request)
	if err != nil {
		s.dropSession(event, key)
		return err
	}
	answer.sessionKey = key
	return respond(c, func(body []byte) ([]byte, error) {
		body, err := answer.append(body, 2*outgoing.MaxAnswer)
		if err != nil {
			s.dropSession(event, key)
		}
		return body, err
	})
}

// send calls the API and reads its answer.
func send(event *door.Event, o options, outgoing downstream.Outgoing) (callAnswer, error) {
	answer, err := o.Client.Send(event, outgoing)
	if err != nil {
		return callAnswer{}, err
	}
	if event.Trial != nil && answer.Status != http.StatusUnauthorized {
		event.Trial.Passed()
	}
	content, err := readContent(answer, outgoing.MaxAnswer)
	if err != nil {
		return callAnswer{}, err
	}
	return callAnswer{status: answer.Status, headers: inUTF8(answer.Header), content: content}, nil
}

// append appends a as JSON. It is written by hand, once: package json would sort and escape the
// headers with reflection, write the HTML in the content in six times its size, grow its buffer
// by doubling, and copy that. Content that takes more than limit is a *downstream.Error.
func (a callAnswer) append(body []byte, limit int64) ([]byte, error) {
	size := 0
	if a.content != nil {
		if size = jsonSize(a.content); int64(size) > limit {
			return nil, &downstream.Error{Kind: downstream.ResponseTooLarge, Err: fmt.Errorf("in JSON, it has more than %d bytes", limit)}
		}
	}
	body = strconv.AppendInt(append(body, `{"statusCode":`...), int64(a.status), 10)
	body = appendHeaders(append(body, `,"headers":`...), a.headers)
	body = append(slices.Grow(body, size+128), `,"content":`...)
	if a.content == nil {
		body = append(body, "null"...)
	} else {
		body = appendJSON(body, a.content)
	}
	if a.sessionKey != "" { // letters and digits
		body = append(append(append(body, `,"longRunningSessionKey":"`...), a.sessionKey...), '"')
	}
	return append(body, "}\n"...), nil
}

// appendHeaders appends h as package json does, in the order of the names.
func appendHeaders(body []byte, h http.Header) []byte {
	var buf [32]string // on the stack, for what most APIs send
	names := buf[:0]
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	body = append(body, '{')
	for i, name := range names {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(appendString(body, name), ":["...)
		for j, value := range h[name] {
			if j > 0 {
				body = append(body, ',')
			}
			body = appendString(body, value)
		}
		body = append(body, ']')
	}
	return append(body, '}')
}

// tokenFor returns the source of tokens for a call.
func (s *Server) tokenFor(event *door.Event, request *obo.Request, o options) downstream.TokenFunc {
	return func(ctx context.Context, rejected downstream.Rejection) (string, error) {
		request.Challenge = obo.Challenge{RejectedToken: rejected.Token, Claims: rejected.Claims}
		token, err := s.token(ctx, event, request, o)
		return token.Value, err
	}
}

// traceHeaders continue a trace (W3C Trace Context, and Baggage).
var traceHeaders = [...]string{"Traceparent", "Tracestate", "Baggage"}

// newOutgoing returns what the API sees of r, without token and body. Of the caller's headers
// that is what describes the body, and the trace.
func newOutgoing(r *http.Request, o options) (downstream.Outgoing, error) {
	if o.Client == nil {
		return downstream.Outgoing{}, errNoBaseURL
	}
	h := http.Header{"Accept": {cmp.Or(o.AcceptHeader, "application/json")}}
	// The configured type is that of bodies whose type the caller does not say.
	if kind := cmp.Or(o.override.ContentType, r.Header.Get("Content-Type"), o.ContentType); kind != "" {
		h["Content-Type"] = []string{kind}
	}
	// The body is sent as it came, so its coding has to be named.
	if codings := r.Header["Content-Encoding"]; codings != nil && r.ContentLength != 0 {
		h["Content-Encoding"] = codings
	}
	for _, name := range traceHeaders {
		if values := r.Header[name]; values != nil {
			h[name] = values
		}
	}
	for name, value := range o.ExtraHeader {
		h.Set(name, value)
	}
	return downstream.Outgoing{
		Method: cmp.Or(strings.ToUpper(o.HTTPMethod), http.MethodGet), Path: o.path, Query: addQuery(o.query, o.ExtraQuery), Header: h,
	}, nil
}

// addQuery appends parameters to a query, in the order of their names.
func addQuery(query string, parameters map[string]string) string {
	if len(parameters) == 0 {
		return query
	}
	var parts []string
	if query != "" {
		parts = append(parts, query)
	}
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		parts = append(parts, escapeQuery(name)+"="+escapeQuery(parameters[name]))
	}
	return strings.Join(parts, "&")
}

// escapeQuery encodes a space as %20, which every API reads.
func escapeQuery(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// inUTF8 returns h with values that JSON can hold. Bytes that are not UTF-8 are ISO-8859-1,
// as in HTTP before (RFC 9110, section 5.5).
func inUTF8(h http.Header) http.Header {
	for _, values := range h {
		for i, value := range values {
			if utf8.ValidString(value) {
				continue
			}
			runes := make([]rune, len(value))
			for at, c := range []byte(value) {
				runes[at] = rune(c)
			}
			values[i] = string(runes)
		}
	}
	return h
}
