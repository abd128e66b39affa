package session_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"middletier/internal/session"
)

// Each mistake in a configuration is reported under its key.
func TestMistakesAreReportedByKey(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*session.Config)
		want   string // keys
	}{
		"none":                              {func(*session.Config) {}, ""},
		"no client ID":                      {func(c *session.Config) { c.ClientID = "" }, "clientId"},
		"a client ID that is no GUID":       {func(c *session.Config) { c.ClientID = "web" }, "clientId"},
		"scopes of two resources":           {func(c *session.Config) { c.Scopes = []string{readScope, todoScope} }, "scopes"},
		"no scopes":                         {func(c *session.Config) { c.Scopes = nil }, "scopes"},
		"a callback without a slash":        {func(c *session.Config) { c.CallbackPath = "signin" }, "callbackPath"},
		"a callback with a query":           {func(c *session.Config) { c.CallbackPath = "/a?b" }, "callbackPath"},
		"a callback with an escape":         {func(c *session.Config) { c.CallbackPath = "/a%2fb" }, "callbackPath"},
		"a callback that is a parameter":    {func(c *session.Config) { c.CallbackPath = "/:a" }, "callbackPath"},
		"a callback that ends with a slash": {func(c *session.Config) { c.CallbackPath = "/a/" }, "callbackPath"},
		"a callback that goes up":           {func(c *session.Config) { c.CallbackPath = "/../a" }, "callbackPath"},
		"a callback below a route":          {func(c *session.Config) { c.CallbackPath = "/bff/login" }, "callbackPath"},
		"a callback like a route":           {func(c *session.Config) { c.CallbackPath = "/apis" }, ""},
		"a sign-out at a route":             {func(c *session.Config) { c.SignedOutCallbackPath = "/signout" }, "signedOutCallbackPath"},
		"a remote sign-out at a route":      {func(c *session.Config) { c.RemoteSignOutPath = "/healthz" }, "remoteSignOutPath"},
		"one path twice":                    {func(c *session.Config) { c.RemoteSignOutPath = c.CallbackPath }, "remoteSignOutPath"},
		"no idle timeout":                   {func(c *session.Config) { c.IdleTimeout = 0 }, "idleTimeout"},
		"an idle timeout below a second":    {func(c *session.Config) { c.IdleTimeout = time.Second - 1 }, "idleTimeout"},
		"the shortest idle timeout":         {func(c *session.Config) { c.IdleTimeout = time.Second }, ""},
		"the longest idle timeout":          {func(c *session.Config) { c.IdleTimeout, c.Lifetime = 48*time.Hour, 48*time.Hour }, ""},
		"too long an idle timeout":          {func(c *session.Config) { c.IdleTimeout, c.Lifetime = 49*time.Hour, 60*time.Hour }, "idleTimeout"},
		"a lifetime below the idle timeout": {func(c *session.Config) { c.Lifetime = c.IdleTimeout - 1 }, "lifetime"},
		"a lifetime as the idle timeout":    {func(c *session.Config) { c.Lifetime = c.IdleTimeout }, ""},
		"the longest lifetime":              {func(c *session.Config) { c.Lifetime = 90 * 24 * time.Hour }, ""},
		"too long a lifetime":               {func(c *session.Config) { c.Lifetime = 90*24*time.Hour + 1 }, "lifetime"},
		"all at once": {
			func(c *session.Config) { *c = session.Config{} },
			"callbackPath clientId idleTimeout remoteSignOutPath scopes signedOutCallbackPath",
		},
	} {
		c := session.Config{
			ClientID: webID, Scopes: []string{readScope}, IdleTimeout: 30 * time.Minute, Lifetime: 8 * time.Hour,
			CallbackPath: "/signin-oidc", SignedOutCallbackPath: "/signout-callback-oidc", RemoteSignOutPath: "/signout-oidc",
			Reserved: []string{"/api", "/bff", "/signout", "/healthz"},
		}
		row.change(&c)
		got := map[string]string{}
		c.Check(func(key, problem string) { got[key] = problem })
		if keys := strings.Join(slices.Sorted(maps.Keys(got)), " "); keys != row.want {
			t.Errorf("%s: got %q, want mistakes in %q", name, got, row.want)
		}
	}
}
