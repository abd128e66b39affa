package mockidp

import (
	"crypto/rsa"
	"crypto/x509"
	"fmt"
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
	OptionalClaims []string      // of optionalClaims
	TokenLifetime  time.Duration // of access tokens for it; 0 means 75 minutes

	Secrets      []string
	Certificates []*x509.Certificate
	Federated    []FederatedCredential

	RedirectURIs          RedirectURIs
	FrontChannelLogoutURI string

	// KnownClients are apps, by name or client id, whose consent page also asks for what this
	// app requires (knownClientApplications).
	KnownClients []string
	Requires     []Requirement

	Agents []Agent // that the app is the blueprint of

	blueprint  *App     // of an agent, which is indexed as an app of its own
	agentUsers []string // usernames of the users that the agent may act as
}

// Requirement is scopes of a resource, by name or client id, that an app registered as needed
// (requiredResourceAccess).
type Requirement struct {
	Resource string
	Scopes   []string
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
	first     Tenant
	tenants   map[string]Tenant // by id and by domain
	apps      map[string]*App   // by name and by client id
	resources map[string]*App   // by client id and by App ID URI
	users     map[string]*User  // by name and by object id
	usernames map[string]*User
	grants    map[grantKey]Grant
	ordered   []Grant // as in the Directory
}

// grantKey says whose consent it is.
type grantKey struct {
	client, resource string // client ids
	user             string // object id; "": the tenant
}

// grantID is the key of what a user, or with nil the tenant, consented to.
func grantID(client, resource *App, user *User) grantKey {
	key := grantKey{client: client.ClientID, resource: resource.ClientID}
	if user != nil {
		key.user = user.ObjectID
	}
	return key
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

// app returns the app with this client id, or nil.
func (d *directory) app(clientID string) *App {
	app := d.apps[strings.ToLower(clientID)]
	if app == nil || !strings.EqualFold(app.ClientID, clientID) {
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
	granted := d.grants[grantID(client, resource, nil)]
	if user != nil {
		granted.Scopes = union(granted.Scopes, d.grants[grantID(client, resource, user)].Scopes)
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
		app = d.app(name) // Microsoft Graph, which has no short name
	}
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
