package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"middletier/internal/credential"
	"middletier/internal/facade"
	"middletier/internal/mcp"
	"middletier/internal/obo"
	"middletier/internal/telemetry"
	"middletier/internal/validate"
)

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

// scopesOfOurs are the scopes of this service that the rules of an API mention, and those for
// tools.
func (d downstreamAPI) scopesOfOurs() []string {
	ignore := func(string, string) {} // mistakes are reported elsewhere
	return slices.Concat(validate.NewAccess(d.Access, ignore).Scopes(), mcp.NewRules(d.MCP.Tools, ignore).Scopes())
}

// facadeConfig returns the authorization server of an API. Its Relay is not set.
func (f file) facadeConfig(d downstreamAPI) facade.Config {
	idURI := cmp.Or(d.MCP.AppIDURI, f.AzureAd.idURI())
	if strings.EqualFold(d.MCP.AuthorizationServer.ClientID, f.AzureAd.ClientID) {
		idURI = f.AzureAd.ClientID // an application names itself by its client ID (AADSTS90009)
	}
	aliases := []string{"api://" + f.AzureAd.ClientID, f.AzureAd.ClientID, f.AzureAd.idURI()}
	if d.MCP.AppIDURI != "" { // as the metadata of the endpoint has them
		aliases = append(aliases, d.MCP.AppIDURI)
	}
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

// facadeTrials try the credential of each authorization server: the client gets a token for
// itself, which it has no use for.
func facadeTrials(f file, names []string, client *http.Client) []trial {
	var all []trial
	for _, name := range names {
		d := f.DownstreamAPIs[name]
		if !d.MCP.AuthorizationServer.isSet() {
			continue
		}
		all = append(all, trial{name + ": authorization server", func(ctx context.Context) (string, error) {
			if validate.IsMultiTenant(f.AzureAd.TenantID) {
				return "", skip("loaded when the service starts, but not tried: azureAd.tenantId names no one tenant")
			}
			c := f.relayConfig(d)
			c.Client = client
			relay, err := obo.NewClient(ctx, c)
			if err != nil {
				return "clientId " + c.ClientID, err
			}
			_, err = relay.NewToken(ctx, obo.Request{Scopes: []string{f.facadeConfig(d).IDURI + "/.default"}})
			return "clientId " + c.ClientID, err
		}})
	}
	return all
}
