package main

import (
	"fmt"
	"net/url"
	"strings"

	"middletier/internal/api"
	"middletier/internal/credential"
	"middletier/internal/mcp"
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
