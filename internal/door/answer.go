package door

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

// Respond sends a body that this service wrote.
func Respond(c echo.Context, status int, contentType string, body []byte) error {
	types := jsonType
	if contentType != jsonType[0] {
		types = []string{contentType}
	}
	h := c.Response().Header()
	h["X-Content-Type-Options"], h["Content-Type"] = noSniff, types
	c.Response().WriteHeader(status)
	for chunk := range slices.Chunk(body, chunkSize) {
		if _, err := c.Response().Write(chunk); err != nil {
			return err
		}
	}
	return nil
}

// Values of headers are shared by all answers: nobody changes them in place.
var noSniff, jsonType = []string{"nosniff"}, []string{"application/json"}

// DescriptionMaxAge is how long caches may store descriptions of the service. They
// change with a restart only.
const DescriptionMaxAge = 5 * time.Minute

// chunkSize is how many bytes are written at once. Each chunk has StallTimeout.
const chunkSize = 32 << 10

// RespondJSON sends value as JSON.
func RespondJSON(c echo.Context, status int, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return Respond(c, status, "application/json", append(body, '\n'))
}

// RespondPage sends an HTML page that this service wrote. The page may load only what
// policy, a part of a content security policy, lists. It cannot be framed, and it sends
// no referrer.
func RespondPage(c echo.Context, policy string, body []byte) error {
	h := c.Response().Header()
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"+policy)
	h.Set("Referrer-Policy", "no-referrer")
	return Respond(c, http.StatusOK, "text/html; charset=utf-8", body)
}

// SetCacheableIfFixed lets caches store a description of the service, unless the
// description depends on the request's headers.
func (d *Door) SetCacheableIfFixed(c echo.Context) {
	if d.config.Fixed {
		SetCacheable(c, DescriptionMaxAge)
		return
	}
	c.Response().Header().Set("Cache-Control", "no-store")
}

// SetCacheable lets caches store an answer that does not depend on the request.
func SetCacheable(c echo.Context, maxAge time.Duration) {
	c.Response().Header().Set("Cache-Control", "public, max-age="+Seconds(maxAge))
}

// Seconds is a duration as headers have it.
func Seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }

// HashSource returns the source expression that allows an inline script or style
// (Content Security Policy Level 3, section 2.3.1).
func HashSource(text string) string {
	hash := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'"
}

// WantsHTML reports whether r comes from a browser window.
func WantsHTML(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept"), "text/html") }
