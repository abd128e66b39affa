// Package session signs users in for pages that hold no token: the tokens stay here, and the
// browser gets a cookie.
//
// The routes are those of the best-known back end for front ends, Duende's BFF, so that pages
// written for it work. Package api has the route to the APIs, /bff/api, for which Token gives
// the session's own access token; from there a request goes the way of every other.
//
// The life of a session. /bff/login sends the browser to the provider, and a sealed cookie with
// it: an attempt, which holds all that the callback needs, so that any replica can answer it. The
// callback redeems the code (PKCE), checks the ID token (nonce), and writes a record: who it is,
// the refresh token, and our own access token. The record's key is the session's cookie. The
// record ends when it was too long without a request, when it is too old, by /bff/logout, by the
// provider's sign-out, by an operator, or when the provider refuses the refresh token.
//
// The session's cookie is SameSite=Strict, so it does not come with the redirect from the
// provider: the callback answers with a page that goes on by itself, from our own origin.
//
// Writers of one record follow one another by records.Store.Lock: a touch, which says that the
// session is used, never overwrites a refresh. Requests of a session share one flight for each,
// which outlives the one that began it.
//
// Locks. pauses.mu and watches.mu are held for a few statements; no other is taken meanwhile.
package session

import (
	"context"
	"crypto/cipher"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/singleflight"

	"middletier/internal/door"
	"middletier/internal/obo"
	"middletier/internal/problem"
	"middletier/internal/records"
	"middletier/internal/validate"
)

// Config holds what a Manager needs.
type Config struct {
	// ClientID is the client ID of the web app's registration. Provider holds its
	// credential.
	ClientID string
	// Scopes of this service, in full, are requested at sign-in, and the session's access token
	// has them.
	Scopes []string
	// OwnScopes are all scopes of this service, in full, which a sign-in may name; nil: Scopes.
	OwnScopes []string
	// APIScopes are the delegated scopes of the configured APIs, which a sign-in may name too.
	APIScopes []string
	// PublicURL is the URL of the service as browsers see it, without a slash at its end.
	PublicURL string
	// BasePath is the part of a request's path that PublicURL stands for.
	BasePath string
	// CallbackPath, SignedOutCallbackPath and RemoteSignOutPath are the routes to which the
	// provider sends the browser.
	CallbackPath, SignedOutCallbackPath, RemoteSignOutPath string
	// Reserved are the other paths of the service. No callback may be at or below one of them.
	Reserved []string
	// Lifetime is how long a session lasts at most, and IdleTimeout how long without a request.
	Lifetime, IdleTimeout time.Duration
	// Authority is the URL of our tenant's authority.
	Authority string
	// LoginKeys seal the cookies of sign-ins that are under way, 32 bytes each; the first
	// seals, all open.
	LoginKeys [][]byte

	Provider  *obo.Client
	Validator *validate.Validator
	Records   *records.Store
	Tokens    *obo.Cache // of all accounts, for sign-outs
	Log       *slog.Logger

	// SignInEnded is called with how a sign-in ended, for each request to the callback; nil:
	// nobody listens. The number of outcomes is bounded.
	SignInEnded func(ctx context.Context, outcome string)
}

// Session is a session that a request belongs to.
type Session struct {
	// AccessToken is a token for this service, issued to the session's user.
	AccessToken string
}

// LoginRequest is what a sign-in asks the provider for, beyond the usual.
type LoginRequest struct {
	Scopes []string // in full
	Claims string   // of a claims challenge, as JSON
	Prompt string
}

// Manager keeps sessions.
type Manager struct {
	config Config
	public *url.URL // of config.PublicURL
	seals  []cipher.AEAD
	names  cookieNames

	flights singleflight.Group // by what they do and the digest of a session's key
	pauses  pauses
	watches watches
}

// New returns a Manager for c, whose Check must have passed.
func New(c Config) *Manager {
	c.PublicURL = strings.TrimSuffix(c.PublicURL, "/")
	public, err := url.Parse(c.PublicURL)
	if err != nil { // it was checked
		public = &url.URL{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.SignInEnded == nil {
		c.SignInEnded = func(context.Context, string) {}
	}
	return &Manager{config: c, public: public, seals: newSeals(c.LoginKeys), names: newCookieNames(public.Scheme == "https")}
}

// AddRoutes adds the routes of the package to g, which has the base path. isOwnScript reports
// whether a script of our own origin sent a request.
func (m *Manager) AddRoutes(g *echo.Group, isOwnScript func(*http.Request) bool) {
	for path, handler := range map[string]echo.HandlerFunc{
		loginPath:                      m.login,
		silentLoginPath:                m.silentLogin,
		silentCallbackPath:             m.silentCallback,
		userPath:                       onlyScripts(isOwnScript, m.user),
		logoutPath:                     m.logout,
		m.config.CallbackPath:          m.callback,
		m.config.SignedOutCallbackPath: m.signedOut,
		m.config.RemoteSignOutPath:     m.remoteSignOut,
	} {
		g.RouteNotFound(path, onlyGet(handler)) // of any method
	}
}

// The routes that have the names of Duende's BFF.
const (
	loginPath          = "/bff/login"
	silentLoginPath    = "/bff/silent-login"
	silentCallbackPath = "/bff/silent-login-callback"
	userPath           = "/bff/user"
	logoutPath         = "/bff/logout"
	apiPrefix          = "/bff/api/"
)

// onlyGet refuses every other method. Answers of these routes are for one browser at one
// moment, and their URLs are no one else's business.
func onlyGet(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		door.EventOf(c.Request()).InSession = true
		h := c.Response().Header()
		if c.Request().Method != http.MethodGet {
			h.Set("Allow", http.MethodGet)
			return problem.ErrMethod
		}
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		return next(c)
	}
}

// onlyScripts refuses requests that no script of our own origin sent.
func onlyScripts(isOwnScript func(*http.Request) bool, next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if !isOwnScript(c.Request()) {
			return problem.ErrCSRF
		}
		return next(c)
	}
}

// Token returns the session that r belongs to, with an access token that is fresh enough. The
// error is problem.ErrNoSession, records.ErrUnavailable, an *obo.Error, or that of r's context.
func (m *Manager) Token(r *http.Request) (Session, error) {
	h, err := m.find(r)
	if err != nil {
		return Session{}, err
	}
	if h.isFresh(time.Now()) {
		m.touch(r.Context(), h)
	} else if h, err = m.refresh(r.Context(), h); err != nil {
		return Session{}, err
	}
	return Session{AccessToken: h.AccessToken}, nil
}

// EndUser ends all sessions of a user.
func (m *Manager) EndUser(ctx context.Context, tenantID, objectID string) error {
	return m.config.Records.DeleteOwned(ctx, userOwner(tenantID, objectID))
}

// EndAll ends all sessions, and with them every record of the same store.
func (m *Manager) EndAll(ctx context.Context) error { return m.config.Records.DeleteAll(ctx) }

// userOwner is the owner of a user's sessions. GUIDs may be written in either case.
func userOwner(tenantID, objectID string) records.Owner {
	return records.OwnerOf(records.Session, userHash(tenantID, objectID))
}

// providerOwner is the owner of sessions that began in the provider's session sid.
func providerOwner(sid string) records.Owner {
	return records.OwnerOf(records.ProviderSession, sha256.Sum256([]byte(sid)))
}

// path is the path of one of our routes as browsers see it.
func (m *Manager) path(route string) string { return m.public.EscapedPath() + route }

// LoginURL returns the URL at which the user of r signs in again, without the origin, and comes
// back to where the page is.
func (m *Manager) LoginURL(r *http.Request, login LoginRequest) string {
	query := url.Values{"returnUrl": {m.pageOf(r)}}
	if len(login.Scopes) > 0 {
		query.Set("scope", strings.Join(login.Scopes, " "))
	}
	if login.Claims != "" {
		query.Set("claims", encodeClaims(login.Claims))
	}
	if login.Prompt != "" {
		query.Set("prompt", login.Prompt)
	}
	return m.path(loginPath) + "?" + query.Encode()
}

// pageOf returns where the page is that sent r: a navigation to an API is the page itself, a
// sign-in that failed began at one, and other requests have a Referer.
func (m *Manager) pageOf(r *http.Request) string {
	route, ok := strings.CutPrefix(r.URL.EscapedPath(), m.config.BasePath)
	if ok && route == m.config.CallbackPath {
		if a, ok := m.attemptOf(r, r.URL.Query().Get("state")); ok {
			return a.ReturnURL
		}
	}
	if ok && r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" && strings.HasPrefix(route, apiPrefix) {
		page := m.path(route)
		if r.URL.RawQuery != "" {
			page += "?" + r.URL.RawQuery
		}
		if local, ok := localURL(page); ok {
			return local
		}
	}
	if referer, err := url.Parse(r.Referer()); err == nil && referer.Scheme == m.public.Scheme && referer.Host == m.public.Host {
		if local, ok := localURL(referer.RequestURI()); ok {
			return local
		}
	}
	return m.home()
}

// home is where a user goes who did not say where to.
func (m *Manager) home() string { return m.path("/") }

// claimsOf reports what is left of claims for pages: what an ID token says of itself, and not of
// the user, is left out, as by ASP.NET Core's handler.
func claimsOf(claims []validate.Claim) []validate.Claim {
	return slices.DeleteFunc(claims, func(c validate.Claim) bool { return notOfTheUser[c.Type] })
}

var notOfTheUser = map[string]bool{
	"nonce": true, "aud": true, "azp": true, "acr": true, "iss": true, "iat": true, "nbf": true, "exp": true, "at_hash": true,
	"c_hash": true, "ipaddr": true, "platf": true, "ver": true, "aio": true, "rh": true, "uti": true, "login_hint": true,
}

// invalidRequest is the problem of a request that cannot be answered.
func invalidRequest(detail string) error { return problem.New("invalid-request", detail) }

// isUnavailable reports whether err says that nobody knows whether there is a session.
func isUnavailable(err error) bool { return errors.Is(err, records.ErrUnavailable) }
