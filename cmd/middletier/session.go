package main

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"middletier/internal/api"
	"middletier/internal/obo"
	"middletier/internal/session"
)

// sharesRegistration reports whether the web app is the registration of the service itself.
func (f file) sharesRegistration() bool {
	return f.Session.ClientID == "" || strings.EqualFold(f.Session.ClientID, f.AzureAd.ClientID)
}

// webApp returns the session's keys with the values in force for those that are not set.
func (f file) webApp() sessionKeys {
	k := f.Session
	k.ClientID = cmp.Or(k.ClientID, f.AzureAd.ClientID)
	if len(k.ClientCredentials) == 0 {
		k.ClientCredentials = f.AzureAd.ClientCredentials
	}
	k.Scopes = f.sessionScopes()
	return k
}

// sessionScopes are the scopes of this service that users of the session get, in full: the
// configured ones, else all that access rules mention, else all that the user has
// consented to.
func (f file) sessionScopes() []string {
	names := f.Session.Scopes
	if len(names) == 0 {
		names = f.ruleScopes()
	}
	if len(names) == 0 {
		names = []string{".default"}
	}
	return f.inFull(names)
}

// ruleScopes are all scopes that access rules mention.
func (f file) ruleScopes() []string {
	var names []string
	for _, d := range f.DownstreamAPIs {
		for _, rule := range d.Access {
			names = append(names, rule.Scopes...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// inFull returns scopes of this service as the web app requests them.
func (f file) inFull(scopes []string) []string {
	full := slices.Clone(scopes)
	for i, scope := range scopes {
		full[i] = f.ownResource() + "/" + f.AzureAd.shortScope(scope)
	}
	return full
}

// ownResource is what scopes of this service begin with where the web app requests them. An
// application that requests a token for itself must name itself by its client ID
// (AADSTS90009).
func (f file) ownResource() string {
	if f.sharesRegistration() {
		return f.AzureAd.ClientID
	}
	return f.AzureAd.idURI()
}

// shortScope returns a scope of this service without the resource that it may begin with.
func (a azureAd) shortScope(scope string) string {
	for _, resource := range []string{a.idURI(), "api://" + a.ClientID, a.ClientID} {
		if name, ok := strings.CutPrefix(scope, resource+"/"); ok {
			return name
		}
	}
	return scope
}

// checkSession reports mistakes in the session's keys, and in others that it needs.
func (f file) checkSession(report report) {
	section := under("session", report)
	if len(f.Session.ClientCredentials) > 0 { // else those of azureAd are checked there
		f.sessionOBOConfig().Check(func(key, problem string) {
			if strings.HasPrefix(key, "clientCredentials") { // other keys are those of azureAd
				section(key, problem)
			}
		})
	}
	if !f.Session.Enabled {
		return
	}
	if f.Server.Address == "" {
		section("enabled", "needs server.address: the routes of a session are on the public listener")
	}
	if f.Server.EasyAuth {
		report("server.easyAuth", "cannot be true where session.enabled is: the platform's sign-in and this one would both answer for the user")
	}
	if !isSafeOrigin(f.Server.PublicURL) {
		report("server.publicUrl", "must be set to an https URL where session.enabled is true, or to an http URL of this machine: "+
			"the identity provider sends browsers back to it, and cookies are for it alone")
	}
	badScope := false
	for i, scope := range f.Session.Scopes {
		if name := f.AzureAd.shortScope(scope); name == "" || strings.ContainsAny(name, " /\"\\") {
			section(fmt.Sprintf("scopes[%d]", i), "must be the name of a scope of this service, such as ToDoList.Read")
			badScope = true
		}
	}
	f.sessionConfig().Check(func(key, problem string) {
		reported := key == "scopes" && badScope || key == "clientId" && f.Session.ClientID == "" // then azureAd's check does
		if !reported {
			section(key, problem)
		}
	})
}

// isSafeOrigin reports whether cookies can be kept for a URL: it is https, or of this machine.
func isSafeOrigin(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

// warnOfSession reports what works, and may surprise.
func (f file) warnOfSession(report report) {
	section := under("session", report)
	if !f.Session.Enabled {
		if !reflect.DeepEqual(f.Session, defaults().Session) {
			section("", "has no effect without session.enabled: true")
		}
		return
	}
	for i, entry := range f.Session.ClientCredentials {
		entry.Warn(under(fmt.Sprintf("session.clientCredentials[%d]", i), report))
	}
	if f.TokenCache.Redis.URL == "" {
		report("tokenCache.redis.url", "without it, sessions are in the memory of one process, and end with it: "+
			"with several replicas, a user is signed in at one of them only")
	}
	switch {
	case f.sharesRegistration():
		section("clientId", "the web app is azureAd.clientId, the service itself, whose token for itself Entra may refuse to exchange. "+
			"Give the web app a registration of its own (docs/registering.md)")
	case len(f.Session.ClientCredentials) == 0:
		section("clientCredentials", "there are none, so those of azureAd.clientCredentials are used: they must be registered with session.clientId too")
	}
	if f.sessionScopes()[0] == f.AzureAd.idURI()+"/.default" || f.sessionScopes()[0] == f.AzureAd.ClientID+"/.default" {
		section("scopes", "there are none, and no access rule names one, so users get what they have consented to already")
	}
}

// warnOfSID says what the registration needs and nobody can see from here.
func (f file) warnOfSID(report report) {
	if f.Session.Enabled {
		report("session.remoteSignOutPath", "a sign-out elsewhere ends sessions only if ID tokens have the claim sid: "+
			"add it to the optional claims of the web app's registration (docs/registering.md)")
	}
}

// sessionOBOConfig is that of the client with which the web app gets its own tokens. Only
// application tokens come from a region.
func (f file) sessionOBOConfig() obo.Config {
	c := f.oboConfig()
	k := f.webApp()
	c.ClientID, c.Credentials, c.Region = k.ClientID, k.ClientCredentials, ""
	return c
}

func (f file) sessionConfig() session.Config {
	k := f.webApp()
	c := session.Config{
		ClientID: k.ClientID, Scopes: k.Scopes, OwnScopes: slices.Concat(k.Scopes, f.inFull(f.ruleScopes())),
		PublicURL: f.apiConfig().FixedURL(), BasePath: f.Server.BasePath,
		CallbackPath: k.CallbackPath, SignedOutCallbackPath: k.SignedOutCallbackPath, RemoteSignOutPath: k.RemoteSignOutPath,
		Reserved: api.Paths,
		Lifetime: k.Lifetime, IdleTimeout: k.IdleTimeout,
		Authority: f.apiConfig().Authority,
	}
	for _, d := range f.DownstreamAPIs {
		if !d.appOnly() {
			c.APIScopes = append(c.APIScopes, d.Scopes...)
		}
	}
	c.APIScopes = append(c.APIScopes, f.AzureAd.idURI()+"/.default") // what a missing consent is asked for with
	slices.Sort(c.APIScopes)
	c.APIScopes = slices.Compact(c.APIScopes)
	return c
}
