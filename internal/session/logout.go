package session

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/problem"
)

// signingOut is the state of a sign-out at the provider.
type signingOut struct {
	ReturnURL string `json:"returnUrl"`
	Began     int64  `json:"began"` // Unix time in seconds
}

// signOutPlace is what the state of a sign-out is sealed for.
const signOutPlace = "sign-out"

// logout answers GET /bff/logout: it ends the session, and sends the browser to the provider's
// sign-out (OpenID Connect RP-Initiated Logout, section 2). The session's sid shows that a page
// of ours asks for it.
func (m *Manager) logout(c echo.Context) error {
	w, r := c.Response(), c.Request()
	query, err := singleValues(r.URL.RawQuery)
	if err != nil {
		return err
	}
	returnURL, err := m.returnURL(query)
	if err != nil {
		return err
	}
	h, err := m.find(r)
	if errors.Is(err, problem.ErrNoSession) {
		if m.HasCookie(r) { // of a session that has ended
			m.dropSession(w)
		}
		return c.Redirect(http.StatusFound, returnURL)
	}
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare([]byte(query.Get("sid")), []byte(h.SID)) != 1 {
		return errSID
	}
	if err := m.config.Records.Delete(r.Context(), h.key); err != nil {
		return err
	}
	m.dropSession(w)
	if err := m.config.Tokens.ForgetTokens(r.Context(), h.Tenant, h.ObjectID); err != nil {
		m.config.Log.Warn("the tokens of an account that signed out are not forgotten everywhere",
			"requestId", door.EventOf(r).ID, "error", err)
	}
	parameters := url.Values{
		"client_id":                {m.config.ClientID},
		"post_logout_redirect_uri": {m.config.PublicURL + m.config.SignedOutCallbackPath},
		"state":                    {m.seal(signOutPlace, signingOut{returnURL, time.Now().Unix()})},
	}
	if h.LoginHint != "" {
		parameters.Set("logout_hint", h.LoginHint)
	} else if h.IDToken != "" {
		parameters.Set("id_token_hint", h.IDToken)
	}
	return c.Redirect(http.StatusFound, m.config.Authority+"/oauth2/v2.0/logout?"+parameters.Encode())
}

var errSID = invalidRequest("The sid is missing or not that of the session: use the bff:logout_url of /bff/user.")

// signOutLife is how long a user may take to sign out at the provider.
const signOutLife = time.Hour

// signedOut answers the provider's redirect after a sign-out. It goes where the sign-out asked
// for, else home: the provider's state may be missing.
func (m *Manager) signedOut(c echo.Context) error {
	next := m.home()
	var state signingOut
	if m.open(signOutPlace, c.QueryParam("state"), &state) && time.Since(time.Unix(state.Began, 0)) < signOutLife {
		next = state.ReturnURL
	}
	return c.Redirect(http.StatusFound, next)
}

// remoteSignOut answers the frame of the provider's page at a sign-out (OpenID Connect
// Front-Channel Logout, section 2). The frame has no cookie where the browser blocks those of
// third parties: it is the provider's session that names ours. The answer is the same whether
// there are any. The provider does not repeat the request: where Redis does not answer, package
// records repeats the deletion.
func (m *Manager) remoteSignOut(c echo.Context) error {
	r := c.Request()
	query, err := singleValues(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if sid := query.Get("sid"); sid != "" && (!query.Has("iss") || m.config.Validator.IsIssuer(query.Get("iss"))) {
		if err := m.config.Records.DeleteOwned(r.Context(), providerOwner(sid)); err != nil {
			m.config.Log.Warn("sessions that the provider ended are not ended until Redis answers again", "requestId", door.EventOf(r).ID, "error", err)
		}
	}
	return respond(c, signedOutPage, "", m.providerOrigin())
}

const signedOutPage = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Signed out</title></head><body></body></html>
`

// providerOrigin is the origin of the provider's pages.
func (m *Manager) providerOrigin() string {
	u, err := url.Parse(m.config.Authority)
	if err != nil || strings.ContainsAny(u.Host, " ;,'") {
		return "'none'"
	}
	return u.Scheme + "://" + u.Host
}
