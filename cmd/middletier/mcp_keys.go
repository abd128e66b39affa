package main

import "middletier/internal/credential"

// mcpKeys are for an API that is a server of the Model Context Protocol.
type mcpKeys struct {
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
