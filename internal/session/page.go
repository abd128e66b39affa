package session

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
)

// respond sends a page that loads nothing. It may be framed by ancestors, and run the one script
// that scripts allows.
func respond(c echo.Context, page, scripts, ancestors string) error {
	h := c.Response().Header()
	h.Set("Content-Security-Policy",
		"default-src 'none'; base-uri 'none'; form-action 'none'"+scripts+"; frame-ancestors "+ancestors)
	switch ancestors { // for browsers that know no frame-ancestors
	case "'none'":
		h.Set("X-Frame-Options", "DENY")
	case "'self'":
		h.Set("X-Frame-Options", "SAMEORIGIN")
	}
	return door.Respond(c, http.StatusOK, "text/html; charset=utf-8", []byte(page))
}

// goOnPage goes on to a URL of our origin by itself, and by a link where the browser is told not
// to.
func goOnPage(next string) string {
	next = html.EscapeString(next)
	return fmt.Sprintf(`<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Signed in</title><meta http-equiv="refresh" content="0;url=%s"></head>
<body><p>You are signed in. <a href="%s">Continue</a></p></body>
</html>
`, next, next)
}

// silentCallback answers GET /bff/silent-login-callback, where the hidden frame ends: it tells the
// page around it whether there is a session. Only a page of our own origin hears it.
func (m *Manager) silentCallback(c echo.Context) error {
	_, err := m.find(c.Request())
	if isUnavailable(err) {
		return err
	}
	origin, encodeErr := json.Marshal(m.public.Scheme + "://" + m.public.Host)
	if encodeErr != nil { // a string always can
		return encodeErr
	}
	script := fmt.Sprintf(`window.parent.postMessage({source: "bff-silent-login", isLoggedIn: %s}, %s);`, strconv.FormatBool(err == nil), origin)
	page := fmt.Sprintf(`<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Silent sign-in</title></head>
<body><script>%s</script></body>
</html>
`, script)
	return respond(c, page, "; script-src "+door.HashSource(script), "'self'")
}
