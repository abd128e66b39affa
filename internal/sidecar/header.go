package sidecar

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/obo"
	"middletier/internal/validate"
)

// headerAnswer is the body of the two AuthorizationHeader routes.
type headerAnswer struct {
	AuthorizationHeader   string `json:"authorizationHeader"`
	LongRunningSessionKey string `json:"longRunningSessionKey,omitempty"`
}

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
	return respond(c, headerAnswer{"Bearer " + token.Value, o.newSession(request)})
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

// respond sends value as JSON that no cache may keep: it holds a token, or what was got
// with one.
func respond(c echo.Context, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return respondBody(c, append(body, '\n'))
}

// respondBody is respond for JSON that is written already.
func respondBody(c echo.Context, body []byte) error {
	h := c.Response().Header()
	setUncached(h)
	h["Content-Length"] = []string{strconv.Itoa(len(body))} // else net/http would send a longer one in chunks
	return door.Respond(c, http.StatusOK, "application/json", body)
}

// setUncached sets the headers that successful answers have, as those of Microsoft's
// container do.
func setUncached(h http.Header) {
	h["Cache-Control"], h["Pragma"], h["Expires"] = noCache, noPragma, expired
}

// Values of headers are shared by all answers: nobody changes them in place.
var noCache, noPragma, expired = []string{"no-cache, no-store, must-revalidate"}, []string{"no-cache"}, []string{"0"}
