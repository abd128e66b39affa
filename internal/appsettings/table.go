package appsettings

const (
	clientIDBelongs = "the application (client) ID of this service's registration (docs/registering.md)"
	tenantIDBelongs = "the tenant's GUID or domain, or organizations or common (docs/registering.md)"
	secretBelongs   = "the client secret of this service's registration"
	scopesBelong    = "a scope of the API, such as api://todo/.default"

	notForLibraries  = "a setting of Microsoft's libraries, without meaning here"
	notInProcess     = "about the web application's own process, without meaning here"
	webApp           = "for web applications that sign users in; sessions here have no such setting (docs/sessions.md)"
	ifSessions       = ", with `session.enabled: true`; else ignored with a warning; refused without a leading slash"
	aclText          = "would let every application of the tenant in: list those that may call in allowedClients"
	aclOnSidecar     = "has no effect without server.sidecarAddress; for /app, name the applications in clients of access rules"
	noACLText        = "is the default here: a token needs scopes or roles, unless an access rule names its client"
	noB2C            = "Azure AD B2C has no on-behalf-of flow, so this service cannot work with it"
	notHere          = "cannot be used here: the credential is not in a file, a vault or a managed identity"
	alwaysChecked    = "this check cannot be turned off here"
	forSidecar       = "the same, a default of the sidecar listener; it has no effect on /api and /app, where the caller's request decides"
	noRulesOnSidecar = "has no effect: access rules do not apply to the sidecar listener, and server.address is off"
	noEffectOfURLs   = "has no effect here: set Server__Address"
	noEncryption     = "encrypted tokens are not supported: tokens for this service must not be encrypted"
	perRequest       = "would hold for all callers of the API; delete it"
	notSupported     = "not supported"
	audiencesText    = "is taken as azureAd.audiences: no other value of aud is accepted"
)

// table has a verdict for every key. Sections and rows are applied in this order: what a
// row maps may be the subject of a later one.
var table = []section{
	{"Sections with other names", "", []row{
		{keys: "EntraId", verdict: mapped, text: "the same as `AzureAd`; a key that stands in both is refused", apply: (*translation).entraID},
		{keys: "AzureAdB2C", verdict: refuse, text: noB2C},
		{keys: "MicrosoftGraph", verdict: mapped, text: "the API MicrosoftGraph of `downstreamApis`; `BaseUrl` is https://graph.microsoft.com/v1.0 by default", apply: graph("https://graph.microsoft.com/v1.0")},
		{keys: "GraphBeta", verdict: mapped, text: "the API GraphBeta of `downstreamApis`; `BaseUrl` is https://graph.microsoft.com/beta by default", apply: graph("https://graph.microsoft.com/beta")},
		{keys: "DownstreamApi, DownstreamWebApi", verdict: mapped, text: "the API of that name below `downstreamApis`", apply: graph("")},
		{keys: "CalledApi", verdict: warn, text: "a section of samples from 2020, ignored: set the API's baseUrl and scopes in downstreamApis"},
	}},
	{"AzureAd", "AzureAd", []row{
		{keys: "Instance", verdict: same, text: "the same", belongs: "the URL of the cloud, such as https://login.microsoftonline.com/"},
		{keys: "TenantId", verdict: same, text: "the same; with `organizations` or `common`, set `allowedTenants` too", belongs: tenantIDBelongs},
		{keys: "ClientId", verdict: same, text: "the same", belongs: clientIDBelongs},
		{keys: "ClientCapabilities, SendX5C, AzureRegion, AppHomeTenantId", verdict: same, text: "the same"},
		{keys: "Authority", verdict: mapped, text: "`instance` and `tenantId`; refused if it contradicts them", apply: (*translation).authority, belongs: "a URL such as https://login.microsoftonline.com/TENANT"},
		{keys: "AzureCloudInstance", verdict: mapped, text: "`instance`, if that is not set; AzurePublic, AzureChina or AzureUsGovernment", apply: (*translation).cloud},
		{keys: "AadAuthorityAudience", when: "None, AzureAdMyOrg, 0, 1", verdict: warn, text: "tenantId says this here"},
		{keys: "AadAuthorityAudience", verdict: refuse, text: "set tenantId to organizations or common, and list allowedTenants"},
		{keys: "Audiences", verdict: same, text: "the same. Microsoft.Identity.Web does not read this key: here it widens what is accepted", apply: (*translation).audiences},
		{keys: "Audience, TokenValidationParameters.ValidAudience", verdict: mapped, text: audiencesText, apply: (*translation).audience, belongs: "the App ID URI or the client ID"},
		{keys: "TokenValidationParameters.ValidAudiences", verdict: mapped, text: audiencesText, apply: (*translation).validAudiences, belongs: "App ID URIs or client IDs"},
		{keys: "TokenValidationParameters.ClockSkew", verdict: mapped, text: "`clockSkew`; a number without a unit is refused: .NET takes it as days", apply: (*translation).clockSkew},
		{keys: "TokenValidationParameters.ValidateIssuer, TokenValidationParameters.ValidateAudience, TokenValidationParameters.ValidateLifetime, TokenValidationParameters.ValidateIssuerSigningKey", when: "false", verdict: refuse, text: alwaysChecked},
		{keys: "TokenValidationParameters.RequireSignedTokens, TokenValidationParameters.RequireExpirationTime, TokenValidationParameters.RequireAudience", when: "false", verdict: refuse, text: alwaysChecked},
		{keys: "TokenValidationParameters.ValidIssuer, TokenValidationParameters.ValidIssuers", verdict: warn, text: "instance, tenantId and allowedTenants say which issuers are accepted"},
		{keys: "TokenValidationParameters.ValidAlgorithms, TokenValidationParameters.ValidTypes", verdict: refuse, text: "cannot be chosen: RS256 alone is accepted, and types follow from the kind of token"},
		{keys: "TokenValidationParameters.NameClaimType, TokenValidationParameters.RoleClaimType, TokenValidationParameters.AuthenticationType, TokenValidationParameters.SaveSigninToken", verdict: warn, text: notInProcess},
		{keys: "MapInboundClaims, Challenge, Forward*, SaveToken, SaveTokens, IncludeErrorDetails", verdict: warn, text: notInProcess},
		{keys: "RequireHttpsMetadata", when: "false", verdict: refuse, text: "the identity provider is reached by https only"},
		{keys: "MetadataAddress", verdict: refuse, text: "the metadata's address follows from instance and tenantId"},
		{keys: "BackchannelTimeout, AutomaticRefreshInterval, RefreshInterval", verdict: warn, text: "signing keys are fetched every hour, and when a token needs a new one; azureAd.timeout limits token requests"},
		{keys: "Scopes", verdict: mapped, text: "`sidecar.scopes`, where there is a sidecar listener; for the public one, the warning shows the access rules to paste", apply: (*translation).rules},
		{keys: "AppPermissions", verdict: warn, text: "access rules of each API say this here; the warning shows the rules to paste", apply: (*translation).rules},
		{keys: "AllowWebApiToBeAuthorizedByACL", when: "true", verdict: refuse, text: aclText + "; with them, the same, for the sidecar listener", apply: (*translation).acl},
		{keys: "AllowWebApiToBeAuthorizedByACL", when: "false", verdict: warn, text: noACLText, apply: (*translation).noACL},
		{keys: "TokenDecryptionCredentials, TokenDecryptionCertificates, TokenDecryptionCredentialsDescription, TokenDecryptCredentials", verdict: refuse, text: noEncryption},
		{keys: "EnablePiiLogging, ShowPII", when: "true", verdict: refuse, text: "personal data and tokens are never logged here"},
		{keys: "EnablePiiLogging, ShowPII", when: "false", verdict: warn, text: "is always so here: personal data and tokens are never logged"},
		{keys: "LogLevel, IsDefaultPlatformLoggingEnabled, ClientName, ClientVersion, Component, UseFastUnboundedCache, PartitionAppTokenCacheByAudience, LegacyCacheCompatibilityEnabled, EnableCacheSynchronization, Name, Domain", verdict: warn, text: notForLibraries},
		{keys: "ExtraQueryParameters", verdict: refuse, text: "would change what is asked of the identity provider"},
		{keys: "WithSpaAuthCode", when: "true", verdict: refuse, text: "this service issues no authorization codes"},
		{keys: "WithSpaAuthCode", when: "false", verdict: warn, text: webApp},
		{keys: "CallbackPath", verdict: mapped, text: "`session.callbackPath`" + ifSessions, apply: sessionPath("callbackPath")},
		{keys: "SignedOutCallbackPath", verdict: mapped, text: "`session.signedOutCallbackPath`" + ifSessions, apply: sessionPath("signedOutCallbackPath")},
		{keys: "RemoteSignOutPath", verdict: mapped, text: "`session.remoteSignOutPath`" + ifSessions, apply: sessionPath("remoteSignOutPath")},
		{keys: "SignedOutRedirectUri, AccessDeniedPath, ErrorPath, ResetPasswordPath, RedirectUri, ResponseType, ResponseMode, UsePkce, Prompt, Scope, GetClaimsFromUserInfoEndpoint, UseTokenLifetime, UserInfoEndpoint, SignInScheme", verdict: warn, text: webApp},
		{keys: "SignUpSignInPolicyId, EditProfilePolicyId, ResetPasswordPolicyId, DefaultUserFlow", verdict: refuse, text: noB2C},
	}},
	{"Credentials", "AzureAd", []row{
		{keys: "ClientCredentials", verdict: same, text: "the same; a single entry that is not in a list is refused: .NET drops it silently", apply: (*translation).clientCredentials},
		{keys: "ClientCredentialsUsingManagedIdentity", verdict: mapped, text: "an entry `SignedAssertionFromManagedIdentity` of `clientCredentials`; ignored beside `ClientCredentials`", apply: (*translation).managedIdentity},
		{keys: "ClientCertificates", verdict: mapped, text: "entries of `clientCredentials`; ignored beside `ClientCredentials`; entries with `ClientSecret` are ignored, as in .NET", apply: (*translation).clientCertificates},
		{keys: "ClientSecret", verdict: mapped, text: "an entry `ClientSecret` of `clientCredentials`; ignored beside `ClientCredentials`", apply: (*translation).clientSecret},
		{keys: "ClientCredentials[].SourceType", verdict: same, text: "the same; numbers are read too", apply: (*translation).sourceType},
		{keys: "ClientCredentials[].SourceType", when: "Certificate, ManagedCertificate, StoreWithThumbprint, StoreWithDistinguishedName, StoreWithSubjectName", verdict: refuse, text: notHere + "; beside other entries, it is skipped with a warning", apply: skipEntry(notHere)},
		{keys: "ClientCredentials[].SourceType", when: "SignedAssertionFromVault, CustomSignedAssertion, AutoDecryptKeys", verdict: refuse, text: notSupported + "; beside other entries, it is skipped with a warning", apply: skipEntry(notSupported)},
		{keys: "ClientCredentials[].ClientSecret", verdict: same, text: "the same", belongs: secretBelongs},
		{keys: "ClientCredentials[].KeyVaultUrl", verdict: same, text: "the same", belongs: "the vault's URL, such as https://contoso.vault.azure.net"},
		{keys: "ClientCredentials[].KeyVaultCertificateName, ClientCredentials[].CertificateDiskPath, ClientCredentials[].CertificatePassword, ClientCredentials[].Base64EncodedValue, ClientCredentials[].SignedAssertionFileDiskPath, ClientCredentials[].ManagedIdentityClientId, ClientCredentials[].TokenExchangeUrl, ClientCredentials[].Skip", verdict: same, text: "the same"},
		{keys: "ClientCredentials[].SignedAssertionFilePath", verdict: mapped, text: "is called SignedAssertionFileDiskPath", apply: (*translation).assertionPath},
		{keys: "ClientCredentials[].CertificateStorePath, ClientCredentials[].CertificateDistinguishedName, ClientCredentials[].CertificateSubjectName", verdict: warn, text: "belongs to the certificate stores of an operating system, which are not used here"},
		{keys: "ClientCredentials[].TokenExchangeAuthority", verdict: refuse, text: "the authority follows from instance and tenantId"},
		{keys: "ClientCredentials[].UseBoundCredential", when: "true", verdict: refuse, text: "tokens that are bound to a certificate are not supported"},
		{keys: "ClientCredentials[].Algorithm", verdict: warn, text: "the algorithm follows from the credential"},
		{keys: "UserAssignedManagedIdentityClientId", verdict: mapped, text: "`managedIdentityClientId` of the entries `KeyVault` of `clientCredentials`", apply: (*translation).vaultIdentity},
	}},
	{"DownstreamApis", "", []row{
		{keys: "DownstreamApis", verdict: same, text: "the same; a list is refused: .NET would name its APIs 0 and 1", apply: (*translation).downstreamAPIs},
	}},
	{"DownstreamApis, each API", "DownstreamApis.*", []row{
		{keys: "", verdict: same, text: "the same; a value without keys is ignored with a warning", apply: (*translation).downstreamAPI},
		{keys: "BaseUrl", verdict: same, text: "the same", belongs: "the API's URL, such as https://todo.contoso.example/v1/"},
		{keys: "Scopes", verdict: same, text: "the same; a text is split at blanks", apply: (*translation).scopes, belongs: scopesBelong},
		{keys: "RequestAppToken", verdict: same, text: "the same: the API is called as the application only, on /app"},
		{keys: "UserAppAccessToken", when: "true", verdict: refuse, text: "is called RequestAppToken"},
		{keys: "RelativePath, HttpMethod, AcceptHeader, ContentType, ExtraQueryParameters", verdict: same, text: forSidecar},
		{keys: "ExtraHeaderParameters", verdict: same, text: forSidecar + "; the warning shows `requestHeaders.set` with its names"},
		{keys: "ProtocolScheme", when: "Bearer", verdict: same, text: "is always so here", apply: drop},
		{keys: "ProtocolScheme", verdict: refuse, text: "only Bearer is supported: tokens are not bound to keys or certificates"},
		{keys: "AcquireTokenOptions.Tenant", verdict: mapped, text: "`tenant`", apply: (*translation).apiTenant},
		{keys: "AcquireTokenOptions.AuthenticationOptionsName", verdict: refuse, text: "names a second registration; this service has one"},
		{keys: "AcquireTokenOptions.ForceRefresh", when: "true", verdict: refuse, text: "would ask the identity provider at every request, until it refuses"},
		{keys: "AcquireTokenOptions.CorrelationId, AcquireTokenOptions.Claims, AcquireTokenOptions.ExtraParameters, AcquireTokenOptions.ExtraQueryParameters, AcquireTokenOptions.ExtraHeadersParameters", verdict: refuse, text: perRequest},
		{keys: "AcquireTokenOptions.FmiPath, AcquireTokenOptions.LongRunningWebApiSessionKey, AcquireTokenOptions.PopPublicKey, AcquireTokenOptions.PopClaim, AcquireTokenOptions.UserFlow", verdict: refuse, text: notSupported},
		{keys: "AcquireTokenOptions.ManagedIdentity", verdict: refuse, text: "tokens for an API come from this service's registration, not from a managed identity"},
		{keys: "Serializer, Deserializer, CustomizeHttpRequestMessage, OnBefore*", verdict: warn, text: "can be set in .NET code only"},
	}},
	{"Sidecar", "", []row{
		{keys: "Sidecar", verdict: same, text: "the same. Without `server.sidecarAddress`, the section turns the sidecar listener on (auto), and the public one off unless `server.address` is set"},
	}},
	{"Sidecar, its keys", "Sidecar", []row{
		{keys: "AllowOverrides", verdict: same, text: "the same"},
		{keys: "AllowOutboundRedirects", when: "true", verdict: refuse, text: "redirects are never followed: requests carry tokens"},
		{keys: "AllowOutboundRedirects", when: "false", verdict: same, text: "is always so here", apply: drop},
		{keys: "PopValidation", verdict: warn, text: "has no effect: a PoP token is answered with 401"},
	}},
	{"Logging", "Logging", []row{
		{keys: "LogLevel.Default", verdict: mapped, text: "`logging.level`", apply: (*translation).logLevel},
		{keys: "LogLevel.*", verdict: warn, text: "levels by category are not known here; logging.level is for all"},
		{keys: "Console, Debug, EventSource, EventLog, AzureAppServicesFile, AzureAppServicesBlob, ApplicationInsights, OpenTelemetry, IncludeScopes", verdict: warn, text: "the log goes to standard output, in logging.format"},
	}},
	{"Other keys of an ASP.NET file", "", []row{
		{keys: "$schema, Version", verdict: same, text: "ignored", apply: drop},
		{keys: "AllowedHosts", verdict: mapped, text: "server.allowedHosts; `*` allows any", apply: (*translation).allowedHosts, alone: true},
		{keys: "urls, http_ports, https_ports", verdict: warn, text: "set server.address, and server.tls for https; for a sidecar, server.sidecarAddress"},
		{keys: "Kestrel.Endpoints", verdict: warn, text: "set server.address, and server.tls for https; for a sidecar, server.sidecarAddress"},
		{keys: "Authentication.Schemes.*", verdict: warn, text: "ASP.NET reads it in place of AzureAd's audiences and issuer; here azureAd alone says which tokens are accepted"},
		{keys: "Kestrel, ConnectionStrings, ApplicationInsights, Authentication, DetailedErrors, https_port", verdict: warn, text: "not of this program; one line names all such sections", apply: (*translation).other},
	}},
	{"Environment variables", "", []row{
		{keys: "ASPNETCORE_URLS", verdict: mapped, text: "the address of the sidecar listener, if `server.sidecarAddress` is auto: the first http URL; else ignored with a warning", alone: true, apply: listenAt(AddressOfURLs)},
		{keys: "ASPNETCORE_HTTP_PORTS", verdict: mapped, text: "the same, beside which `ASPNETCORE_URLS` wins", alone: true, apply: listenAt(AddressOfPorts)},
		{keys: "ASPNETCORE_HTTPS_PORTS", verdict: warn, text: noEffectOfURLs, alone: true},
	}},
}
