package door

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"middletier/internal/problem"
)

// handleError answers err, unless the answer has begun.
func (d *Door) handleError(err error, c echo.Context) {
	r, resp := c.Request(), c.Response()
	event := EventOf(r)
	if resp.Committed {
		return
	}
	p := problemFor(err, problem.Requester{Caller: event.Caller, InSession: event.InSession})
	if p.Kind == "client-closed-request" && r.Context().Err() == nil {
		p = problem.Internal // another context was canceled: the caller still waits
	}
	event.Problem = p.Kind
	if problem.Types[p.Kind].Status == problem.StatusClientClosed {
		resp.Status = problem.StatusClientClosed
		return
	}
	if event.Upload != nil && !event.Forwarded { // Forward does it itself
		event.Upload.PrepareEarlyReply()
	}
	base := d.config.BaseURL(r)
	setHeaders(resp.Header(), p, d.config.Challenge(p, r, base))
	if contentType := grpcType(r); contentType != "" {
		writeGRPC(c, contentType, p)
		return
	}
	doc := p.Document(base)
	doc.Instance, doc.RequestID = r.URL.EscapedPath(), event.ID
	if d.config.Extend != nil {
		d.config.Extend(&doc, p, r)
	}
	writeProblem(c, doc)
}

// setHeaders sets the headers of the answer with p. challenge is its WWW-Authenticate
// header, "" for none.
func setHeaders(h http.Header, p problem.Problem, challenge string) {
	h.Set("Cache-Control", "no-store")
	if challenge != "" {
		h.Set("WWW-Authenticate", challenge)
	}
	if p.Allow != nil {
		h.Set("Allow", strings.Join(p.Allow, ", "))
	}
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((p.RetryAfter+time.Second-1)/time.Second)))
	}
}

func writeProblem(c echo.Context, doc problem.Document) {
	body, err := json.Marshal(doc)
	if err != nil { // strings and numbers always encode
		panic(err)
	}
	h := c.Response().Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	c.Response().WriteHeader(doc.Status)
	if c.Request().Method != http.MethodHead {
		_, _ = c.Response().Write(append(body, '\n')) // the caller may have left
	}
}

// problemFor is problem.For with the errors of the router, which has set Allow.
func problemFor(err error, from problem.Requester) problem.Problem {
	p := problem.For(err, from)
	var routeErr *echo.HTTPError
	if p.Kind != problem.Internal.Kind || !errors.As(err, &routeErr) {
		return p
	}
	switch routeErr.Code {
	case http.StatusNotFound:
		return problem.ErrNotFound.Problem
	case http.StatusMethodNotAllowed:
		return problem.ErrMethod.Problem
	}
	return p
}
