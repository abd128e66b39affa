package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
)

// answer sends a body of the service's own. It is what contentType says.
func answer(c echo.Context, status int, contentType string, body []byte) error {
	h := c.Response().Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Type", contentType)
	c.Response().WriteHeader(status)
	for piece := range slices.Chunk(body, pieceSize) {
		if _, err := c.Response().Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// pieceSize is what is written at once, in bytes: each piece has StallTimeout.
const pieceSize = 32 << 10

func answerJSON(c echo.Context, status int, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return answer(c, status, "application/json", append(body, '\n'))
}

// page sends an HTML page of the service's own, which may load what sources, a
// part of a content security policy, lists, and nothing else. It runs in nobody
// else's frame and tells nobody where its reader came from.
func page(c echo.Context, sources string, body []byte) error {
	h := c.Response().Header()
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"+sources)
	h.Set("Referrer-Policy", "no-referrer")
	return answer(c, http.StatusOK, "text/html; charset=utf-8", body)
}

// describes lets caches keep a description of the service for a while, where it
// does not depend on what the request says of how it came.
func (s *Server) describes(c echo.Context) {
	if s.config.PublicURL != "" {
		mayBeKept(c, selfAge)
		return
	}
	c.Response().Header().Set("Cache-Control", "no-store")
}

// mayBeKept lets caches keep an answer that depends on nothing of the request.
func mayBeKept(c echo.Context, age time.Duration) {
	c.Response().Header().Set("Cache-Control", "public, max-age="+strconv.Itoa(int(age/time.Second)))
}
