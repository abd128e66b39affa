package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"middletier/internal/appsettings"
	"middletier/internal/config"
)

// baseSettings is a whole appsettings.json, to which a test adds a key.
const baseSettings = `{
	"AzureAd": {
		"TenantId": "11111111-2222-4333-8444-555555555555", "ClientId": "66666666-7777-4888-8999-aaaaaaaaaaaa",
		"ClientCredentials": [{"SourceType": "ClientSecret", "ClientSecret": "s3cret-value"}]
	},
	"DownstreamApis": {"todo": {
		"BaseUrl": "https://todo.contoso.example/", "Scopes": ["api://todo/.default"], "Access": [{"Scopes": ["ToDoList.Read"]}]
	}}
}`

// settings is a configuration as JSON has it.
type settings map[string]any

// with sets the value, in JSON, at a key such as AzureAd.ClientCredentials[0].SourceType.
func (s settings) with(t *testing.T, key, value string) {
	t.Helper()
	var parsed any
	if err := json.Unmarshal([]byte(value), &parsed); err != nil {
		t.Fatalf("%s: %v", value, err)
	}
	at := any(map[string]any(s))
	levels := strings.Split(strings.NewReplacer("[", ".", "]", "").Replace(key), ".")
	for i, level := range levels {
		last := i == len(levels)-1
		switch parent := at.(type) {
		case []any:
			j, err := strconv.Atoi(level)
			if err != nil {
				t.Fatal(err)
			}
			if last {
				parent[j] = parsed
			}
			at = parent[j]
		case map[string]any:
			if last {
				parent[level] = parsed
			} else if parent[level] == nil {
				parent[level] = map[string]any{}
			}
			at = parent[level]
		default:
			t.Fatalf("%s: %s is below a value", key, level)
		}
	}
}

// environ returns the settings as variables.
func environ(value any, name string) []string {
	var all []string
	switch value := value.(type) {
	case map[string]any:
		for key, below := range value {
			all = append(all, environ(below, name+"__"+key)...)
		}
	case []any:
		for i, below := range value {
			all = append(all, environ(below, name+"__"+strconv.Itoa(i))...)
		}
	case nil:
	default:
		return []string{strings.TrimPrefix(name, "__") + "=" + fmt.Sprint(value)}
	}
	return all
}

var placeOfLine = regexp.MustCompile(`(?m)^(\S+\.(json|yaml):[0-9]+|environment variable \S+): `)

// loadSettings reads settings from a file of that extension, or from the environment, and
// returns the mistakes and the warnings, without their places.
func loadSettings(t *testing.T, s settings, from string) (f file, mistakes, warnings string) {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var files, variables []string
	if from == "environment" {
		variables = environ(map[string]any(s), "")
	} else {
		files = []string{filepath.Join(t.TempDir(), "appsettings"+from)}
		if err := os.WriteFile(files[0], text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, doc, err := loadDocument(files, variables)
	if err != nil {
		mistakes = placeOfLine.ReplaceAllString(err.Error(), "")
	}
	lines := placeOfLine.ReplaceAllString(doc.Warnings().Error(), "")
	return f, mistakes, lines
}

// verdictRow is a key of Microsoft's with its value, and what becomes of it.
type verdictRow struct {
	key, value string
	// want are the mistakes or warnings, without the place and the key.
	want string
	// set are parts of the configuration that results, in JSON, with & between them.
	set string
	// without is a key of baseSettings to leave out.
	without string
	// more are other keys and values.
	more []string
	// only are the sources for which this holds; "": all.
	only string
}

// each makes a row of every key.
func each(prefix string, keys []string, value, want string) []verdictRow {
	var rows []verdictRow
	for _, key := range keys {
		rows = append(rows, verdictRow{key: prefix + key, value: value, want: want})
	}
	return rows
}

const (
	wantNoB2C       = "Azure AD B2C has no on-behalf-of flow, so this service cannot work with it"
	wantInProcess   = "warning: about the web application's own process, without meaning here"
	wantLibraries   = "warning: a setting of Microsoft's libraries, without meaning here"
	wantWebApp      = "warning: for web applications that sign users in; sessions here have no such setting (docs/sessions.md)"
	wantCallback    = "warning: is session.callbackPath here, and has no effect without session.enabled: true"
	wantSignedOut   = "warning: is session.signedOutCallbackPath here, and has no effect without session.enabled: true"
	wantChecked     = "this check cannot be turned off here"
	wantPerRequest  = "would hold for all callers of the API; delete it"
	wantNoEncrypted = "encrypted tokens are not supported: tokens for this service must not be encrypted"
	wantBeside      = "warning: is ignored beside ClientCredentials, as in .NET"
	wantNotHere     = "cannot be used here: the credential is not in a file, a vault or a managed identity"
	wantAddress     = "warning: set server.address, and server.tls for https; for a sidecar, server.sidecarAddress"
	wantRules       = "warning: access rules of each API say this here: access: "
	oneCredential   = "AzureAd.ClientCredentials"
)

// Keys and values that turn the sidecar listener on, beside the public one or alone.
var (
	sidecarOn    = []string{"Server.SidecarAddress", `"127.0.0.1:5178"`}
	sidecarAlone = append(slices.Clone(sidecarOn), "Server.Address", `"off"`)
)

// sessionsOn are the keys that sessions need.
var sessionsOn = []string{"Session.Enabled", `true`, "Server.PublicUrl", `"https://app.contoso.example"`}

func azureRows() []verdictRow {
	const validation = "AzureAd.TokenValidationParameters."
	instance := func(url string) string { return `"instance": "` + url + `"` }
	return slices.Concat([]verdictRow{
		{key: "AzureAd.Instance", value: `"https://login.microsoftonline.us/"`, set: instance("https://login.microsoftonline.us/")},
		{key: "AzureAd.TenantId", value: `"contoso.example"`, set: `"tenantId": "contoso.example"`},
		{key: "AzureAd.ClientId", value: `"client"`, set: `"clientId": "client"`},
		{key: "AzureAd.ClientCapabilities", value: `["cp1", "cp2"]`, set: `"clientCapabilities": ["cp1", "cp2"]`},
		{key: "AzureAd.Authority", value: `"https://login.microsoftonline.us/contoso.example/v2.0"`, without: "AzureAd.TenantId", set: instance("https://login.microsoftonline.us/") + ` & "tenantId": "contoso.example"`},
		{key: "AzureAd.Authority", value: `"https://login.microsoftonline.us/contoso.example/"`, without: "AzureAd.TenantId", set: instance("https://login.microsoftonline.us/") + ` & "tenantId": "contoso.example"`},
		{key: "AzureAd.Authority", value: `"https://contoso.ciamlogin.com/"`, without: "AzureAd.TenantId", set: instance("https://contoso.ciamlogin.com/") + ` & "tenantId": "contoso.onmicrosoft.com"`},
		{key: "AzureAd.Authority", value: `"https://contoso.ciamlogin.com/v2.0"`, without: "AzureAd.TenantId", set: `"tenantId": "contoso.onmicrosoft.com"`},
		{key: "AzureAd.Authority", value: `"https://Login.MicrosoftOnline.com/11111111-2222-4333-8444-555555555555"`, more: []string{"AzureAd.Instance", `"https://login.microsoftonline.com"`}, set: `"tenantId": "11111111-2222-4333-8444-555555555555"`},
		{key: "AzureAd.Authority", value: `"https://login.microsoftonline.com/contoso.example"`, want: "contradicts tenantId: delete one of the two"},
		{key: "AzureAd.Authority", value: `"https://login.microsoftonline.us/11111111-2222-4333-8444-555555555555"`, more: []string{"AzureAd.Instance", `"https://login.microsoftonline.com"`}, want: "contradicts instance: delete one of the two"},
		{key: "AzureAd.Authority", value: `"https://login.microsoftonline.com/"`, want: "names no tenant: must be a URL such as https://login.microsoftonline.com/TENANT or …/TENANT/v2.0"},
		{key: "AzureAd.Authority", value: `"login.microsoftonline.com"`, want: "must be a URL such as https://login.microsoftonline.com/TENANT or …/TENANT/v2.0"},
		{key: "AzureAd.Authority", value: `"https://login.microsoftonline.com/a/b/v2.0"`, want: "must be a URL such as https://login.microsoftonline.com/TENANT or …/TENANT/v2.0"},
		{key: "AzureAd.Authority", value: `"https://login.microsoftonline.com/11111111-2222-4333-8444-555555555555?dc=x"`, want: "has a query, which would change what is asked of the identity provider"},
		{key: "AzureAd.Authority", value: `"https://contoso.b2clogin.com/tfp/contoso.onmicrosoft.com/b2c_1_susi"`, want: wantNoB2C},
		{key: "AzureAd.AzureCloudInstance", value: `"AzureChina"`, set: instance("https://login.partner.microsoftonline.cn/")},
		{key: "AzureAd.AzureCloudInstance", value: `4`, set: instance("https://login.microsoftonline.us/")},
		{key: "AzureAd.AzureCloudInstance", value: `"None"`, set: instance("https://login.microsoftonline.com/")},
		{key: "AzureAd.AzureCloudInstance", value: `"AzureGermany"`, want: "must be AzurePublic, AzureChina or AzureUsGovernment; for another cloud, set instance"},
		{key: "AzureAd.AzureCloudInstance", value: `"AzurePublic"`, more: []string{"AzureAd.Instance", `"https://login.microsoftonline.us/"`}, want: "warning: is ignored: instance says this here", set: instance("https://login.microsoftonline.us/")},
		{key: "AzureAd.AadAuthorityAudience", value: `"AzureAdMyOrg"`, want: "warning: tenantId says this here"},
		{key: "AzureAd.AadAuthorityAudience", value: `"AzureAdMultipleOrgs"`, want: "set tenantId to organizations or common, and list allowedTenants"},
		{key: "AzureAd.Audiences", value: `["api://a"]`, set: `"audiences": ["api://a"]`, only: ".yaml environment"},
		{key: "AzureAd.Audiences", value: `["api://a"]`, set: `"audiences": ["api://a"]`, want: "warning: is obeyed here, though Microsoft.Identity.Web does not read it: this widens what is accepted", only: ".json"},
		{key: "AzureAd.Audience", value: `"api://a"`, set: `"audiences": ["api://a"]`},
		{key: "AzureAd.Audience", value: `""`, set: `"audiences": []`},
		{key: "AzureAd.Audience", value: `null`, set: `"audiences": []`},
		{key: "AzureAd.Audience", value: `["api://a"]`, want: "expected a string"},
		{key: validation + "ValidAudience", value: `"api://a"`, more: []string{"AzureAd.Audience", `"api://b"`}, set: `"audiences": ["api://b", "api://a"]`},
		{key: validation + "ValidAudiences", value: `["api://a", "api://b"]`, more: []string{"AzureAd.Audience", `"api://b"`}, set: `"audiences": ["api://b", "api://a"]`},
		{key: validation + "ValidAudiences", value: `{"x": "api://a"}`, set: `"audiences": ["api://a"]`, only: ".json environment"},
		{key: validation + "ValidAudiences", value: `"api://a"`, want: "expected a list: .NET ignores any other value"},
		{key: validation + "ClockSkew", value: `"00:05:00"`, set: `"clockSkew": "5m0s"`},
		{key: validation + "ClockSkew", value: `5`, want: "a number without a unit means days in .NET; write 00:05:00 or 5m"},
		{key: "AzureAd.Scopes", value: `"a b"`, want: wantRules + "[{scopes: [a, b]}]"},
		{key: "AzureAd.Scopes", value: `["a", "b c"]`, want: wantRules + "[{scopes: [a, b, c]}]"},
		{key: "AzureAd.Scopes", value: `{"Read": "a.Read", "Write": ["a.Write"]}`, more: []string{"AzureAd.AppPermissions", `{"Read": "a.Read.All b", "Write": "a.All"}`}, want: wantRules + "[{methods: [GET, HEAD], scopes: [a.Read, a.Write], appPermissions: [a.All, a.Read.All, b]}, {scopes: [a.Write], appPermissions: [a.All]}]"},
		{key: "AzureAd.Scopes", value: `{"Read": "a:b"}`, want: wantRules + `[{methods: [GET, HEAD], scopes: ["a:b"]}]`},
		{key: "AzureAd.Scopes", value: `"a b"`, more: sidecarOn, want: wantRules + "[{scopes: [a, b]}]", set: `"scopes": ["a", "b"], "tokenClients"`},
		{key: "AzureAd.Scopes", value: `["a", "b c"]`, more: sidecarAlone, set: `"scopes": ["a", "b", "c"], "tokenClients"`},
		{key: "AzureAd.Scopes", value: `"a"`, more: slices.Concat(sidecarAlone, []string{"Sidecar.Scopes", `["z"]`}), want: "warning: is ignored: sidecar.scopes says this here", set: `"scopes": ["z"], "tokenClients"`},
		{key: "AzureAd.Scopes", value: `{"Read": "a", "Write": "b"}`, more: sidecarAlone, set: `"scopes": [], "tokenClients"`},
		{key: "AzureAd.AppPermissions", value: `"a"`, more: sidecarAlone, want: "warning: has no effect: access rules do not apply to the sidecar listener, and server.address is off"},
		{key: "AzureAd.AppPermissions", value: `{"Write": "a.All"}`, want: wantRules + "[{appPermissions: [a.All]}]"},
		{key: "AzureAd.AllowWebApiToBeAuthorizedByACL", value: `true`, want: "would let every application of the tenant in: list those that may call in allowedClients"},
		{key: "AzureAd.AllowWebApiToBeAuthorizedByACL", value: `true`, more: []string{"AzureAd.AllowedClients", `["99999999-7777-4888-8999-aaaaaaaaaaaa"]`}, want: "warning: has no effect without server.sidecarAddress; for /app, name the applications in clients of access rules"},
		{key: "AzureAd.AllowWebApiToBeAuthorizedByACL", value: `true`, more: slices.Concat(sidecarOn, []string{"AzureAd.AllowedClients", `["99999999-7777-4888-8999-aaaaaaaaaaaa"]`}), set: `"allowWebApiToBeAuthorizedByACL": true`},
		{key: "AzureAd.AllowWebApiToBeAuthorizedByACL", value: `true`, more: sidecarOn, want: "would let every application of the tenant in: list those that may call in allowedClients"},
		{key: "AzureAd.AllowWebApiToBeAuthorizedByACL", value: `"False"`, want: "warning: is the default here: a token needs scopes or roles, unless an access rule names its client", only: ".json environment"},
		{key: "AzureAd.AllowWebApiToBeAuthorizedByACL", value: `false`, only: ".yaml"},
		{key: "AzureAd.AllowWebApiToBeAuthorizedByACL", value: `"yes"`, want: `expected true or false, got "yes"`},
		{key: "AzureAd.RequireHttpsMetadata", value: `false`, want: "the identity provider is reached by https only"},
		{key: "AzureAd.RequireHttpsMetadata", value: `true`},
		{key: "AzureAd.MetadataAddress", value: `"https://x"`, want: "the metadata's address follows from instance and tenantId"},
		{key: "AzureAd.ExtraQueryParameters", value: `{"dc": "x"}`, want: "would change what is asked of the identity provider"},
		{key: "AzureAd.WithSpaAuthCode", value: `true`, want: "this service issues no authorization codes"},
		{key: "AzureAd.WithSpaAuthCode", value: `false`, want: wantWebApp},
		{key: "AzureAd.CallbackPath", value: `"/signin"`, want: wantCallback},
		{key: "AzureAd.CallbackPath", value: `"/signin"`, more: sessionsOn, set: `"callbackPath": "/signin"`},
		{key: "AzureAd.CallbackPath", value: `"/signin"`, more: append(slices.Clone(sessionsOn), "Session.CallbackPath", `"/other"`), want: "stands in session.callbackPath too: delete one of the two"},
		{key: "AzureAd.SignedOutCallbackPath", value: `"/signed-out"`, want: wantSignedOut},
		{key: "AzureAd.SignedOutCallbackPath", value: `"/signed-out"`, more: sessionsOn, set: `"signedOutCallbackPath": "/signed-out"`},
		{key: "AzureAd.RemoteSignOutPath", value: `"/signout"`, want: "warning: is session.remoteSignOutPath here, and has no effect without session.enabled: true"},
		{key: "AzureAd.RemoteSignOutPath", value: `"/remote-signout"`, more: sessionsOn, set: `"remoteSignOutPath": "/remote-signout"`},
		{key: "AzureAd.CallbackPath", value: `"signin-oidc"`, want: "must begin with a slash: .NET answers 500 otherwise"},
		{key: "AzureAd.TenentId", value: `"x"`, want: `unknown key; did you mean "tenantId"?`},
		{key: "AzureAd.Authorty", value: `"x"`, want: `unknown key; did you mean "Authority"?`},
		{key: validation + "ValidAudiance", value: `"x"`, want: `unknown key; did you mean "ValidAudience"?`},
		{key: validation + "Foo", value: `"x"`, want: "unknown key"},
		{key: "AzureAd.TokenValidationParameters", value: `"x"`, want: "expected a mapping"},
	},
		each(validation, []string{"ValidateIssuer", "ValidateAudience", "ValidateLifetime", "ValidateIssuerSigningKey", "RequireSignedTokens", "RequireExpirationTime", "RequireAudience"}, "false", wantChecked),
		each(validation, []string{"ValidateIssuer", "RequireSignedTokens"}, `"True"`, ""),
		each(validation, []string{"ValidIssuer"}, `"x"`, "warning: instance, tenantId and allowedTenants say which issuers are accepted"),
		each(validation, []string{"ValidIssuers"}, `["x"]`, "warning: instance, tenantId and allowedTenants say which issuers are accepted"),
		each(validation, []string{"ValidAlgorithms", "ValidTypes"}, `["x"]`, "cannot be chosen: RS256 alone is accepted, and types follow from the kind of token"),
		each(validation, []string{"NameClaimType", "RoleClaimType", "AuthenticationType", "SaveSigninToken"}, `"x"`, wantInProcess),
		each("AzureAd.", []string{"MapInboundClaims", "Challenge", "ForwardDefault", "ForwardChallenge", "SaveToken", "SaveTokens", "IncludeErrorDetails"}, `"x"`, wantInProcess),
		each("AzureAd.", []string{"BackchannelTimeout", "AutomaticRefreshInterval", "RefreshInterval"}, `"00:05:00"`, "warning: signing keys are fetched every hour, and when a token needs a new one; azureAd.timeout limits token requests"),
		each("AzureAd.", []string{"TokenDecryptionCredentials", "TokenDecryptionCertificates", "TokenDecryptionCredentialsDescription", "TokenDecryptCredentials"}, `[{"SourceType": "Path"}]`, wantNoEncrypted),
		each("AzureAd.", []string{"TokenDecryptionCredentials"}, `[]`, ""),
		each("AzureAd.", []string{"EnablePiiLogging", "ShowPII"}, `true`, "personal data and tokens are never logged here"),
		each("AzureAd.", []string{"EnablePiiLogging", "ShowPII"}, `false`, "warning: is always so here: personal data and tokens are never logged"),
		each("AzureAd.", []string{"LogLevel", "IsDefaultPlatformLoggingEnabled", "ClientName", "ClientVersion", "Component", "UseFastUnboundedCache", "PartitionAppTokenCacheByAudience", "LegacyCacheCompatibilityEnabled", "EnableCacheSynchronization", "Name", "Domain"}, `"x"`, wantLibraries),
		each("AzureAd.", []string{"SignedOutRedirectUri", "AccessDeniedPath", "ErrorPath", "ResetPasswordPath", "RedirectUri", "ResponseType", "ResponseMode", "UsePkce", "Prompt", "Scope", "GetClaimsFromUserInfoEndpoint", "UseTokenLifetime", "UserInfoEndpoint", "SignInScheme"}, `"x"`, wantWebApp),
		each("AzureAd.", []string{"SignUpSignInPolicyId", "EditProfilePolicyId", "ResetPasswordPolicyId", "DefaultUserFlow"}, `"b2c_1_x"`, wantNoB2C),
	)
}

func credentialRows() []verdictRow {
	const first = "AzureAd.ClientCredentials[0]."
	certificate := `{"SourceType": "Path", "CertificateDiskPath": "/c.pem"}`
	kinds := func(kinds string) string { return `"clientCredentials": ` + kinds }
	entry := func(name, value string) []string { return []string{first + name, value} }
	var rows []verdictRow
	for number, name := range []string{
		"", "KeyVault", "Base64Encoded", "Path", "", "",
		"ClientSecret", "SignedAssertionFromManagedIdentity", "SignedAssertionFilePath",
	} {
		if name != "" {
			row := map[string]string{
				"KeyVault": `{"KeyVaultUrl": "https://a.vault.azure.net", "KeyVaultCertificateName": "a"`, "Base64Encoded": `{"Base64EncodedValue": "YQ=="`,
				"Path": `{"CertificateDiskPath": "/c.pem"`, "ClientSecret": `{"ClientSecret": "s"`, "SignedAssertionFromManagedIdentity": `{"ManagedIdentityClientId": "a"`,
				"SignedAssertionFilePath": `{"SignedAssertionFileDiskPath": "/token"`,
			}[name]
			rows = append(rows, verdictRow{
				key: oneCredential, value: fmt.Sprintf(`[%s, "SourceType": "%d"}]`, row, number), set: kinds(`["` + name + `"]`),
			})
		}
	}
	for _, kind := range []string{
		"Certificate", "ManagedCertificate", "StoreWithThumbprint",
		"StoreWithDistinguishedName", "StoreWithSubjectName", "0", "4", "5", "12", "13",
	} {
		rows = append(
			rows,
			verdictRow{key: oneCredential, value: `[{"SourceType": "` + kind + `"}]`, want: wantNotHere},
			verdictRow{key: oneCredential, value: `[{"SourceType": "` + kind + `", "CertificateThumbprint": "AB", "CertificateStorePath": "CurrentUser/My"}, ` + certificate + `]`, want: "warning: " + wantNotHere + "; the entry is skipped", set: kinds(`["Path"]`)},
		)
	}
	for _, kind := range []string{"SignedAssertionFromVault", "CustomSignedAssertion", "AutoDecryptKeys", "9", "10", "11"} {
		rows = append(
			rows,
			verdictRow{key: oneCredential, value: `[{"SourceType": "` + kind + `"}]`, want: "not supported"},
			verdictRow{key: oneCredential, value: `[` + certificate + `, {"SourceType": "` + kind + `"}]`, want: "warning: not supported; the entry is skipped", set: kinds(`["Path"]`)},
		)
	}
	identity := "AzureAd.ClientCredentialsUsingManagedIdentity"
	return append(
		rows,
		verdictRow{key: oneCredential, value: `[{"SourceType": " ClientSecret ", "ClientSecret": "s"}]`, set: kinds(`["ClientSecret"]`)},
		verdictRow{key: oneCredential, value: `{"a": {"SourceType": "ClientSecret", "ClientSecret": "s"}}`, set: kinds(`["ClientSecret"]`), only: ".json"},
		verdictRow{key: oneCredential, value: `{"SourceType": "ClientSecret", "ClientSecret": "s"}`, want: "expected a list: put the entry in [ ]; .NET drops it silently", only: ".json .yaml"},
		verdictRow{key: "AzureAd.ClientSecret", value: `"s"`, without: oneCredential, set: kinds(`["ClientSecret"]`)},
		verdictRow{key: "AzureAd.ClientSecret", value: `"s"`, want: wantBeside},
		verdictRow{key: "AzureAd.ClientSecret", value: `["s"]`, want: "expected a string"},
		verdictRow{key: "AzureAd.ClientCertificates", value: `[{"SourceType": 1, "KeyVaultUrl": "https://a.vault.azure.net", "KeyVaultCertificateName": "a"}, {"SourceType": "Path", "CertificateDiskPath": "/c.pfx", "CertificatePassword": "p"}]`, without: oneCredential, set: kinds(`["KeyVault", "Path"]`)},
		verdictRow{key: "AzureAd.ClientCertificates", value: `[{"SourceType": "ClientSecret", "ClientSecret": "s"}, ` + certificate + `]`, without: oneCredential, set: kinds(`["Path"]`), want: "warning: is ignored, as in .NET: ClientCertificates holds certificates only"},
		verdictRow{key: "AzureAd.ClientCertificates", value: `[` + certificate + `]`, want: wantBeside},
		verdictRow{key: "AzureAd.ClientCertificates", value: `[` + certificate + `]`, without: oneCredential, more: []string{"AzureAd.ClientSecret", `"s"`, identity, `{"IsEnabled": true}`}, set: kinds(`["SignedAssertionFromManagedIdentity", "Path", "ClientSecret"]`)},
		verdictRow{key: "AzureAd.ClientCertificates", value: certificate, want: "expected a list: put the entry in [ ]; .NET drops it silently", only: ".json .yaml"},
		verdictRow{key: identity, value: `{"IsEnabled": true, "ManagedIdentityClientId": "a"}`, without: oneCredential, set: kinds(`["SignedAssertionFromManagedIdentity"]`)},
		verdictRow{key: identity, value: `{"IsEnabled": false, "ManagedIdentityClientId": "a"}`},
		verdictRow{key: identity, value: `{"IsEnabled": true}`, want: wantBeside},
		verdictRow{key: identity, value: `{"IsEnabled": "yes"}`, want: "expected IsEnabled (true or false) and ManagedIdentityClientId"},
		verdictRow{key: identity, value: `{"IsEnabled": true, "ManagedIdentityClientID2": "a"}`, without: oneCredential, want: `unknown key; did you mean "ManagedIdentityClientId"?`},
		verdictRow{key: first + "SignedAssertionFilePath", value: `"/token"`, more: entry("SourceType", `"SignedAssertionFilePath"`), without: first + "ClientSecret", want: "warning: is called SignedAssertionFileDiskPath", set: kinds(`["SignedAssertionFilePath"]`)},
		verdictRow{key: first + "CertificateStorePath", value: `"CurrentUser/My"`, want: "warning: belongs to the certificate stores of an operating system, which are not used here"},
		verdictRow{key: first + "CertificateDistinguishedName", value: `"CN=a"`, want: "warning: belongs to the certificate stores of an operating system, which are not used here"},
		verdictRow{key: first + "CertificateSubjectName", value: `"a"`, want: "warning: belongs to the certificate stores of an operating system, which are not used here"},
		verdictRow{key: first + "TokenExchangeAuthority", value: `"x"`, want: "the authority follows from instance and tenantId"},
		verdictRow{key: first + "UseBoundCredential", value: `true`, want: "tokens that are bound to a certificate are not supported"},
		verdictRow{key: first + "UseBoundCredential", value: `false`},
		verdictRow{key: first + "Algorithm", value: `"PS256"`, want: "warning: the algorithm follows from the credential"},
		verdictRow{key: "AzureAd.UserAssignedManagedIdentityClientId", value: `"a"`, want: "warning: is ignored: no entry of ClientCredentials is in a Key Vault"},
	)
}

func apiRows() []verdictRow {
	const todo, options = "DownstreamApis.todo.", "DownstreamApis.todo.AcquireTokenOptions."
	scopes := `"scopes": ["User.Read", "Mail.Read"]`
	return slices.Concat([]verdictRow{
		{key: todo + "BaseUrl", value: `"https://a.example/"`, set: `"baseUrl": "https://a.example/"`},
		{key: todo + "Scopes", value: `"User.Read Mail.Read"`, set: scopes},
		{key: todo + "Scopes", value: `["User.Read Mail.Read"]`, set: scopes},
		{key: todo + "Scopes", value: `{"b": "Mail.Read", "a": "User.Read"}`, set: scopes, only: ".json"},
		{key: todo + "RequestAppToken", value: `"True"`, set: `"requestAppToken": true`},
		{key: todo + "UserAppAccessToken", value: `true`, want: "is called RequestAppToken"},
		{key: todo + "UserAppAccessToken", value: `false`},
		{key: todo + "ExtraQueryParameters", value: `{"a": "b"}`, set: `"extraQueryParameters": {"a": "***"}`},
		{key: todo + "ExtraHeaderParameters", value: `{"X-Api-Key": "s3cret-value"}`, set: `"extraHeaderParameters": {"X-Api-Key": "***"}`},
		{key: todo + "RelativePath", value: `"items/"`, set: `"relativePath": "items/"`},
		{key: todo + "HttpMethod", value: `"Post"`, set: `"httpMethod": "Post"`},
		{key: todo + "AcceptHeader", value: `"text/plain"`, set: `"acceptHeader": "text/plain"`},
		{key: todo + "ContentType", value: `"text/plain"`, set: `"contentType": "text/plain"`},
		{key: todo + "ProtocolScheme", value: `"bearer"`},
		{key: options + "Tenant", value: `"contoso.example"`, set: `"tenant": "contoso.example"`},
		{key: options + "AuthenticationOptionsName", value: `"x"`, want: "names a second registration; this service has one"},
		{key: options + "ForceRefresh", value: `true`, want: "would ask the identity provider at every request, until it refuses"},
		{key: options + "ForceRefresh", value: `false`},
		{key: options + "ManagedIdentity", value: `{"UserAssignedClientId": "x"}`, want: "tokens for an API come from this service's registration, not from a managed identity"},
		{key: options + "Foo", value: `"x"`, want: "unknown key"},
		{key: todo + "BaseUr", value: `"x"`, want: `unknown key; did you mean "baseUrl"?`},
		{key: todo + "RelativPath", value: `"x"`, want: `unknown key; did you mean "relativePath"?`},
		{key: "DownstreamApis.Version", value: `"v1"`, want: "warning: is ignored, as in .NET: an API has keys such as BaseUrl and Scopes", only: ".json environment"},
		{key: "DownstreamApis.Version", value: `"v1"`, want: `expected a mapping (the value is not shown: it may be a secret)`, only: ".yaml"},
		{key: "DownstreamApis", value: `[{"BaseUrl": "https://a.example/"}]`, want: "expected a mapping of names to APIs, got a list", only: ".json .yaml"},
	},
		each(todo, []string{"ProtocolScheme"}, `"MTLS_POP"`, "only Bearer is supported: tokens are not bound to keys or certificates"),
		each(options, []string{"CorrelationId", "Claims", "ExtraParameters", "ExtraQueryParameters", "ExtraHeadersParameters"}, `"x"`, wantPerRequest),
		each(options, []string{"FmiPath", "LongRunningWebApiSessionKey", "PopPublicKey", "PopClaim", "UserFlow"}, `"x"`, "not supported"),
		each(todo, []string{"Serializer", "Deserializer", "CustomizeHttpRequestMessage", "OnBeforeSend"}, `"x"`, "warning: can be set in .NET code only"),
	)
}

func otherRows() []verdictRow {
	listeners := func(public, sidecar string) string {
		return fmt.Sprintf(`"address": %q & "sidecarAddress": %q`, public, sidecar)
	}
	level := func(level string) string { return `"level": "` + level + `"` }
	const apart = "warning: not a key of this program, and ignored"
	whole := `{"TenantId": "contoso.example", "ClientId": "client", "ClientSecret": "s"}`
	return slices.Concat([]verdictRow{
		{key: "EntraId", value: whole, without: "AzureAd", set: `"tenantId": "contoso.example"`},
		{key: "EntraId.Domain", value: `"x"`, want: "AzureAd.Domain: " + wantLibraries},
		{key: "EntraId.TenantId", value: `"contoso.example"`, want: "stands in AzureAd too: delete one of the two"},
		{key: "EntraId", value: `"x"`, want: "expected a mapping", only: ".json .yaml"},
		{key: "AzureAdB2C", value: whole, want: wantNoB2C},
		{key: "MicrosoftGraph", value: `{"BaseUrl": "https://graph.microsoft.us/v1.0", "Scopes": "User.Read Mail.Read"}`, set: `"baseUrl": "https://graph.microsoft.us/v1.0"`, want: "warning: is the API downstreamApis.MicrosoftGraph here, at /api/MicrosoftGraph/"},
		{key: "MicrosoftGraph", value: `{"Scopes": "User.Read"}`, more: []string{"DownstreamApis.microsoftGraph.Access", `[{"Scopes": ["a"]}]`}, set: `"baseUrl": "https://graph.microsoft.com/v1.0"`, want: "warning: is the API downstreamApis.MicrosoftGraph here, at /api/MicrosoftGraph/"},
		{key: "MicrosoftGraph.Scopes", value: `"x"`, more: []string{"DownstreamApis.MicrosoftGraph.Scopes", `["y"]`}, want: "stands in DownstreamApis.MicrosoftGraph too: delete one of the two"},
		{key: "MicrosoftGraph", value: `"x"`, want: "expected a mapping", only: ".json .yaml"},
		{key: "GraphBeta", value: `{"Scopes": "User.Read"}`, set: `"baseUrl": "https://graph.microsoft.com/beta"`, want: "warning: is the API downstreamApis.GraphBeta here, at /api/GraphBeta/"},
		{key: "DownstreamApi", value: `{"BaseUrl": "https://a.example", "Scopes": "User.Read", "RelativePath": "x"}`, set: `"baseUrl": "https://a.example"`, want: "DownstreamApi: warning: is the API downstreamApis.DownstreamApi here, at /api/DownstreamApi/"},
		{key: "DownstreamWebApi", value: `{"BaseUrl": "https://a.example", "Scopes": "User.Read"}`, set: `"baseUrl": "https://a.example"`, want: "warning: is the API downstreamApis.DownstreamWebApi here, at /api/DownstreamWebApi/"},
		{key: "CalledApi", value: `{"CalledApiUrl": "https://a.example"}`, want: "warning: a section of samples from 2020, ignored: set the API's baseUrl and scopes in downstreamApis"},
		{key: "$schema", value: `"x"`},
		{key: "Version", value: `1`},
		{key: "AllowedHosts", value: `"a.example;*.b.example"`, set: `"allowedHosts": ["a.example", "*.b.example"]`},
		{key: "AllowedHosts", value: `"*"`},
		{key: "AllowedHosts", value: `"a.example;*"`},
		{key: "urls", value: `"http://+:80"`, want: wantAddress, only: ".json .yaml"},
		{key: "http_ports", value: `80`, want: wantAddress, only: ".json .yaml"},
		{key: "https_ports", value: `443`, want: wantAddress, only: ".json .yaml"},
		{key: "Kestrel.Endpoints", value: `{"Http": {"Url": "http://+:80"}}`, want: wantAddress},
		{key: "Authentication.Schemes.Bearer", value: `{"ValidAudiences": ["x"], "ValidIssuer": "dotnet-user-jwts"}`, want: "warning: ASP.NET reads it in place of AzureAd's audiences and issuer; here azureAd alone says which tokens are accepted"},
		{key: "Sidecar.AllowOutboundRedirects", value: `true`, want: "redirects are never followed: requests carry tokens"},
		{key: "Sidecar", value: `{"AllowOutboundRedirects": false, "AllowOverrides": {"CallDownstreamApi": false}}`, set: listeners("", "127.0.0.1:5178") + ` & "callDownstreamApi": false`, only: ".json environment"},
		{key: "Sidecar", value: `{"AllowOverrides": {"CallDownstreamApi": false}}`, set: listeners(":8080", "") + ` & "callDownstreamApi": false`, only: ".yaml"},
		{key: "Sidecar", value: `{}`, set: listeners("", "127.0.0.1:5178"), only: ".json"},
		{key: "Sidecar.Scopes", value: `["a"]`, more: []string{"Server.Address", `":80"`}, set: listeners(":80", "127.0.0.1:5178"), only: ".json environment"},
		{key: "Sidecar.Scopes", value: `["a"]`, more: []string{"Server.SidecarAddress", `"off"`}, set: listeners(":8080", "")},
		{key: "Sidecar.Scopes", value: `["a"]`, more: []string{"Server.SidecarAddress", `"unix:/run/sidecar"`}, set: listeners(":8080", "unix:/run/sidecar")},
		{key: "Sidecar.AllowOverride", value: `{}`, want: `unknown key; did you mean "allowOverrides"?`, only: ".json .yaml"},
		{key: "Sidecar.PopValidation", value: `{"ValidateM": true, "SignedHttpRequestLifetime": "00:05:00"}`, want: "warning: has no effect: a PoP token is answered with 401"},
		{key: "Kestrel", value: `{"Limits": {"MaxConcurrentConnections": 1}}`, more: []string{"ConnectionStrings.Default", `"Password=s3cret-value"`, "ApplicationInsights.ConnectionString", `"x"`}, want: "Kestrel: " + apart + "; so are ConnectionStrings, ApplicationInsights", only: ".json .yaml"},
		{key: "ConnectionStrings.Default", value: `"Password=s3cret-value"`, want: apart},
		{key: "ApplicationInsights.ConnectionString", value: `"x"`, want: apart},
		{key: "Authentication", value: `"x"`, want: apart, only: ".json .yaml"},
		{key: "Authentication.DefaultScheme", value: `"x"`, want: "Authentication: " + apart},
		{key: "DetailedErrors", value: `true`, want: apart, only: ".json .yaml"},
		{key: "https_port", value: `443`, want: apart, only: ".json .yaml"},
		{key: "MyCompany", value: `{"Feature": true}`, want: apart, only: ".json"},
		{key: "MyCompany", value: `{"Feature": true}`, want: "unknown key", only: ".yaml"},
		{key: "AzureAd1", value: whole, want: `unknown key; did you mean "azureAd"?`, only: ".json .yaml"},
		{key: "DownsteamApi", value: `{"BaseUrl": "x"}`, want: `unknown key; did you mean "DownstreamApi"?`, only: ".json"},
		{key: "myCompany2", value: `{"Feature": true}`, want: apart, only: ".json"},
		{key: "mycompany", value: `{"Feature": true}`, want: "unknown key", only: ".json .yaml"},
		{key: "Logging.LogLevel", value: `{"Default": "Warning", "Microsoft.AspNetCore": "Error"}`, set: level("warn"), want: "Logging.LogLevel.Microsoft.AspNetCore: warning: levels by category are not known here; logging.level is for all"},
		{key: "Logging.LogLevel.Default", value: `"None"`, set: level("error"), want: "warning: logging.level is error here: the log cannot be turned off"},
		{key: "Logging.LogLevel.Default", value: `"Loud"`, want: "must be Trace, Debug, Information, Warning, Error, Critical or None"},
		{key: "Logging.LogLevel.Default", value: `"Debug"`, more: []string{"Logging.Level", `"warn"`}, set: level("warn"), want: "warning: is ignored: logging.level says this here"},
		{key: "Logging.Levle", value: `"x"`, want: `unknown key; did you mean "level"?`},
		{key: "ASPNETCORE_URLS", value: `"http://+:80"`, want: "warning: has no effect here: set Server__Address, or for a sidecar Server__SidecarAddress=auto"},
		{key: "ASPNETCORE_HTTP_PORTS", value: `80`, want: "warning: has no effect here: set Server__Address, or for a sidecar Server__SidecarAddress=auto"},
		{key: "ASPNETCORE_URLS", value: `"https://+;http://+:5000"`, more: []string{"Server.SidecarAddress", `"Auto"`, "ASPNETCORE_HTTP_PORTS", `8080`}, set: listeners(":8080", ":5000")},
		{key: "ASPNETCORE_URLS", value: `"http://localhost:5178"`, more: []string{"Sidecar.Scopes", `["a"]`}, set: listeners("", "localhost:5178"), only: ".json environment"},
		{key: "ASPNETCORE_URLS", value: `"http://+:5000"`, more: sidecarOn, want: "warning: has no effect here: set Server__Address", set: listeners(":8080", "127.0.0.1:5178")},
		{key: "ASPNETCORE_URLS", value: `"https://+"`, more: []string{"Server.SidecarAddress", `"auto"`}, want: "has no http address: a sidecar listens without TLS"},
		{key: "ASPNETCORE_HTTP_PORTS", value: `"5000;5001"`, more: []string{"Server.SidecarAddress", `"auto"`}, set: listeners(":8080", ":5000")},
		{key: "ASPNETCORE_HTTP_PORTS", value: `"http"`, more: []string{"Server.SidecarAddress", `"auto"`}, want: `"http" is not a port`},
		{key: "ASPNETCORE_HTTPS_PORTS", value: `443`, want: "warning: has no effect here: set Server__Address"},
	},
		each("Logging.", []string{"Console", "Debug", "EventSource", "EventLog", "AzureAppServicesFile", "AzureAppServicesBlob", "ApplicationInsights", "OpenTelemetry"}, `{"LogLevel": {"Default": "Debug"}}`, "warning: the log goes to standard output, in logging.format"),
		each("Logging.", []string{"IncludeScopes"}, `true`, "warning: the log goes to standard output, in logging.format"),
		levelRows(level),
	)
}

func levelRows(level func(string) string) []verdictRow {
	var rows []verdictRow
	for name, ours := range map[string]string{
		"Trace": "debug", "Debug": "debug", "Information": "info", "warning": "warn", "Error": "error", "Critical": "error", "1": "debug", "4": "error",
	} {
		rows = append(rows, verdictRow{key: "Logging.LogLevel.Default", value: strconv.Quote(name), set: level(ours)})
	}
	return rows
}

func verdictRows() []verdictRow {
	return slices.Concat(azureRows(), credentialRows(), apiRows(), otherRows())
}

// without takes a key out of the settings.
func (s settings) without(key string) {
	levels := strings.Split(strings.NewReplacer("[", ".", "]", "").Replace(key), ".")
	at := any(map[string]any(s))
	for i, level := range levels {
		switch parent := at.(type) {
		case []any:
			j, _ := strconv.Atoi(level) // of the test
			at = parent[j]
		case map[string]any:
			if i == len(levels)-1 {
				delete(parent, level)
			}
			at = parent[level]
		}
	}
}

// settings returns the row's whole configuration.
func (r verdictRow) settings(t *testing.T) settings {
	t.Helper()
	var s settings
	if err := json.Unmarshal([]byte(baseSettings), &s); err != nil {
		t.Fatal(err)
	}
	if r.without != "" {
		s.without(r.without)
	}
	for pair := range slices.Chunk(append([]string{r.key, r.value}, r.more...), 2) {
		s.with(t, pair[0], pair[1])
	}
	return s
}

// Every key of Microsoft's has its verdict, from a JSON file, from YAML and from the environment.
func TestEveryKeyOfMicrosoftHasItsVerdict(t *testing.T) {
	t.Parallel()
	for i, row := range verdictRows() {
		for _, from := range []string{".json", ".yaml", "environment"} {
			if row.only != "" && !slices.Contains(strings.Fields(row.only), from) ||
				from == "environment" && slices.Contains([]string{"null", "[]"}, row.value) {
				continue
			}
			t.Run(fmt.Sprintf("%d %s %s", i, row.key, from), func(t *testing.T) {
				f, mistakes, warnings := loadSettings(t, row.settings(t), from)
				got := warnings
				if mistakes != "" {
					got = mistakes
				}
				if !sameLines(got, row.want) {
					t.Errorf("got  %s\nwant %s", got, row.want)
				}
				if strings.Contains(got, "s3cret") {
					t.Errorf("a secret is shown: %s", got)
				}
				if mistakes != "" || row.set == "" {
					return
				}
				whole := compact(t, f)
				for part := range strings.SplitSeq(row.set, " & ") {
					if !strings.Contains(whole, strings.NewReplacer(`": `, `":`, `, "`, `,"`).Replace(part)) {
						t.Errorf("got  %s\nwant %s in it", whole, part)
					}
				}
			})
		}
	}
}

// sameLines reports whether every line of got is one of want, in any order. A line of want
// may leave out the key, whose spelling depends on the source.
func sameLines(got, want string) bool {
	if got == "" || want == "" {
		return got == want
	}
	lines, wanted := strings.Split(strings.ToLower(got), "\n"), strings.Split(strings.ToLower(want), "\n")
	for _, line := range lines {
		if !slices.ContainsFunc(wanted, func(w string) bool { return line == w || strings.HasSuffix(line, ": "+w) }) {
			return false
		}
	}
	return len(lines) == len(wanted)
}

// compact returns the configuration as JSON without white space.
func compact(t *testing.T, f file) string {
	t.Helper()
	text, err := config.Masked(f)
	if err != nil {
		t.Fatal(err)
	}
	var value map[string]any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, c := range f.AzureAd.ClientCredentials {
		kinds = append(kinds, c.SourceType)
	}
	value["azureAd"].(map[string]any)["clientCredentials"] = kinds
	if text, err = json.Marshal(value); err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var keyOfReference = regexp.MustCompile("(?m)`([^`]+)`")

// Every key of the table has a row in the test above.
func TestEveryVerdictIsTested(t *testing.T) {
	var tested []string
	for _, row := range verdictRows() {
		key := strings.NewReplacer("[0]", ":*", ".todo", ".*").Replace(row.key)
		var value any
		if err := json.Unmarshal([]byte(row.value), &value); err != nil {
			t.Fatal(err)
		}
		tested = append(tested, keysBelow(strings.ReplaceAll(key, ".", ":"), value)...)
	}
	prefix := ""
	for line := range strings.Lines(appsettings.Reference()) {
		if strings.HasPrefix(line, "### ") {
			prefix = ""
		}
		if below, ok := strings.CutPrefix(line, "Keys below `"); ok {
			prefix, _, _ = strings.Cut(below, "`")
			prefix += ":"
		}
		cell, found := strings.CutPrefix(line, "| `")
		if !found {
			continue
		}
		cell, rest, _ := strings.Cut(cell, " | ")
		for _, key := range keyOfReference.FindAllStringSubmatch("`"+cell, -1) {
			pattern := regexp.MustCompile("(?i)^" + strings.ReplaceAll(regexp.QuoteMeta(prefix+key[1]), `\*`, `.*`) + "(:.*)?$")
			if !strings.HasPrefix(rest, "same") && !slices.ContainsFunc(tested, pattern.MatchString) {
				t.Errorf("%s%s has no row", prefix, key[1])
			}
		}
	}
}

func keysBelow(key string, value any) []string {
	all := []string{key}
	switch value := value.(type) {
	case map[string]any:
		for name, below := range value {
			all = append(all, keysBelow(key+":"+name, below)...)
		}
	case []any:
		for _, below := range value {
			all = append(all, keysBelow(key+":*", below)...)
		}
	}
	return all
}
