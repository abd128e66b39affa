// Package session signs users in for pages that hold no token: the tokens stay here, and the
// browser gets a cookie.
//
// The routes are those of the best-known back end for front ends, Duende's BFF, so that pages
// written for it work. Package api has the route to the APIs, /bff/api, for which Token gives
// the session's own access token; from there a request goes the way of every other.
package session

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

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
	// APIScopes are the delegated scopes of the configured APIs, which a sign-in may name too.
	APIScopes []string
	// PublicURL is the URL of the service as browsers see it, without a slash at its end.
	PublicURL string
	// CallbackPath, SignedOutCallbackPath and RemoteSignOutPath are the routes to which the
	// provider sends the browser.
	CallbackPath, SignedOutCallbackPath, RemoteSignOutPath string
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
}

// Session is a session that a request belongs to.
type Session struct {
	key records.Key
	// AccessToken is a token for this service, issued to the session's user.
	AccessToken string
}

// Ask is what a sign-in asks the provider for, beyond the usual.
type Ask struct {
	Scopes []string // in full
	Claims string   // of a claims challenge, as JSON
	Prompt string
}

// Manager keeps sessions.
type Manager struct{ config Config }

// New returns a Manager.
func New(c Config) *Manager { return &Manager{config: c} }

// AddRoutes adds the routes of the package to g, which has the base path.
func (m *Manager) AddRoutes(*echo.Group) {}

// HasCookie reports whether r has the cookie of a session, whatever it is worth.
func (m *Manager) HasCookie(*http.Request) bool { return false }

// IsOwnCookie reports whether a cookie of this name is this service's.
func (m *Manager) IsOwnCookie(string) bool { return false }

// Token returns the session that r belongs to, with an access token that is fresh enough. The
// error is problem.ErrNoSession, records.ErrUnavailable, an *obo.Error, or that of r's context.
func (m *Manager) Token(*http.Request) (Session, error) { return Session{}, problem.ErrNoSession }

// LoginURL returns the URL at which the user of r signs in again, and comes back to where the
// page is.
func (m *Manager) LoginURL(*http.Request, Ask) string { return "" }
