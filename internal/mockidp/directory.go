package mockidp

import (
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// defaultLifetime is the middle of the 60 to 90 minutes that Entra gives an
// access token (Microsoft identity platform, "Access token lifetime").
const defaultLifetime = 75 * time.Minute

// Directory is everything the platform knows. What it holds must not be changed after New.
type Directory struct {
	Tenants []Tenant
	Apps    []App
	Users   []User
	Grants  []Grant

	// SigningKey signs until RotateKeys makes another; nil: a new one. Making one
	// takes long.
	SigningKey *rsa.PrivateKey
}

// Tenant is one organization.
type Tenant struct {
	ID     string // a GUID
	Domain string // an alternative name in URLs
}

// User is an account of a tenant.
type User struct {
	Name     string // short name for tests, such as "alice"
	ObjectID string
	TenantID string
	Username string // user principal name, such as "alice@contoso.example"
}

// App is an app registration together with its service principal.
type App struct {
	Name        string // short name for tests
	TenantID    string // home tenant
	MultiTenant bool   // it also has a service principal in every other tenant
	ClientID    string
	ObjectID    string // of its service principal

	IDURIs         []string      // App ID URIs, such as "api://todo"
	TokenVersion   int           // accessTokenAcceptedVersion: form of the tokens issued for it; 0 means 2
	Scopes         []string      // delegated scopes it exposes
	Roles          []string      // app roles it exposes
	OptionalClaims []string      // "idtyp" (with include_user_token) and "xms_cc"
	TokenLifetime  time.Duration // of access tokens for it; 0 means 75 minutes

	Secrets      []string
	Certificates []*x509.Certificate
	Federated    []FederatedCredential

	RedirectURIs          RedirectURIs
	FrontChannelLogoutURI string

	Agents []Agent // that the app is the blueprint of
}

// Agent is an agent identity: an app without credentials of its own, for which its blueprint
// gets tokens ("Microsoft Entra Agent ID").
type Agent struct {
	Name     string
	ClientID string
	Users    []string // usernames of the users that the agent may act as
}

// RedirectURIs are where an app may have its users sent back to, by platform. At Entra the
// platform decides about the client: Web ones authenticate, SPA ones are public and may
// call the token endpoint across origins, Native ones are public.
type RedirectURIs struct {
	Web, SPA, Native []string
}

// FederatedCredential trusts assertions of another issuer, such as a Kubernetes
// cluster, as a credential of the app (workload identity federation).
type FederatedCredential struct {
	Issuer, Subject, Audience string
	Key                       *rsa.PublicKey // the other issuer's signing key
}

// Grant is consent: the client may use these scopes and app roles of the resource. Apps are
// named by name or client id.
type Grant struct {
	Client, Resource string
	Scopes, Roles    []string
	User             string // who consents, for their own account only, by name, object id or username; "": the tenant
}

// directory is a checked Directory with its indexes, and is not changed. Keys are lower
// case.
type directory struct {
	tenants   map[string]Tenant // by id and by domain
	apps      map[string]*App   // by name and by client id
	resources map[string]*App   // by client id and by App ID URI
	users     map[string]*User  // by name and by object id
	usernames map[string]*User
	agents    map[string]*Agent // by client id
	grants    map[grantKey]Grant
}

// grantKey says whose consent it is.
type grantKey struct {
	client, resource string // client ids
	user             string // object id; "": the tenant
}

// dir returns the directory as it is now.
func (s *Server) dir() *directory { return s.current.Load() }

// change edits the directory. If the result is not valid, nothing changes. edit may
// replace the slices of the Directory and their elements, but must not change what these
// point to: requests that have begun still read the old one.
func (s *Server) change(edit func(*Directory)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	edited := s.registered
	edited.Tenants, edited.Apps = slices.Clone(edited.Tenants), slices.Clone(edited.Apps)
	edited.Users, edited.Grants = slices.Clone(edited.Users), slices.Clone(edited.Grants)
	edit(&edited)
	checked, err := newDirectory(edited)
	if err != nil {
		return err
	}
	s.registered = edited
	s.current.Store(checked)
	return nil
}

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

func newDirectory(dir Directory) (*directory, error) {
	d := &directory{
		tenants:   map[string]Tenant{},
		apps:      map[string]*App{},
		resources: map[string]*App{},
		users:     map[string]*User{},
		usernames: map[string]*User{},
		agents:    map[string]*Agent{},
		grants:    map[grantKey]Grant{},
	}
	var errs []error
	for _, tenant := range dir.Tenants {
		errs = append(errs, d.addTenant(tenant))
	}
	for _, app := range dir.Apps {
		errs = append(errs, d.addApp(&app))
	}
	for _, user := range dir.Users {
		errs = append(errs, d.addUser(&user))
	}
	for _, app := range dir.Apps {
		errs = append(errs, d.addAgents(app))
	}
	for _, grant := range dir.Grants {
		errs = append(errs, d.addGrant(grant))
	}
	return d, errors.Join(errs...)
}

func (d *directory) addTenant(tenant Tenant) error {
	if !guid.MatchString(tenant.ID) {
		return fmt.Errorf("tenant %q: the id is not a GUID", tenant.ID)
	}
	if err := add(d.tenants, "tenant", tenant, tenant.ID); err != nil || tenant.Domain == "" {
		return err
	}
	return add(d.tenants, "tenant", tenant, tenant.Domain)
}

func (d *directory) addApp(app *App) error {
	if err := d.checkApp(app); err != nil {
		return fmt.Errorf("app %q: %w", app.Name, err)
	}
	if err := add(d.apps, "app", app, app.Name, app.ClientID); err != nil {
		return err
	}
	resources := []string{app.ClientID}
	for _, uri := range app.IDURIs {
		resources = append(resources, strings.TrimRight(uri, "/"))
	}
	return add(d.resources, "App ID URI", app, resources...)
}

func (d *directory) checkApp(app *App) error {
	switch _, known := d.tenants[strings.ToLower(app.TenantID)]; {
	case app.Name == "":
		return errors.New("the name is missing")
	case !guid.MatchString(app.ClientID), !guid.MatchString(app.ObjectID):
		return errors.New("the client id and the object id must be GUIDs")
	case !known:
		return fmt.Errorf("no tenant %q", app.TenantID)
	case app.TokenVersion < 0, app.TokenVersion > 2:
		return fmt.Errorf("token version %d", app.TokenVersion)
	}
	for _, claim := range app.OptionalClaims {
		if claim != "idtyp" && claim != "xms_cc" {
			return fmt.Errorf("optional claim %q", claim)
		}
	}
	return nil
}

func (d *directory) addUser(user *User) error {
	if user.Name == "" || !guid.MatchString(user.ObjectID) {
		return fmt.Errorf("user %q: it needs a name, and a GUID as its object id", user.Name)
	}
	if _, known := d.tenants[strings.ToLower(user.TenantID)]; !known {
		return fmt.Errorf("user %q: no tenant %q", user.Name, user.TenantID)
	}
	if err := add(d.users, "user", user, user.Name, user.ObjectID); err != nil || user.Username == "" {
		return err
	}
	return add(d.usernames, "username", user, user.Username)
}

// addAgents adds the agents of an app. Their users must be in the directory already.
func (d *directory) addAgents(app App) error {
	for i := range app.Agents {
		agent := &app.Agents[i]
		if agent.Name == "" || !guid.MatchString(agent.ClientID) {
			return fmt.Errorf("app %q: agent %q: it needs a name, and a GUID as its client id", app.Name, agent.Name)
		}
		if d.resources[strings.ToLower(agent.ClientID)] != nil {
			return fmt.Errorf("app %q: agent %q: its client id is that of an app", app.Name, agent.Name)
		}
		for _, name := range agent.Users {
			if d.usernames[strings.ToLower(name)] == nil {
				return fmt.Errorf("app %q: agent %q: no user %q", app.Name, agent.Name, name)
			}
		}
		if err := add(d.agents, "agent", agent, agent.ClientID); err != nil {
			return err
		}
	}
	return nil
}

func (d *directory) addGrant(grant Grant) error {
	client, resource := d.apps[strings.ToLower(grant.Client)], d.apps[strings.ToLower(grant.Resource)]
	if client == nil || resource == nil {
		return fmt.Errorf("grant of %q to %q: no such app", grant.Resource, grant.Client)
	}
	for _, scope := range grant.Scopes {
		if !slices.Contains(resource.Scopes, scope) {
			return fmt.Errorf("grant to %q: %q does not expose scope %q", grant.Client, grant.Resource, scope)
		}
	}
	for _, role := range grant.Roles {
		if !slices.Contains(resource.Roles, role) {
			return fmt.Errorf("grant to %q: %q does not expose app role %q", grant.Client, grant.Resource, role)
		}
	}
	key := grantKey{client: client.ClientID, resource: resource.ClientID}
	if grant.User != "" {
		user := d.user(grant.User)
		if user == nil {
			return fmt.Errorf("grant of %q to %q: no user %q", grant.Resource, grant.Client, grant.User)
		}
		if len(grant.Roles) > 0 {
			return fmt.Errorf("grant of %q to %q: app roles are granted by the tenant, not by user %q", grant.Resource, grant.Client, grant.User)
		}
		key.user = user.ObjectID
	}
	merged := d.grants[key]
	merged.Scopes = union(merged.Scopes, grant.Scopes)
	merged.Roles = union(merged.Roles, grant.Roles)
	d.grants[key] = merged
	return nil
}

// union appends to names those that are not yet among them.
func union(names, more []string) []string {
	for _, name := range more {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// add indexes value under every name, each of which must be new.
func add[T any](index map[string]T, kind string, value T, names ...string) error {
	for _, name := range names {
		name = strings.ToLower(name)
		if _, taken := index[name]; taken {
			return fmt.Errorf("%s %q appears twice", kind, name)
		}
		index[name] = value
	}
	return nil
}

// appIn returns the app with this client id if it has a service principal in
// the tenant.
func (d *directory) appIn(tenant Tenant, clientID string) *App {
	app := d.resources[strings.ToLower(clientID)]
	if app == nil || !strings.EqualFold(app.ClientID, clientID) || !app.in(tenant) {
		return nil
	}
	return app
}

// resourceIn returns the app that a client id or an App ID URI names, if it has
// a service principal in the tenant. A slash at the end makes no difference.
func (d *directory) resourceIn(tenant Tenant, identifier string) *App {
	app := d.resources[strings.ToLower(strings.TrimRight(identifier, "/"))]
	if app == nil || !app.in(tenant) {
		return nil
	}
	return app
}

// granted is what the client may use of the resource: what the tenant consented to and, for
// a user (or nil), what they consented to themselves.
func (d *directory) granted(client, resource *App, user *User) Grant {
	granted := d.grants[grantKey{client: client.ClientID, resource: resource.ClientID}]
	if user != nil {
		own := d.grants[grantKey{client.ClientID, resource.ClientID, user.ObjectID}]
		granted.Scopes = union(slices.Clone(granted.Scopes), own.Scopes)
	}
	return granted
}

// user returns the user with this name, object id or username, or nil.
func (d *directory) user(name string) *User {
	name = strings.ToLower(name)
	if user := d.users[name]; user != nil {
		return user
	}
	return d.usernames[name]
}

// mustApp is for the test kit, where an unknown name is a mistake in the test.
func (d *directory) mustApp(name string) *App {
	app := d.apps[strings.ToLower(name)]
	if app == nil {
		panic(fmt.Sprintf("mockidp: no app %q in the directory", name))
	}
	return app
}

func (d *directory) mustUser(name string) *User {
	user := d.users[strings.ToLower(name)]
	if user == nil {
		panic(fmt.Sprintf("mockidp: no user %q in the directory", name))
	}
	return user
}

func (a *App) in(tenant Tenant) bool {
	return a.MultiTenant || strings.EqualFold(a.TenantID, tenant.ID)
}

func (a *App) version() int {
	if a.TokenVersion == 0 {
		return 2
	}
	return a.TokenVersion
}

func (a *App) lifetime() time.Duration {
	if a.TokenLifetime == 0 {
		return defaultLifetime
	}
	return a.TokenLifetime
}

// audience is the aud claim of tokens for the app: the client id in a v2.0
// token, the App ID URI in a v1.0 one (access-token-claims-reference).
func (a *App) audience() string {
	if a.version() == 1 && len(a.IDURIs) > 0 {
		return a.IDURIs[0]
	}
	return a.ClientID
}
