package sidecar

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/obo"
	"middletier/internal/validate"
)

// sendHeader answers with a token for the API of o.
func (s *Server) sendHeader(c echo.Context, caller *validate.Caller, o options) error {
	request, err := tokenRequest(caller, o)
	if err != nil {
		return err
	}
	event := door.EventOf(c.Request())
	token, err := s.token(event, event, &request, o)
	if err != nil {
		return err
	}
	return respond(c, func(body []byte) ([]byte, error) { return appendHeader(body, token.Value, o.newSession(request)), nil })
}

// appendHeader appends the answer of the two AuthorizationHeader routes. A key of a session is
// letters and digits; "" for none.
func appendHeader(body []byte, token, key string) []byte {
	body = append(body, `{"authorizationHeader":"Bearer `...)
	body = appendToken(body, token)
	if key != "" {
		body = append(append(body, `","longRunningSessionKey":"`...), key...)
	}
	return append(body, "\"}\n"...)
}

// appendToken appends a token within a string of JSON. Bearer tokens stay as they are (RFC
// 6750, section 2.1); what an odd one needs, package json knows.
func appendToken(body []byte, token string) []byte {
	start := len(body)
	body = append(body, token...)
	if isUnescaped(body[start:]) {
		return body
	}
	quoted, _ := json.Marshal(token) // a string always encodes
	return append(body[:start], quoted[1:len(quoted)-1]...)
}

// isUnescaped reports whether text is ASCII that package json writes as it is. It leaves out
// spaces and a few other characters, of which bearer tokens have the tilde only.
func isUnescaped(text []byte) bool {
	var escaped uint64
	for ; len(text) >= 8; text = text[8:] {
		escaped |= escapedIn(binary.LittleEndian.Uint64(text))
	}
	for _, c := range text {
		escaped |= escapedIn(uint64(c) * ones)
	}
	return escaped&(0x80*ones) == 0
}

const ones = 0x0101010101010101

// escapedIn sets the highest bit of each byte of a word that isUnescaped refuses; at least of
// the first of them. A subtraction sets the highest bit of a byte that is too small; in a word
// where no byte is refused, no byte borrows from the next. OR with 'b' turns <, > and \ into a
// tilde; of other ASCII only ^, |, the tilde itself and two control characters.
func escapedIn(word uint64) uint64 {
	small := word - '+'*ones
	tilde := ((word | 'b'*ones) ^ '~'*ones) - ones
	return word | small | tilde
}

// token gets a token as getToken does, and counts and traces it.
func (s *Server) token(ctx context.Context, event *door.Event, request *obo.Request, o options) (obo.Token, error) {
	if o.override.CorrelationID != "" {
		ctx = context.WithValue(ctx, obo.CorrelationID{}, o.override.CorrelationID)
	}
	flow := request.Flow() // getToken may change the request
	token, err := s.door.GetToken(ctx, event, func(ctx context.Context) (obo.Flow, obo.Token, error) {
		token, err := s.getToken(ctx, request, o)
		return flow, token, err
	})
	event.Agent = request.Agent.ID
	return token, err
}

// bodies are buffers for answers, so that each needs no memory of its own.
var bodies = sync.Pool{New: func() any { return new([]byte) }}

// maxPooledBody bounds the buffers that are kept.
const maxPooledBody = 32 << 10

// respond sends the JSON that form appends to a buffer, as respondBody does.
func respond(c echo.Context, form func(body []byte) ([]byte, error)) error {
	pooled := bodies.Get().(*[]byte)
	body, err := form((*pooled)[:0])
	if err != nil {
		return err
	}
	if err := respondBody(c, body); err != nil {
		return err // HTTP/2 may still be reading the buffer
	}
	if cap(body) <= maxPooledBody {
		clear(body) // no token stays in it
		*pooled = body
		bodies.Put(pooled)
	}
	return nil
}

// maxUnsent is how much of an answer net/http holds back until the handler returns: it adds the
// length of a body that is complete then, without memory for it. Over HTTP/2 it is twice as much.
const maxUnsent = 2 << 10

// respondBody sends JSON that no cache may keep: it holds a token, or what was got with one.
func respondBody(c echo.Context, body []byte) error {
	h := c.Response().Header()
	setUncached(h)
	if len(body) > maxUnsent { // net/http would send it without its length
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	return door.Respond(c, http.StatusOK, "application/json", body)
}

// setUncached sets the headers that successful answers have, as those of Microsoft's
// container do.
func setUncached(h http.Header) {
	h["Cache-Control"], h["Pragma"], h["Expires"] = noCache, noPragma, expired
}

// Values of headers are shared by all answers: nobody changes them in place.
var noCache, noPragma, expired = []string{"no-cache, no-store, must-revalidate"}, []string{"no-cache"}, []string{"0"}
