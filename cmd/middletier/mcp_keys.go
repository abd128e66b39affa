package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"middletier/internal/api"
	"middletier/internal/credential"
	"middletier/internal/facade"
	"middletier/internal/mcp"
	"middletier/internal/obo"
	"middletier/internal/telemetry"
	"middletier/internal/validate"
)

// mcpKeys are for an API that is a server of the Model Context Protocol.
type mcpKeys struct {
	Path                string                  `yaml:"path" doc:"The path of the server's endpoint below baseUrl, such as /mcp; empty: the API is none." details:"There, GET, POST and DELETE need not be named in access: the rule for POST decides about all."`
	AppIDURI            string                  `yaml:"appIdUri" doc:"What scopes begin with in challenges and metadata of the endpoint; accepted in aud; empty: azureAd.appIdUri." details:"Clients name the endpoint's URL as the resource, and Entra demands that it is an App ID URI of the registration: then that URL."`
	Tools               []mcp.Rule              `yaml:"tools" doc:"What a caller's token must hold beside access, by method and tool; the first entry that matches decides, such as {methods: [tools/call], names: [\"delete_*\"], scopes: [ToDoList.ReadWrite]}; none: access alone." details:"Messages have at most 64KiB then." example:"[]"`
	AuthorizationServer authorizationServerKeys `yaml:"authorizationServer" doc:"An authorization server in front of the identity provider, for clients that the provider cannot serve; see docs/mcp.md."`
}

// authorizationServerKeys describe the one client that signs in for everyone who uses the
// authorization server of an API.
type authorizationServerKeys struct {
	ClientID            string              `yaml:"clientId" doc:"The client ID of the registration that all clients share; empty: there is no such authorization server."`
	ClientSecret        string              `yaml:"clientSecret" secret:"true" doc:"Its secret; better set from the environment."`
	ClientSecretFile    string              `yaml:"clientSecretFile" doc:"A file that holds its secret; read again when it changes."`
	ClientCredentials   []credential.Config `yaml:"clientCredentials" doc:"What proves who it is, in place of a secret, with entries as in azureAd.clientCredentials." example:"[]"`
	AllowedRedirectURIs []string            `yaml:"allowedRedirectUris" doc:"Where users may be sent after a sign-in: https, compared exactly, or http of the loopback interface, with any port." details:"Each must be a redirect URI (web) of the registration, too."`
}

// check reports mistakes in the keys of an API with encoded slashes or WebSockets, or
// without.
func (k mcpKeys) check(encodedSlashes, webSockets bool, report report) {
	switch {
	case k.Path == "" && (k.AppIDURI != "" || len(k.Tools) > 0):
		report("path", "must be set: the path of the server's endpoint, such as /mcp")
	case k.Path != "" && !api.IsEndpointPath(k.Path):
		report("path", "must be a plain path that begins with a slash and does not end with one")
	}
	if k.AppIDURI != "" && !isAppIDURI(k.AppIDURI) {
		report("appIdUri", "must be a URL without a slash at its end, such as https://api.contoso.example/api/NAME/mcp")
	}
	mcp.NewRules(k.Tools, under("tools", report))
	for i, entry := range k.Tools {
		section := under(fmt.Sprintf("tools[%d]", i), report)
		validate.CheckPermissions(entry.Scopes, entry.AppPermissions, section)
		if len(entry.Scopes)+len(entry.AppPermissions) == 0 {
			section("", "an entry needs scopes or appPermissions")
		}
	}
	if encodedSlashes && len(k.Tools) > 0 {
		report("tools", "must be empty if encodedSlashes is true: the API may read %2F as a slash, and so another path as that of the endpoint")
	}
	if webSockets && len(k.Tools) > 0 {
		report("tools", "must be empty if webSockets is true: messages in a WebSocket are not read")
	}
}

// isAppIDURI reports whether text can be the App ID URI of an endpoint.
func isAppIDURI(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme != "" && u.Host != "" && u.User == nil && !strings.ContainsAny(text, "?#\"\\ ") &&
		!strings.HasSuffix(text, "/") && u.String() == text
}

// warn reports probable mistakes in the keys of the API name. publicURL is the URL of the
// service, "" if that is not known.
func (k mcpKeys) warn(name, publicURL string, report report) {
	if last := len(k.Tools) - 1; last >= 0 && !k.Tools[last].CoversToolCalls() {
		report("tools", "the last entry does not match every tools/call, so access alone decides about tools that no entry names, "+
			"also about those that the server gets later. End with an entry that has methods: [tools/call] and no names")
	}
	endpoint := publicURL + "/api/" + name + k.Path
	switch {
	case k.Path == "":
	case publicURL == "":
		report("path", "server.publicUrl is not set, so metadata and challenges name the host that each request names. "+
			"Clients compare the URL in the metadata with the one that they call: set server.publicUrl")
	case !isSafeOrigin(publicURL):
		report("path", "server.publicUrl is not https: MCP clients sign in at https URLs, and those of their own machine, only")
	case k.AppIDURI != "" && k.AppIDURI != endpoint:
		report("appIdUri", "is not the endpoint's URL, "+endpoint+", which clients name as the resource: "+
			"Entra refuses a resource that is not the App ID URI of the scope (AADSTS9010010)")
	}
}

// endpoint returns what the listeners need of the keys, or nil if the API is no server.
func (k mcpKeys) endpoint() *api.MCP {
	if k.Path == "" {
		return nil
	}
	return &api.MCP{
		Path: k.Path, IDURI: k.AppIDURI, Tools: mcp.NewRules(k.Tools, func(string, string) {}), // checked before
	}
}

// credentials returns what proves who the client is, as entries of clientCredentials.
func (k authorizationServerKeys) credentials() []credential.Config {
	if k.ClientSecret != "" || k.ClientSecretFile != "" {
		return []credential.Config{{SourceType: "ClientSecret", ClientSecret: k.ClientSecret, ClientSecretFile: k.ClientSecretFile}}
	}
	return k.ClientCredentials
}

// isSet reports whether there is such an authorization server, or would be if no key were
// missing.
func (k authorizationServerKeys) isSet() bool {
	return k.ClientID != "" || k.ClientSecret != "" || k.ClientSecretFile != "" || len(k.ClientCredentials)+len(k.AllowedRedirectURIs) > 0
}

// inherit fills in what entries of clientCredentials leave to their other keys and to the
// environment.
func (k authorizationServerKeys) inherit(environ map[string]string) {
	for i := range k.ClientCredentials {
		entry := &k.ClientCredentials[i]
		entry.DecideSourceType()
		if entry.SourceType == "SignedAssertionFilePath" && entry.SignedAssertionFileDiskPath == "" {
			entry.SignedAssertionFileDiskPath = environ["AZURE_FEDERATED_TOKEN_FILE"]
		}
	}
}

// scopesOfOurs are the scopes of this service that the rules of an API mention.
func (d downstreamAPI) scopesOfOurs() []string {
	return validate.NewAccess(d.Access, func(string, string) {}).Scopes()
}

// facadeConfig returns the authorization server of an API. Its Relay is not set.
func (f file) facadeConfig(d downstreamAPI) facade.Config {
	idURI := f.AzureAd.idURI()
	if strings.EqualFold(d.MCP.AuthorizationServer.ClientID, f.AzureAd.ClientID) {
		idURI = f.AzureAd.ClientID // an application names itself by its client ID (AADSTS90009)
	}
	aliases := []string{"api://" + f.AzureAd.ClientID, f.AzureAd.ClientID, f.AzureAd.idURI()}
	return facade.Config{
		ClientID: d.MCP.AuthorizationServer.ClientID, RedirectURIs: d.MCP.AuthorizationServer.AllowedRedirectURIs,
		Scopes: d.scopesOfOurs(), IDURI: idURI, Aliases: aliases,
		Authority: strings.TrimSuffix(f.AzureAd.Instance, "/") + "/" + f.AzureAd.TenantID,
	}
}

// relayConfig returns the client of an API's authorization server.
func (f file) relayConfig(d downstreamAPI) obo.Config {
	c := f.oboConfig()
	c.ClientID, c.Credentials = d.MCP.AuthorizationServer.ClientID, d.MCP.AuthorizationServer.credentials()
	c.Region = "" // regional endpoints do not serve users
	return c
}

// checkAuthorizationServer reports mistakes in the authorization server of d.
func (f file) checkAuthorizationServer(d downstreamAPI, report report) {
	k := d.MCP.AuthorizationServer
	if !k.isSet() {
		return
	}
	f.facadeConfig(d).Check(report)
	given := 0
	for _, isSet := range []bool{k.ClientSecret != "", k.ClientSecretFile != "", len(k.ClientCredentials) > 0} {
		if isSet {
			given++
		}
	}
	if given != 1 {
		report("", "needs exactly one of clientSecret, clientSecretFile, clientCredentials: what proves who the client is")
	} else if k.ClientCredentials != nil {
		f.relayConfig(d).Check(func(key, problem string) {
			if strings.HasPrefix(key, "clientCredentials") { // the rest is azureAd's
				report(key, problem)
			}
		})
	}
	if len(d.scopesOfOurs()) == 0 {
		report("", "needs an access rule with scopes: there is nothing that clients could request")
	}
}

// checkRelayLoading reports credentials of authorization servers that cannot be read.
func checkRelayLoading(f file, report report) {
	for name, d := range f.DownstreamAPIs {
		k, section := d.MCP.AuthorizationServer, under("downstreamApis."+name+".mcp.authorizationServer", report)
		if !k.isSet() {
			continue
		}
		f.relayConfig(d).CheckLoading(func(key, problem string) {
			if k.ClientCredentials == nil { // it is a secret, and no entry
				_, key, _ = strings.Cut(key, ".")
			}
			section(key, problem)
		})
	}
}

// warnOfAuthorizationServer reports probable mistakes in the authorization server of d.
func (f file) warnOfAuthorizationServer(d downstreamAPI, report report) {
	k := d.MCP.AuthorizationServer
	if !k.isSet() {
		return
	}
	for i, entry := range k.ClientCredentials {
		entry.Warn(under(fmt.Sprintf("clientCredentials[%d]", i), report))
	}
	if f.Server.PublicURL == "" {
		report("", "server.publicUrl is not set, so its issuer and endpoints have the host that each request names. "+
			"Set it to the URL that clients call")
	}
	isClient := func(id string) bool { return strings.EqualFold(id, k.ClientID) }
	if allowed := f.AzureAd.AllowedClients; len(allowed) > 0 && !slices.ContainsFunc(allowed, isClient) {
		report("clientId", "is not in azureAd.allowedClients, so every token that its clients get is refused")
	}
	if isClient(f.AzureAd.ClientID) {
		report("clientId", "is azureAd.clientId. Register the client by itself: whether a token that an application gets for itself can be "+
			"traded for one for an API differs between tenants")
	}
	if f.Server.Address == "" {
		report("", "has no effect, since server.address is off")
	}
}

// buildRelays wires what redeems codes and refresh tokens for the authorization servers of
// APIs, by name.
func (f file) buildRelays(
	ctx context.Context, client *http.Client, tel *telemetry.Telemetry, log *slog.Logger,
) (map[string]*obo.Client, error) {
	relays := map[string]*obo.Client{}
	for name, d := range f.DownstreamAPIs {
		if !d.MCP.AuthorizationServer.isSet() {
			continue
		}
		c := f.relayConfig(d)
		c.Client, c.Log = client, log.With("authorizationServer", name)
		c.Exchanged = func(flow obo.Flow, took time.Duration, err error) { tel.Exchange(string(flow), obo.Outcome(err), took) }
		relay, err := obo.NewClient(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("downstreamApis.%s.mcp.authorizationServer: %w", name, err)
		}
		relays[name] = relay
	}
	return relays, nil
}

// facadeConfigs returns the authorization servers of APIs, by name.
func (f file) facadeConfigs(relays map[string]*obo.Client) map[string]facade.Config {
	configs := map[string]facade.Config{}
	for name, relay := range relays {
		c := f.facadeConfig(f.DownstreamAPIs[name])
		c.Relay = relay.Relay
		configs[name] = c
	}
	return configs
}
