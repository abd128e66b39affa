package mockidp

import (
	"cmp"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"middletier/internal/config"
)

// directoryFile is a directory in YAML or JSON. The routes that register something take an
// entry of it.
type directoryFile struct {
	Tenants []tenantEntry `yaml:"tenants" doc:"The tenants, also called organizations."`
	Users   []userEntry   `yaml:"users" doc:"The users, who sign in without a password."`
	Apps    []appEntry    `yaml:"apps" doc:"The app registrations, each with its service principal."`
	Grants  []grantEntry  `yaml:"grants" doc:"Consent: which client may use which scopes and app roles of which API."`
}

type tenantEntry struct {
	TenantID string `yaml:"tenantId" doc:"The tenant's ID, a GUID."`
	Domain   string `yaml:"domain" doc:"Its name in URLs and usernames, such as contoso.example."`
}

type userEntry struct {
	Name     string `yaml:"name" doc:"A short name, such as alice: GET /mock/tokens/alice answers with a token of this user."`
	TenantID string `yaml:"tenantId" doc:"The user's tenant; it may be left out if there is one tenant."`
	ObjectID string `yaml:"objectId" doc:"The user's ID, a GUID; if left out, it follows from tenant and name."`
	Username string `yaml:"username" doc:"The user principal name, such as alice@contoso.example; if left out, it is made of name and domain."`
}

type appEntry struct {
	Name        string `yaml:"name" doc:"A short name, by which grants and GET /mock/tokens/NAME refer to the app."`
	TenantID    string `yaml:"tenantId" doc:"The app's home tenant; it may be left out if there is one tenant."`
	MultiTenant bool   `yaml:"multiTenant" doc:"Whether the app can be used in every other tenant too."`
	ClientID    string `yaml:"clientId" doc:"The app's client ID, a GUID."`
	ObjectID    string `yaml:"objectId" doc:"The ID of its service principal, a GUID; if left out, it follows from the client ID."`

	IDURIs         []string      `yaml:"idUris" doc:"App ID URIs, such as api://todo, by which clients request its scopes."`
	Scopes         []string      `yaml:"scopes" doc:"The delegated scopes that it exposes, such as ToDoList.Read."`
	Roles          []string      `yaml:"roles" doc:"The app roles that it exposes to applications, such as ToDoList.Read.All."`
	TokenVersion   int           `yaml:"tokenVersion" doc:"The version of access tokens for it: 1, or 2 if left out."`
	TokenLifetime  time.Duration `yaml:"tokenLifetime" doc:"The lifetime of access tokens for it; 75m if left out."`
	OptionalClaims []string      `yaml:"optionalClaims" doc:"Optional claims: idtyp, xms_cc in tokens for it, sid, login_hint in its ID tokens." enum:"idtyp,xms_cc,sid,login_hint"`

	Secrets      []string         `yaml:"secrets" doc:"Its client secrets." secret:"true"`
	Certificates []string         `yaml:"certificates" doc:"Its certificates, each in PEM, with which it signs client assertions."`
	Federated    []federatedEntry `yaml:"federated" doc:"Other issuers whose tokens are a credential of the app (workload identity federation)."`

	RedirectURIs          redirectEntry `yaml:"redirectUris" doc:"Where its users may be sent back to, by platform."`
	FrontChannelLogoutURI string        `yaml:"frontChannelLogoutUri" doc:"A page of the app that is loaded in a frame when a user signs out; with it, ID tokens have sid."`

	KnownClients []string           `yaml:"knownClientApplications" doc:"Apps whose consent page also asks for what this one requires."`
	Requires     []requirementEntry `yaml:"requiredResourceAccess" doc:"The scopes of other APIs that it needs, for that page."`

	Agents []agentEntry `yaml:"agents" doc:"The agent identities that the app is the blueprint of."`
}

type requirementEntry struct {
	Resource string   `yaml:"resource" doc:"The API, by name or client ID."`
	Scopes   []string `yaml:"scopes" doc:"The scopes."`
}

type federatedEntry struct {
	Issuer   string   `yaml:"issuer" doc:"The iss claim of the tokens."`
	Subject  string   `yaml:"subject" doc:"Their sub claim."`
	Audience string   `yaml:"audience" doc:"Their aud claim; api://AzureADTokenExchange if left out."`
	Key      keyEntry `yaml:"key" doc:"The issuer's public key, as a JWK."`
}

// keyEntry is a JWK (RFC 7517). Of its members only kty, n and e matter.
type keyEntry struct {
	KeyType string `yaml:"kty" doc:"RSA." enum:"RSA"`
	N       string `yaml:"n" doc:"The modulus, in base64url."`
	E       string `yaml:"e" doc:"The exponent, in base64url; AQAB if left out."`
	KeyID   string `yaml:"kid" doc:"Ignored: an issuer has one key here."`
	Use     string `yaml:"use" doc:"Ignored."`
	Alg     string `yaml:"alg" doc:"Ignored."`
	X5T     string `yaml:"x5t" doc:"Ignored."`
}

type redirectEntry struct {
	Web    []string `yaml:"web" doc:"Of an app with a server, which authenticates itself."`
	SPA    []string `yaml:"spa" doc:"Of a single-page application; tokens are issued to its origin in the browser (CORS)."`
	Native []string `yaml:"native" doc:"Of an app on a device; a loopback URI matches at every port."`
}

type agentEntry struct {
	Name     string   `yaml:"name" doc:"A short name."`
	ClientID string   `yaml:"clientId" doc:"The agent's ID, a GUID."`
	Users    []string `yaml:"users" doc:"The usernames of the users that the agent may act as."`
}

type grantEntry struct {
	Client   string   `yaml:"client" doc:"The app or agent that gets tokens, by name or client ID."`
	Resource string   `yaml:"resource" doc:"The app that the tokens are for, by name or client ID."`
	Scopes   []string `yaml:"scopes" doc:"The scopes that the client may use for users."`
	Roles    []string `yaml:"roles" doc:"The app roles that the client has itself."`
	User     string   `yaml:"user" doc:"The one user who consented, by name, username or object ID; if left out, an administrator did, for all."`
}

// reporter takes a mistake in the value of a key.
type reporter func(key, problem string)

// ReadDirectory reads a directory file, in YAML or, with the extension .json, in JSON. An
// error names every mistake, with its line.
func ReadDirectory(path string) (Directory, error) {
	var file directoryFile
	doc, err := config.Load(config.Input{Files: []string{path}}, &file)
	return finishDirectory(&file, doc, err)
}

// parseDirectory is ReadDirectory for the text of a file.
func parseDirectory(name string, text []byte) (Directory, error) {
	var file directoryFile
	doc, err := config.Parse(name, text, config.Input{}, &file)
	return finishDirectory(&file, doc, err)
}

func finishDirectory(file *directoryFile, doc *config.Document, err error) (Directory, error) {
	if err != nil {
		return Directory{}, err
	}
	dir := file.directory(doc.Report)
	var mistakes Mistakes
	if _, err := newDirectory(dir); errors.As(err, &mistakes) {
		for _, m := range mistakes {
			doc.Report(m.Key, m.Problem)
		}
	}
	if len(dir.Tenants) == 0 {
		doc.Report("tenants", "must hold at least one tenant")
	}
	return dir, doc.Err()
}

// DirectorySchema returns the JSON Schema of a directory file.
func DirectorySchema() ([]byte, error) {
	return config.Schema(directoryFile{}, "Directory of middletier mock")
}

// DirectoryReference returns the reference in Markdown of the keys of a directory file.
func DirectoryReference() string { return config.Reference(&directoryFile{}) }

func (f *directoryFile) directory(report reporter) Directory {
	var dir Directory
	for _, tenant := range f.Tenants {
		dir.Tenants = append(dir.Tenants, Tenant{ID: tenant.TenantID, Domain: tenant.Domain})
	}
	for _, user := range f.Users {
		dir.Users = append(dir.Users, user.user(dir))
	}
	for i, app := range f.Apps {
		dir.Apps = append(dir.Apps, app.app(dir, fmt.Sprintf("apps[%d].", i), report))
	}
	for _, grant := range f.Grants {
		dir.Grants = append(dir.Grants, grant.grant())
	}
	return dir
}

// user returns the user, with what the entry leaves out.
func (e userEntry) user(dir Directory) User {
	user := User{Name: e.Name, TenantID: cmp.Or(e.TenantID, dir.onlyTenant().ID), ObjectID: e.ObjectID, Username: e.Username}
	if user.ObjectID == "" {
		user.ObjectID = derivedGUID("user", user.TenantID, user.Name)
	}
	for _, tenant := range dir.Tenants {
		if user.Username == "" && tenant.Domain != "" && strings.EqualFold(tenant.ID, user.TenantID) {
			user.Username = user.Name + "@" + tenant.Domain
		}
	}
	return user
}

// app returns the app, with what the entry leaves out. It reports credentials that cannot
// be read, by their keys below prefix.
func (e appEntry) app(dir Directory, prefix string, report reporter) App {
	app := App{
		Name: e.Name, TenantID: cmp.Or(e.TenantID, dir.onlyTenant().ID), MultiTenant: e.MultiTenant,
		ClientID: e.ClientID, ObjectID: e.ObjectID,
		IDURIs: e.IDURIs, TokenVersion: e.TokenVersion, Scopes: e.Scopes, Roles: e.Roles,
		OptionalClaims: e.OptionalClaims, TokenLifetime: e.TokenLifetime, Secrets: e.Secrets,
		RedirectURIs:          RedirectURIs(e.RedirectURIs),
		FrontChannelLogoutURI: e.FrontChannelLogoutURI,
		KnownClients:          e.KnownClients,
	}
	if app.ObjectID == "" {
		app.ObjectID = derivedGUID("app", app.ClientID)
	}
	for _, required := range e.Requires {
		app.Requires = append(app.Requires, Requirement(required))
	}
	for _, agent := range e.Agents {
		app.Agents = append(app.Agents, Agent(agent))
	}
	for i, text := range e.Certificates {
		certificate, err := parseCertificate(text)
		if err != nil {
			report(fmt.Sprintf("%scertificates[%d]", prefix, i), err.Error())
			continue
		}
		app.Certificates = append(app.Certificates, certificate)
	}
	for i, trusted := range e.Federated {
		app.Federated = append(app.Federated, trusted.credential(fmt.Sprintf("%sfederated[%d].", prefix, i), report))
	}
	return app
}

func (e grantEntry) grant() Grant {
	return Grant(e)
}

// credential returns the credential, and reports what it lacks.
func (e federatedEntry) credential(prefix string, report reporter) FederatedCredential {
	for _, required := range [][2]string{{"issuer", e.Issuer}, {"subject", e.Subject}} {
		if required[1] == "" {
			report(prefix+required[0], "must be set")
		}
	}
	key, err := e.Key.publicKey()
	if err != nil {
		report(prefix+"key", err.Error())
	}
	return FederatedCredential{
		Issuer: e.Issuer, Subject: e.Subject, Audience: cmp.Or(e.Audience, "api://AzureADTokenExchange"), Key: key,
	}
}

// onlyTenant is the tenant of entries that name none; zero if there are several.
func (dir Directory) onlyTenant() Tenant {
	if len(dir.Tenants) != 1 {
		return Tenant{}
	}
	return dir.Tenants[0]
}

// derivedGUID is the same for the same names, whatever their case.
func derivedGUID(names ...string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(strings.Join(names, "\n"))))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // version 8 (RFC 9562, section 5.8)
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// minKeyBits is the smallest RSA key for signatures of JWTs (RFC 7518, section 3.3).
const minKeyBits = 2048

func parseCertificate(text string) (*x509.Certificate, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || strings.TrimSpace(string(rest)) != "" {
		return nil, errors.New("must be one certificate in PEM, and nothing else")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, errors.New("the certificate cannot be read")
	}
	key, ok := certificate.PublicKey.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < minKeyBits {
		return nil, fmt.Errorf("the certificate must have an RSA key of %d bits or more", minKeyBits)
	}
	return certificate, nil
}

func (e keyEntry) publicKey() (*rsa.PublicKey, error) {
	n, errN := base64.RawURLEncoding.Strict().DecodeString(e.N)
	exponent, errE := base64.RawURLEncoding.Strict().DecodeString(cmp.Or(e.E, "AQAB"))
	switch {
	case e.KeyType == "":
		return nil, errors.New("must be the issuer's public key, a JWK with kty, n and e")
	case errN != nil || errE != nil || len(exponent) > 4:
		return nil, errors.New("n and e must be numbers in base64url (RFC 7518, section 6.3.1)")
	}
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(exponent).Int64())}
	if key.N.BitLen() < minKeyBits || key.N.BitLen() > 8*minKeyBits || key.N.Bit(0) == 0 || key.E < 3 || key.E%2 == 0 || key.E > 1<<31-1 {
		return nil, fmt.Errorf("must be an RSA key of %d bits or more", minKeyBits)
	}
	return key, nil
}
