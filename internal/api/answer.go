package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
)

// respond sends a body that this service wrote.
func respond(c echo.Context, status int, contentType string, body []byte) error {
	h := c.Response().Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Type", contentType)
	c.Response().WriteHeader(status)
	for chunk := range slices.Chunk(body, chunkSize) {
		if _, err := c.Response().Write(chunk); err != nil {
			return err
		}
	}
	return nil
}

// chunkSize is how many bytes are written at once. Each chunk has StallTimeout.
const chunkSize = 32 << 10

func respondJSON(c echo.Context, status int, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return respond(c, status, "application/json", append(body, '\n'))
}

// respondPage sends an HTML page that this service wrote. The page may load only what
// policy, a part of a content security policy, lists. It cannot be framed, and it sends
// no referrer.
func respondPage(c echo.Context, policy string, body []byte) error {
	h := c.Response().Header()
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"+policy)
	h.Set("Referrer-Policy", "no-referrer")
	return respond(c, http.StatusOK, "text/html; charset=utf-8", body)
}

// setCacheableIfFixed lets caches store a description of the service, unless the
// description depends on the request's headers.
func (s *Server) setCacheableIfFixed(c echo.Context) {
	if s.config.PublicURL != "" {
		setCacheable(c, descriptionMaxAge)
		return
	}
	c.Response().Header().Set("Cache-Control", "no-store")
}

// setCacheable lets caches store an answer that does not depend on the request.
func setCacheable(c echo.Context, maxAge time.Duration) {
	c.Response().Header().Set("Cache-Control", "public, max-age="+seconds(maxAge))
}

// seconds is a duration as headers have it.
func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }
