package session

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"middletier/internal/obo"
	"middletier/internal/validate"
)

const (
	// maxLifetime is how long the provider keeps a refresh token that nobody uses ("Refresh
	// tokens in the Microsoft identity platform").
	maxLifetime = 90 * 24 * time.Hour

	// maxIdle is how long Redis keeps the generation of an owner at least, without which its sessions
	// count as signed out.
	maxIdle = 48 * time.Hour
)

// Check reports every mistake in c by its key in the session section.
func (c Config) Check(report func(key, problem string)) {
	if !validate.IsGUID(c.ClientID) {
		report("clientId", "must be an application (client) ID, a GUID")
	}
	if err := obo.CheckScopes(c.Scopes); err != nil {
		report("scopes", err.Error())
	}
	c.checkPaths(report)
	switch {
	case c.IdleTimeout < time.Second || c.IdleTimeout > maxIdle:
		report("idleTimeout", "must be between 1s and 48h")
	case c.Lifetime < c.IdleTimeout:
		report("lifetime", "must not be shorter than idleTimeout")
	}
	if c.Lifetime > maxLifetime {
		report("lifetime", "must be at most 2160h, 90 days: the identity provider forgets a refresh token after that")
	}
}

// plainPath matches what can be a route, and a redirect URI to the letter.
var plainPath = regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$`)

func (c Config) checkPaths(report func(key, problem string)) {
	seen := map[string]string{}
	for _, entry := range []struct{ key, path string }{
		{"callbackPath", c.CallbackPath}, {"signedOutCallbackPath", c.SignedOutCallbackPath}, {"remoteSignOutPath", c.RemoteSignOutPath},
	} {
		if !plainPath.MatchString(entry.path) {
			report(entry.key, "must be a plain path that begins with a slash, such as /signin-oidc")
			continue
		}
		if other, taken := seen[entry.path]; taken {
			report(entry.key, "must differ from "+other)
		}
		seen[entry.path] = entry.key
		for _, route := range c.Reserved {
			if entry.path == route || strings.HasPrefix(entry.path, route+"/") {
				report(entry.key, fmt.Sprintf("must not be at or below %s, which is a route of this service", route))
			}
		}
	}
}
