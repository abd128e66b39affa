package mockidp

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// maxEntries limits each list of a Directory, which grows with POST /mock/users and others.
const maxEntries = 10_000

// Mistake is something wrong with an entry of a Directory.
type Mistake struct {
	Key     string // as in a directory file, such as apps[2].clientId
	Problem string
}

// Mistakes is a list of mistakes as one error.
type Mistakes []Mistake

// Error returns one line for each mistake.
func (ms Mistakes) Error() string {
	lines := make([]string, len(ms))
	for i, m := range ms {
		lines[i] = m.Key + ": " + m.Problem
	}
	return strings.Join(lines, "\n")
}

// indexer makes the indexes of a directory, and collects what is wrong with it.
type indexer struct {
	*directory
	mistakes Mistakes
}

// newDirectory checks a Directory and indexes it. An error is a Mistakes.
func newDirectory(dir Directory) (*directory, error) {
	x := &indexer{directory: &directory{
		tenants:   map[string]Tenant{},
		apps:      map[string]*App{},
		resources: map[string]*App{},
		users:     map[string]*User{},
		usernames: map[string]*User{},
		grants:    map[grantKey]Grant{},
		ordered:   dir.Grants,
	}}
	x.checkLength("tenants", len(dir.Tenants))
	x.checkLength("users", len(dir.Users))
	x.checkLength("apps", len(dir.Apps))
	x.checkLength("grants", len(dir.Grants))
	if x.mistakes != nil {
		return nil, x.mistakes
	}
	exchange := newTokenExchange() // first: no app can take its names
	for _, name := range append(exchange.IDURIs, exchange.ClientID) {
		addTo(x, x.resources, "", name, exchange)
	}
	if len(dir.Tenants) > 0 {
		x.first = dir.Tenants[0]
	}
	for i, tenant := range dir.Tenants {
		x.addTenant(fmt.Sprintf("tenants[%d]", i), tenant)
	}
	for i, app := range dir.Apps {
		x.addApp(fmt.Sprintf("apps[%d]", i), &app)
	}
	x.addGraph()
	for i, user := range dir.Users {
		x.addUser(fmt.Sprintf("users[%d]", i), &user)
	}
	for i, app := range dir.Apps {
		x.addAgents(fmt.Sprintf("apps[%d]", i), app)
	}
	for i, app := range dir.Apps {
		x.checkRequirements(fmt.Sprintf("apps[%d]", i), app)
	}
	for i, grant := range dir.Grants {
		x.addGrant(fmt.Sprintf("grants[%d]", i), grant)
	}
	if x.mistakes != nil {
		return nil, x.mistakes
	}
	return x.directory, nil
}

func (x *indexer) report(key, format string, args ...any) {
	x.mistakes = append(x.mistakes, Mistake{key, fmt.Sprintf(format, args...)})
}

func (x *indexer) checkLength(key string, entries int) {
	if entries > maxEntries {
		x.report(key, "holds more than %d entries", maxEntries)
	}
}

func (x *indexer) addTenant(key string, tenant Tenant) {
	if x.checkGUID(key+".tenantId", tenant.ID) {
		addTo(x, x.tenants, key+".tenantId", tenant.ID, tenant)
	}
	if tenant.Domain != "" {
		addTo(x, x.tenants, key+".domain", tenant.Domain, tenant)
	}
}

func (x *indexer) addApp(key string, app *App) {
	x.checkApp(key, app)
	if x.checkName(key+".name", app.Name) {
		addTo(x, x.apps, key+".name", app.Name, app)
	}
	if x.checkGUID(key+".clientId", app.ClientID) && addTo(x, x.apps, key+".clientId", app.ClientID, app) {
		addTo(x, x.resources, key+".clientId", app.ClientID, app)
	}
	for i, uri := range app.IDURIs {
		at := fmt.Sprintf("%s.idUris[%d]", key, i)
		if isURI(uri) {
			addTo(x, x.resources, at, strings.TrimRight(uri, "/"), app)
		} else {
			x.report(at, "%q is no absolute URI such as api://todo", uri)
		}
	}
}

// The optional claims of ID tokens.
const (
	sessionIDClaim = "sid"
	loginHintClaim = "login_hint"
)

// optionalClaims are the supported ones ("Optional claims reference"): idtyp, with
// include_user_token, and xms_cc are of access tokens for the app, the others of its ID
// tokens.
var optionalClaims = []string{"idtyp", "xms_cc", sessionIDClaim, loginHintClaim}

func (x *indexer) checkApp(key string, app *App) {
	x.checkGUID(key+".objectId", app.ObjectID)
	x.checkTenant(key+".tenantId", app.TenantID)
	if app.TokenVersion < 0 || app.TokenVersion > 2 {
		x.report(key+".tokenVersion", "must be 1 or 2, got %d", app.TokenVersion)
	}
	if app.TokenLifetime < 0 {
		x.report(key+".tokenLifetime", "must not be negative")
	}
	for i, claim := range app.OptionalClaims {
		if !slices.Contains(optionalClaims, claim) {
			x.report(fmt.Sprintf("%s.optionalClaims[%d]", key, i), "%q is not supported: %s are", claim, strings.Join(optionalClaims, ", "))
		}
	}
	x.checkPermissions(key+".scopes", app.Scopes)
	x.checkPermissions(key+".roles", app.Roles)
	for i, secret := range app.Secrets {
		if secret == "" {
			x.report(fmt.Sprintf("%s.secrets[%d]", key, i), "is empty")
		}
	}
	x.checkRedirectURIs(key+".redirectUris.web", app.RedirectURIs.Web, isWebURL)
	x.checkRedirectURIs(key+".redirectUris.spa", app.RedirectURIs.SPA, isWebURL)
	x.checkRedirectURIs(key+".redirectUris.native", app.RedirectURIs.Native, isURI)
	if uri := app.FrontChannelLogoutURI; uri != "" && !isWebURL(uri) {
		x.report(key+".frontChannelLogoutUri", "%q is no http or https URL", uri)
	}
}

// checkPermissions checks the names of scopes or of app roles.
func (x *indexer) checkPermissions(key string, names []string) {
	for i, name := range names {
		if name == "" || name == defaultScope || strings.ContainsFunc(name, isNotInName) || strings.Contains(name, "/") {
			x.report(fmt.Sprintf("%s[%d]", key, i), "%q is no name such as ToDoList.Read", name)
		}
	}
}

// checkRequirements checks what an app says about others, which must be in the directory
// already.
func (x *indexer) checkRequirements(key string, app App) {
	for i, name := range app.KnownClients {
		x.app(fmt.Sprintf("%s.knownClientApplications[%d]", key, i), name)
	}
	for i, required := range app.Requires {
		at := fmt.Sprintf("%s.requiredResourceAccess[%d]", key, i)
		if resource := x.app(at+".resource", required.Resource); resource != nil {
			x.checkExposed(at+".scopes", resource, "scope", required.Scopes, resource.Scopes)
		}
	}
}

// checkRedirectURIs refuses what no browser should be sent to.
func (x *indexer) checkRedirectURIs(key string, uris []string, fits func(string) bool) {
	for i, uri := range uris {
		switch at := fmt.Sprintf("%s[%d]", key, i); {
		case !isURI(uri) || isActive(uri):
			x.report(at, "%q is no absolute URI without a fragment", uri)
		case !fits(uri):
			x.report(at, "%q is no http or https URL", uri)
		}
	}
}

func (x *indexer) addUser(key string, user *User) {
	x.checkTenant(key+".tenantId", user.TenantID)
	if x.checkName(key+".name", user.Name) {
		addTo(x, x.users, key+".name", user.Name, user)
	}
	if x.checkGUID(key+".objectId", user.ObjectID) {
		addTo(x, x.users, key+".objectId", user.ObjectID, user)
	}
	if user.Username != "" && x.checkName(key+".username", user.Username) {
		addTo(x, x.usernames, key+".username", user.Username, user)
	}
}

// addAgents adds the agents of an app, each as an app of its own. Their users must be in the
// directory already.
func (x *indexer) addAgents(key string, app App) {
	for i, agent := range app.Agents {
		key := fmt.Sprintf("%s.agents[%d]", key, i)
		for i, name := range agent.Users {
			if x.usernames[strings.ToLower(name)] == nil {
				x.report(fmt.Sprintf("%s.users[%d]", key, i), "no user has the username %q", name)
			}
		}
		registered := newAgentApp(&app, agent)
		if x.checkName(key+".name", agent.Name) {
			addTo(x, x.apps, key+".name", agent.Name, registered)
		}
		if x.checkGUID(key+".clientId", agent.ClientID) {
			addTo(x, x.apps, key+".clientId", agent.ClientID, registered)
		}
	}
}

func (x *indexer) addGrant(key string, grant Grant) {
	client, resource := x.app(key+".client", grant.Client), x.app(key+".resource", grant.Resource)
	if resource != nil {
		x.checkExposed(key+".scopes", resource, "scope", grant.Scopes, resource.Scopes)
		x.checkExposed(key+".roles", resource, "app role", grant.Roles, resource.Roles)
	}
	user := x.user(grant.User)
	switch {
	case grant.User == "":
	case user == nil:
		x.report(key+".user", "there is no user %q", grant.User)
	case len(grant.Roles) > 0:
		x.report(key+".roles", "a user cannot consent to app roles; leave the user out")
	}
	if client == nil || resource == nil || grant.User != "" && user == nil {
		return
	}
	id := grantID(client, resource, user)
	merged := x.grants[id]
	merged.Scopes = union(merged.Scopes, grant.Scopes)
	merged.Roles = union(merged.Roles, grant.Roles)
	x.grants[id] = merged
}

// app returns the app with this name or client id, or reports that there is none.
func (x *indexer) app(key, name string) *App {
	app := x.apps[strings.ToLower(name)]
	if app == nil {
		x.report(key, "there is no app %q", name)
	}
	return app
}

func (x *indexer) checkExposed(key string, resource *App, kind string, names, exposed []string) {
	for i, name := range names {
		if !slices.Contains(exposed, name) {
			x.report(fmt.Sprintf("%s[%d]", key, i), "app %q exposes no %s %q", resource.Name, kind, name)
		}
	}
}

func (x *indexer) checkTenant(key, tenantID string) {
	if tenant, known := x.tenants[strings.ToLower(tenantID)]; !known || !strings.EqualFold(tenant.ID, tenantID) {
		x.report(key, "there is no tenant %q", tenantID)
	}
}

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

func (x *indexer) checkGUID(key, text string) bool {
	if !guid.MatchString(text) {
		x.report(key, "must be a GUID, got %q", text)
		return false
	}
	return true
}

// checkName refuses what cannot be read on a page or in a URL.
func (x *indexer) checkName(key, name string) bool {
	switch {
	case name == "":
		x.report(key, "must be set")
	case len(name) > 256, strings.TrimSpace(name) != name, strings.ContainsFunc(name, unicode.IsControl):
		x.report(key, "must be at most 256 bytes long, without control characters or spaces around it")
	default:
		return true
	}
	return false
}

// isNotInName reports whether no scope or app role has the character.
func isNotInName(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

// isURI reports whether the text is an absolute URI without a fragment.
func isURI(text string) bool {
	uri, err := url.Parse(text)
	return err == nil && uri.IsAbs() && !strings.Contains(text, "#") && !strings.ContainsFunc(text, isNotInName)
}

// isActive reports whether a browser would run the URI, or read a file, in place of a
// request to an app.
func isActive(uri string) bool {
	scheme, _, _ := strings.Cut(strings.ToLower(uri), ":")
	return slices.Contains([]string{"about", "blob", "data", "file", "filesystem", "javascript", "vbscript", "view-source"}, scheme)
}

func isWebURL(text string) bool {
	uri, err := url.Parse(text)
	return err == nil && isURI(text) && (uri.Scheme == "http" || uri.Scheme == "https") && uri.Hostname() != ""
}

// union returns the names and those of more that are not among them.
func union(names, more []string) []string {
	all := slices.Clone(names)
	for _, name := range more {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// addTo indexes value under a name, which must be new.
func addTo[T any](x *indexer, index map[string]T, key, name string, value T) bool {
	name = strings.ToLower(name)
	if _, taken := index[name]; taken {
		x.report(key, "%q appears twice", name)
		return false
	}
	index[name] = value
	return true
}
