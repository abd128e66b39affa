package session

import (
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/validate"
)

// user answers GET /bff/user: who is signed in.
func (m *Manager) user(c echo.Context) error {
	r := c.Request()
	h, err := m.find(r)
	if err != nil {
		return err
	}
	if r.URL.Query().Get("slide") != "false" {
		m.touch(r.Context(), h)
		if now := time.Now(); now.Sub(time.UnixMilli(h.LastSeen)) >= m.config.touchEvery() {
			h.LastSeen = now.UnixMilli()
		}
	}
	left := int64(h.left(m.config, time.Now()) / time.Second)
	claims := append(h.Claims,
		claim("bff:session_expires_in", left),
		claim("bff:logout_url", m.path(logoutPath)+"?sid="+url.QueryEscape(h.SID)),
	)
	return door.RespondJSON(c, http.StatusOK, claims)
}

// claim is a claim that we make.
func claim(name string, value any) validate.Claim {
	encoded, err := json.Marshal(value)
	if err != nil { // a string or a number always can
		panic(err)
	}
	return validate.Claim{Type: name, Value: encoded}
}
