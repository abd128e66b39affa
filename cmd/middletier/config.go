package main

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"middletier/internal/api"
	"middletier/internal/appsettings"
	"middletier/internal/config"
	"middletier/internal/credential"
	"middletier/internal/downstream"
	"middletier/internal/listener"
	"middletier/internal/obo"
	"middletier/internal/redistier"
	"middletier/internal/sidecar"
	"middletier/internal/telemetry"
	"middletier/internal/validate"
	"middletier/internal/webroot"
)

// file is the whole of config.yaml, key by key. Each section belongs to the package that
// uses it and checks it.
type file struct {
	Server         server                   `yaml:"server" doc:"Listeners and their limits."`
	AzureAd        azureAd                  `yaml:"azureAd" doc:"Who this service is to Microsoft Entra, and whose tokens it accepts."`
	DownstreamAPIs map[string]downstreamAPI `yaml:"downstreamApis" doc:"The APIs that requests are forwarded to; NAME is that of /api/NAME/… and /app/NAME/…." yours:"todo"`
	Sidecar        sidecarKeys              `yaml:"sidecar" doc:"The listener of server.sidecarAddress, with the interface of Microsoft's sidecar container."`
	Session        sessionKeys              `yaml:"session" doc:"Sign-in for a web app whose pages hold no token; see docs/sessions.md."`
	TokenCache     tokenCache               `yaml:"tokenCache" doc:"The cache of tokens for the APIs."`
	Logging        logging                  `yaml:"logging" doc:"The log, which goes to standard output."`
	Telemetry      telemetryKeys            `yaml:"telemetry" doc:"Metrics and traces for a collector; metrics are on the admin listener too."`
}

type server struct {
	Address        string            `yaml:"address" doc:"Where the service listens, such as :8080; default port from PORT or FUNCTIONS_CUSTOMHANDLER_PORT." details:"off: there is no public listener; server.sidecarAddress must be set then."`
	AdminAddress   string            `yaml:"adminAddress" doc:"Where operators reach health and metrics; off: there is no admin listener."`
	SidecarAddress string            `yaml:"sidecarAddress" doc:"Where an application on the same machine reaches the interface of Microsoft's sidecar container: HOST:PORT, unix:/path, auto or off." details:"auto: where ASPNETCORE_URLS or ASPNETCORE_HTTP_PORTS say, else 127.0.0.1:5178. If it is not set, a section Sidecar in a JSON file or a variable Sidecar__… means auto, and then address is off by default. A Unix socket has mode 0660."`
	WebRoot        string            `yaml:"webRoot" doc:"A folder of static files, such as a single-page application, to serve below basePath; everything in it is public." details:"Names that begin with a dot are not served. A path that names no file is a route of the application: browsers that open it get index.html. See docs/sessions.md."`
	ContentPolicy  string            `yaml:"contentSecurityPolicy" doc:"The Content-Security-Policy of what webRoot serves; empty: a strict one."`
	PublicURL      string            `yaml:"publicUrl" doc:"The service's URL as clients see it behind a gateway, such as https://api.contoso.example." details:"Challenges and metadata name it. If it has no path, basePath is added."`
	BasePath       string            `yaml:"basePath" doc:"A prefix of the path that the gateway does not remove, such as /middle."`
	AllowedHosts   []string          `yaml:"allowedHosts" doc:"Host names that are served, without ports, such as *.contoso.example; others are answered with 400; empty: any." details:"A trusted proxy's X-Forwarded-Host, or host in Forwarded, takes precedence over Host. /healthz and /readyz are exempt, and so are requests without a Host (HTTP/1.0)."`
	TrustedProxies []string          `yaml:"trustedProxies" doc:"CIDRs of gateways whose X-Forwarded-For, -Host, -Proto or Forwarded are believed, such as 10.0.0.0/8." details:"The headers are continued; from other addresses they are replaced."`
	TLS            listener.TLSFiles `yaml:"tls" doc:"The certificate of the public listener; without it, the listener has no TLS."`
	H2C            bool              `yaml:"h2c" doc:"Accept HTTP/2 without TLS too, from a gateway that uses it with prior knowledge."`
	MaxConnections int               `yaml:"maxConnections" doc:"How many connections the public listener serves at once; more wait; 0: any number."`
	CORS           cors              `yaml:"cors" doc:"Which web pages of other origins may call the service; without allowedOrigins, none."`
	RequestTimeout time.Duration     `yaml:"requestTimeout" doc:"The longest time for a request, its upload included; streamed answers may take longer." details:"Streamed answers are those of unknown length or from 1 MiB, server-sent events, and all answers to requests that accept text/event-stream or are gRPC: those have no deadline."`
	MaxBodySize    config.Size       `yaml:"maxBodySize" doc:"The largest request body; larger ones are answered with 413."`
	MaxHeaderSize  config.Size       `yaml:"maxHeaderSize" doc:"The largest request headers; larger ones are answered with 431." details:"A token with many groups can have 18 KB."`
	RateLimit      rateLimit         `yaml:"rateLimit" doc:"How often each caller may send requests; more are answered with 429." details:"A caller is a user, or an application that calls without a user."`
	ShutdownGrace  time.Duration     `yaml:"shutdownGrace" doc:"How long running requests may take to finish after a signal to stop." details:"New connections are served for a third of it, at most 5s. The stop is immediate if no request runs and, for a minute, neither /readyz was asked nor a trusted proxy called."`
	EasyAuth       bool              `yaml:"easyAuth" doc:"Without Authorization, take the user's token from X-MS-TOKEN-AAD-ACCESS-TOKEN, as App Service's built-in sign-in sends it." details:"It is validated like any other. Requests with it are refused if a page of another origin sent them. Container Apps has the same sign-in."`
	ServerTiming   bool              `yaml:"serverTiming" doc:"Add Server-Timing to answers: the time for validation, token (and its source) and API."`
	AdminProfiling bool              `yaml:"adminProfiling" doc:"Serve /debug/pprof/ on the admin listener."`
}

type rateLimit struct {
	RequestsPerSecond float64 `yaml:"requestsPerSecond" doc:"The sustained rate per caller and replica; fractions are allowed; 0: no limit."`
	Burst             int     `yaml:"burst" doc:"The largest burst; 0: one second's worth."`
}

type cors struct {
	AllowedOrigins []string      `yaml:"allowedOrigins" doc:"Origins as browsers send them, such as https://app.contoso.example; no patterns."`
	AllowedHeaders []string      `yaml:"allowedHeaders" doc:"Request headers that pages may send, beyond Authorization, Content-Type, Traceparent, Tracestate and X-Request-ID."`
	ExposedHeaders []string      `yaml:"exposedHeaders" doc:"Response headers that pages may read, beyond WWW-Authenticate, X-Request-ID, Retry-After, RateLimit and RateLimit-Policy."`
	MaxAge         time.Duration `yaml:"maxAge" doc:"How long a browser may cache the answer to its preflight request."`
}

type azureAd struct {
	Instance               string              `yaml:"instance" doc:"The base URL of the cloud; default from AZURE_AUTHORITY_HOST." details:"For External ID: https://NAME.ciamlogin.com/."`
	TenantID               string              `yaml:"tenantId" doc:"The tenant's GUID or domain; organizations or common for several tenants; default from AZURE_TENANT_ID." yours:"00000000-0000-0000-0000-000000000000"`
	ClientID               string              `yaml:"clientId" doc:"The application (client) ID of this service's registration; default from AZURE_CLIENT_ID." yours:"00000000-0000-0000-0000-000000000000"`
	Audiences              []string            `yaml:"audiences" doc:"Accepted values of aud; empty: clientId and api://clientId." details:"Of a URI, one slash at the end makes no difference."`
	AppIDURI               string              `yaml:"appIdUri" doc:"What scopes of this service begin with; empty: the first audience that is a URI, else api://clientId."`
	SendX5C                bool                `yaml:"sendX5C" doc:"Send the certificate's chain with the client assertion (authentication by subject name and issuer)."`
	AzureRegion            string              `yaml:"azureRegion" doc:"The Azure region whose token endpoint is used for application tokens, such as westeurope; TryAutoDetect: that of this host; default from MSAL_FORCE_REGION."`
	AppHomeTenantID        string              `yaml:"appHomeTenantId" doc:"The tenant in which to request tokens as an application, if tenantId is organizations or common; default of each API's tenant."`
	AllowedTenants         []string            `yaml:"allowedTenants" doc:"GUIDs of tenants whose tokens are accepted, * for any; required with organizations or common."`
	AllowedClients         []string            `yaml:"allowedClients" doc:"Client IDs of applications whose tokens are accepted (azp or appid); empty: any."`
	AllowACL               bool                `yaml:"allowWebApiToBeAuthorizedByACL" doc:"On the sidecar listener, tokens of the applications in allowedClients need no roles."`
	ClockSkew              time.Duration       `yaml:"clockSkew" doc:"How far the identity provider's clock may be from ours."`
	ClientCapabilities     []string            `yaml:"clientCapabilities" doc:"What is declared to the identity provider; cp1: this service handles claims challenges."`
	Timeout                time.Duration       `yaml:"timeout" doc:"The longest time for a token exchange, its retry included."`
	MaxConcurrentExchanges int                 `yaml:"maxConcurrentExchanges" doc:"How many token exchanges run at once; more wait; after timeout they are answered with 503." details:"While others wait, one caller holds at most a quarter of them, one API or tenant at most three quarters."`
	ClientCredentials      []credential.Config `yaml:"clientCredentials" doc:"What proves who this service is; the first entry that loads is used; default from AZURE_CLIENT_SECRET, or AZURE_CLIENT_CERTIFICATE_PATH with AZURE_CLIENT_CERTIFICATE_PASSWORD." details:"Each entry is of one kind. Without sourceType the keys decide."`
}

type downstreamAPI struct {
	BaseURL         string            `yaml:"baseUrl" doc:"The API's URL; paths of requests are appended to it; h2c://… for HTTP/2 without TLS (gRPC)." details:"It and scopes may be missing where there is a sidecar listener, which then gives tokens only; /api and /app do not know the API." yours:"https://todo.contoso.example/v1/"`
	Scopes          []string          `yaml:"scopes" doc:"Delegated scopes to request on behalf of users, all of one resource." yours:"[api://todo/.default]"`
	Tenant          string            `yaml:"tenant" doc:"The tenant in which to request tokens as an application; default: azureAd.appHomeTenantId, else azureAd.tenantId." details:"One of them is required if azureAd.tenantId is organizations or common and a rule has appPermissions or clients, or requestAppToken is true."`
	AppScopes       []string          `yaml:"appScopes" doc:"The scope to request as an application; default: RESOURCE/.default, derived from scopes."`
	RequestAppToken bool              `yaml:"requestAppToken" doc:"Call the API as the application only: every call to /api is answered with 403." details:"So it is if appScopes is set and scopes is not."`
	Timeout         time.Duration     `yaml:"timeout" doc:"How long the API may take until its response headers arrive, retries included." details:"After a 401 it begins again with the new token, and fetching that does not count. Requests that accept text/event-stream and gRPC have no such limit. While a caller sends a body that is larger than 64 KiB or of unknown length, only the time counts in which the API does not read it."`
	RequestTimeout  time.Duration     `yaml:"requestTimeout" doc:"The same as server.requestTimeout, for this API; 0s: as there." details:"SignalR's long polling needs 120s here and in timeout."`
	Retry           retry             `yaml:"retry" doc:"Whether a call is sent again when the API cannot be reached or answers 502, 503 or 504." details:"That holds for GET, HEAD, OPTIONS, PUT and DELETE with a body up to 64 KiB. The API's Retry-After is honoured up to 2 s; an answer with a longer one goes to the caller at once."`
	Access          []validate.Rule   `yaml:"access" doc:"What a caller's token must hold; the first rule that matches method and path decides; none: 403."`
	EncodedSlashes  bool              `yaml:"encodedSlashes" doc:"Forward paths with %2F, such as OData keys and object names, instead of answering 400; not if a rule names paths." details:"%2F is forwarded byte for byte. Dot segments and empty segments stay refused, also between encoded slashes."`
	WebSockets      bool              `yaml:"webSockets" doc:"Let callers open WebSockets to the API, by the rule for GET." details:"A page needs an origin of the service's own or of server.cors, and with a session the service's own. A WebSocket ends with code 1008 when its token expires, its user signs out or its session ends, and with 1001 when the service stops."`
	Agent           agentKeys         `yaml:"agent" doc:"Call the API as an agent identity of this service, which is its blueprint."`
	MCP             mcpKeys           `yaml:"mcp" doc:"The API is a server of the Model Context Protocol."`
	RelativePath    string            `yaml:"relativePath" doc:"On the sidecar listener: the path below baseUrl, unless a call says another."`
	HTTPMethod      string            `yaml:"httpMethod" doc:"On the sidecar listener: the method; empty: GET."`
	AcceptHeader    string            `yaml:"acceptHeader" doc:"On the sidecar listener: the Accept header; empty: application/json."`
	ContentType     string            `yaml:"contentType" doc:"On the sidecar listener: the type of bodies; empty: as the caller says."`
	ExtraHeader     map[string]string `yaml:"extraHeaderParameters" secret:"true" doc:"On the sidecar listener: headers of every call."`
	ExtraQuery      map[string]string `yaml:"extraQueryParameters" secret:"true" doc:"On the sidecar listener: query parameters of every call."`
	RequestHeaders  requestHeaders    `yaml:"requestHeaders" doc:"Changes to request headers, beyond the fixed rules."`
	ResponseHeaders responseHeaders   `yaml:"responseHeaders" doc:"Changes to response headers, beyond the fixed rules."`
}

// agentKeys name an agent identity, and a user account of its own.
type agentKeys struct {
	Identity string `yaml:"identity" doc:"The client ID (GUID) of the agent identity; empty: none."`
	User     string `yaml:"user" doc:"The agent's user, by object ID (GUID) or user name; empty: none. With it, the API is called on /app only."`
}

type sidecarKeys struct {
	AllowedCallers []string       `yaml:"allowedCallers" doc:"CIDRs of callers; each of them counts as the application itself."`
	AllowedHosts   []string       `yaml:"allowedHosts" doc:"Host names by which it is called, beside localhost, 127.0.0.1 and [::1]."`
	TokenClients   []tokenClient  `yaml:"tokenClients" doc:"Programs on other machines that may exchange users' tokens at POST /oauth2/token, such as {clientId: kong, clientSecretFile: /run/secrets/kong, apis: [todo]}." example:"[]"`
	Scopes         []string       `yaml:"scopes" doc:"Scopes of which a user's token needs one on /Validate; with them, applications are refused there."`
	AllowOverrides allowOverrides `yaml:"allowOverrides" doc:"On which routes the query may change options, name an agent or a session."`
}

type sessionKeys struct {
	Enabled               bool                `yaml:"enabled" doc:"Sign users in, and serve /bff. server.publicUrl must be set: https, or http of this machine."`
	ClientID              string              `yaml:"clientId" doc:"The client ID of the web app's own registration; empty: azureAd.clientId."`
	ClientCredentials     []credential.Config `yaml:"clientCredentials" doc:"What proves who the web app is, with entries as in azureAd.clientCredentials; none: those." example:"[]"`
	Scopes                []string            `yaml:"scopes" doc:"Scopes of this service that users get; none: all that access rules mention."`
	CallbackPath          string              `yaml:"callbackPath" doc:"Where the identity provider sends the browser after a sign-in; register it, with server.publicUrl before it, as a redirect URI (web)."`
	SignedOutCallbackPath string              `yaml:"signedOutCallbackPath" doc:"Where it sends the browser after a sign-out; a redirect URI too."`
	RemoteSignOutPath     string              `yaml:"remoteSignOutPath" doc:"What the provider's page loads in a frame at a sign-out; register it as the front-channel logout URL."`
	Lifetime              time.Duration       `yaml:"lifetime" doc:"How long a session lasts at most."`
	IdleTimeout           time.Duration       `yaml:"idleTimeout" doc:"How long a session lasts without a request."`
}

type tokenClient struct {
	ClientID         string   `yaml:"clientId" doc:"The name of the program."`
	ClientSecretFile string   `yaml:"clientSecretFile" doc:"A file that holds its secret."`
	APIs             []string `yaml:"apis" doc:"The APIs for which it gets tokens, by their names below downstreamApis."`
}

type allowOverrides struct {
	GetAuthorizationHeader                bool `yaml:"getAuthorizationHeader" doc:"GET /AuthorizationHeader/NAME."`
	GetAuthorizationHeaderUnauthenticated bool `yaml:"getAuthorizationHeaderUnauthenticated" doc:"GET /AuthorizationHeaderUnauthenticated/NAME."`
	CallDownstreamAPI                     bool `yaml:"callDownstreamApi" doc:"POST /DownstreamApi/NAME."`
	CallDownstreamAPIUnauthenticated      bool `yaml:"callDownstreamApiUnauthenticated" doc:"POST /DownstreamApiUnauthenticated/NAME."`
}

type retry struct {
	Attempts int `yaml:"attempts" doc:"How often a call is sent at most; 1: no retry."`
}

type requestHeaders struct {
	Drop []string          `yaml:"drop" doc:"Headers that are not forwarded, beyond those that never are." details:"If the API's framework obeys them: X-HTTP-Method-Override, X-Original-URL, X-Rewrite-URL and X-Forwarded-Prefix."`
	Set  map[string]string `yaml:"set" secret:"true" doc:"Headers to set on every request to the API."`
}

type responseHeaders struct {
	Drop        []string `yaml:"drop" doc:"Headers that are not passed back, beyond Set-Cookie and the API's CORS headers."`
	KeepCookies bool     `yaml:"keepCookies" doc:"Pass the API's Set-Cookie back to callers."`
}

type tokenCache struct {
	MaxSize      config.Size   `yaml:"maxSize" doc:"Memory for tokens; when it is full, the oldest are evicted."`
	ExpiryBuffer time.Duration `yaml:"expiryBuffer" doc:"A token is not used in its last minutes, or in the second half of its life if that is shorter."`
	Redis        redisTier     `yaml:"redis" doc:"A cache that all replicas share; off without url."`
}

type redisTier struct {
	URL            string        `yaml:"url" secret:"true" doc:"redis://, rediss:// or unix://; with addr parameters a cluster, with master_name a sentinel." details:"Other parameters of go-redis that it may have: db, username, password, skip_verify, protocol, client_name, pool_size, min_idle_conns, max_idle_conns, max_active_conns, conn_max_idle_time and conn_max_lifetime."`
	PasswordFile   string        `yaml:"passwordFile" doc:"A file that holds the password; read for every connection, so a new one needs no restart."`
	KeyPrefix      string        `yaml:"keyPrefix" doc:"What every key in Redis begins with."`
	EncryptionKeys []string      `yaml:"encryptionKeys" secret:"true" doc:"Base64 of 32 bytes each (openssl rand -base64 32); the first encrypts, all decrypt; needed with url."`
	Timeout        time.Duration `yaml:"timeout" doc:"The longest time for an operation; if Redis is slower, the request continues without it." details:"If several requests wait and Redis sends nothing, they continue after 35% of it."`
}

type logging struct {
	Level  string `yaml:"level" enum:"debug,info,warn,error" doc:"The least level that is logged."`
	Format string `yaml:"format" enum:"json,text" doc:"How an event is written."`
}

type telemetryKeys struct {
	OTLPEndpoint     string  `yaml:"otlpEndpoint" doc:"A collector's URL (OTLP over HTTP), such as http://127.0.0.1:4318; default from OTEL_EXPORTER_OTLP_ENDPOINT; off: none."`
	TraceSampleRatio float64 `yaml:"traceSampleRatio" doc:"The fraction of requests that are traced, from 0 to 1." details:"A request with the header traceparent is traced if that says so."`
}

// SetDefaults is called for every API before its keys are read.
func (d *downstreamAPI) SetDefaults() { d.Timeout, d.Retry.Attempts = 20*time.Second, 2 }

func defaults() file {
	return file{
		Server: server{
			Address: ":8080", AdminAddress: "127.0.0.1:8081", RequestTimeout: 30 * time.Second,
			MaxBodySize: 10 << 20, MaxHeaderSize: 64 << 10, ShutdownGrace: 15 * time.Second,
			CORS: cors{MaxAge: 10 * time.Minute},
		},
		AzureAd: azureAd{
			Instance: "https://login.microsoftonline.com/", ClockSkew: time.Minute, ClientCapabilities: []string{"cp1"},
			Timeout: 5 * time.Second, MaxConcurrentExchanges: 64,
		},
		Sidecar: sidecarKeys{
			AllowedCallers: []string{"127.0.0.0/8", "::1/128"},
			AllowOverrides: allowOverrides{GetAuthorizationHeader: true, CallDownstreamAPI: true},
		},
		Session: sessionKeys{
			CallbackPath: "/signin-oidc", SignedOutCallbackPath: "/signout-callback-oidc", RemoteSignOutPath: "/signout-oidc",
			Lifetime: 8 * time.Hour, IdleTimeout: 30 * time.Minute,
		},
		TokenCache: tokenCache{
			MaxSize: 256 << 20, ExpiryBuffer: 5 * time.Minute,
			Redis: redisTier{KeyPrefix: "middletier:", Timeout: 100 * time.Millisecond},
		},
		Logging:   logging{Level: "info", Format: "json"},
		Telemetry: telemetryKeys{TraceSampleRatio: 0.01},
	}
}

// load reads the configuration and checks it, with more checks if any are given.
// The error names every mistake.
func load(path string, environ []string, more ...func(file, report)) (file, error) {
	f, _, err := loadDocument([]string{path}, environ, more...)
	return f, err
}

// document is a configuration that was read, to which more mistakes can be added. from
// names, by key, the environment variable of another program that set the key.
type document struct {
	*config.Document
	from map[string]string
}

// Report adds a mistake.
func (d document) Report(key, problem string) {
	if d.from[key] != "" {
		problem += " (it is from " + d.from[key] + ")"
	}
	d.Document.Report(key, problem)
}

// mistakeAt turns err into a mistake of key, which says where the key was written.
func (d document) mistakeAt(key string, err error) error {
	d.Report(key, err.Error())
	return d.Err()
}

// loadDocument is load for callers that may report more mistakes later.
func loadDocument(files []string, environ []string, more ...func(file, report)) (file, document, error) {
	f := defaults()
	read, err := config.Load(input(files, environ), &f)
	doc := document{Document: read}
	if err != nil {
		return f, doc, err
	}
	doc.from = f.AzureAd.inherit(environ, doc.Has("azureAd.instance"))
	completeCredentials("session", f.Session.ClientCredentials, environment(environ), doc.from)
	f.Telemetry.inherit(environ, doc.from)
	if !doc.Has("server.address") {
		f.Server.inherit(environ, doc.from)
	}
	for _, d := range f.DownstreamAPIs {
		d.MCP.AuthorizationServer.inherit(environment(environ))
	}
	doc.refuseInheritedPlaceholders(environ)
	f.resolve()
	f.check(doc.Report)
	for _, check := range more {
		check(f, doc.Report)
	}
	return f, doc, doc.Err()
}

// refuseInheritedPlaceholders refuses placeholders of samples in the variables of other
// programs that keys are taken from.
func (d document) refuseInheritedPlaceholders(environ []string) {
	variables := environment(environ)
	for _, key := range slices.Sorted(maps.Keys(d.from)) {
		if problem := appsettings.PlaceholderProblem(key, variables[d.from[key]]); problem != "" {
			d.Report(key, problem)
		}
	}
}

// input is what the configuration is read from.
func input(files, environ []string) config.Input {
	return config.Input{Files: files, Environ: environ, IsForeign: appsettings.IsForeign, Translate: appsettings.Translate}
}

// checkLoading reports credentials that cannot be read. Commands that use them call
// it.
func checkLoading(f file, report report) { f.oboConfig().CheckLoading(under("azureAd", report)) }

// checkServing reports every file that serve needs and cannot read.
func checkServing(f file, report report) {
	checkLoading(f, report)
	if f.Session.Enabled && len(f.Session.ClientCredentials) > 0 {
		f.sessionOBOConfig().CheckLoading(under("session", report))
	}
	checkRelayLoading(f, report)
	f.redisConfig().CheckLoading(under("tokenCache.redis", report))
	f.Sidecar.checkLoading(under("sidecar", report))
	f.Server.TLS.CheckLoading(under("server.tls", report))
}

// inherit fills missing values from the variables that Azure's own tools and workload
// identity set. It returns, by key, the variable that it used.
func (a *azureAd) inherit(environ []string, instance bool) (from map[string]string) {
	azure := environment(environ)
	from = map[string]string{}
	take := func(into *string, key, name string) {
		if azure[name] != "" {
			*into, from["azureAd."+key] = azure[name], name
		}
	}
	if !instance {
		take(&a.Instance, "instance", "AZURE_AUTHORITY_HOST")
	}
	if a.TenantID == "" {
		a.TenantID = validate.ExternalTenant(a.Instance)
	}
	if a.TenantID == "" {
		take(&a.TenantID, "tenantId", "AZURE_TENANT_ID")
	}
	if a.ClientID == "" {
		take(&a.ClientID, "clientId", "AZURE_CLIENT_ID")
	}
	if a.AzureRegion == "" {
		take(&a.AzureRegion, "azureRegion", "MSAL_FORCE_REGION")
	}
	if name := "REGION_NAME"; strings.EqualFold(a.AzureRegion, obo.AutoDetectRegion) && obo.RegionName(azure[name]) != "" {
		take(&a.AzureRegion, "azureRegion", name) // of Azure's own hosting
	}
	if len(a.ClientCredentials) == 0 {
		a.ClientCredentials = inheritedCredential(take, azure)
	}
	completeCredentials("azureAd", a.ClientCredentials, azure, from)
	return from
}

// completeCredentials decides the kind of each of a section's credentials, and takes the file
// of a federated one from the variable of workload identity if its key is not set.
func completeCredentials(section string, entries []credential.Config, azure, from map[string]string) {
	const name = "AZURE_FEDERATED_TOKEN_FILE"
	for i := range entries {
		c := &entries[i]
		c.DecideSourceType()
		if azure[name] != "" && c.SourceType == "SignedAssertionFilePath" && c.SignedAssertionFileDiskPath == "" {
			c.SignedAssertionFileDiskPath = azure[name]
			from[fmt.Sprintf("%s.clientCredentials[%d].signedAssertionFileDiskPath", section, i)] = name
		}
	}
}

// inheritedCredential is the credential of the variables that Azure's own libraries read, if
// they hold one.
func inheritedCredential(take func(into *string, key, name string), azure map[string]string) []credential.Config {
	const entry = "clientCredentials[0]."
	var c credential.Config
	switch {
	case azure["AZURE_CLIENT_SECRET"] != "":
		c.SourceType = "ClientSecret"
		take(&c.ClientSecret, entry+"clientSecret", "AZURE_CLIENT_SECRET")
	case azure["AZURE_CLIENT_CERTIFICATE_PATH"] != "":
		c.SourceType = "Path"
		take(&c.CertificateDiskPath, entry+"certificateDiskPath", "AZURE_CLIENT_CERTIFICATE_PATH")
		take(&c.CertificatePassword, entry+"certificatePassword", "AZURE_CLIENT_CERTIFICATE_PASSWORD")
	default:
		return nil
	}
	return []credential.Config{c}
}

// inherit fills a missing endpoint from the variable of OpenTelemetry's own programs,
// and records that in from.
func (t *telemetryKeys) inherit(environ []string, from map[string]string) {
	const name = "OTEL_EXPORTER_OTLP_ENDPOINT"
	if endpoint := environment(environ)[name]; endpoint != "" && t.OTLPEndpoint == "" {
		t.OTLPEndpoint, from["telemetry.otlpEndpoint"] = endpoint, name
	}
}

// inherit takes the port from the variables that hosts of web applications set.
func (s *server) inherit(environ []string, from map[string]string) {
	for _, name := range []string{"PORT", "FUNCTIONS_CUSTOMHANDLER_PORT"} {
		if port := environment(environ)[name]; port != "" {
			s.Address, from["server.address"] = ":"+port, name
			return
		}
	}
}

// resolve empties the addresses and endpoints that are "off", and replaces "auto" that no
// variable of ASP.NET has replaced.
func (f *file) resolve() {
	for _, value := range []*string{
		&f.Server.Address, &f.Server.AdminAddress, &f.Server.SidecarAddress, &f.Server.WebRoot, &f.Telemetry.OTLPEndpoint, &f.TokenCache.Redis.URL,
	} {
		if strings.EqualFold(*value, off) {
			*value = ""
		}
	}
	if strings.EqualFold(f.Server.SidecarAddress, "auto") {
		f.Server.SidecarAddress = defaultSidecarAddress
	}
}

// defaultSidecarAddress is where Microsoft's Agents SDKs look for a sidecar.
const defaultSidecarAddress = "127.0.0.1:5178"

// off turns an address or endpoint off, in a file or in the environment, where a variable
// without a value counts as unset.
const off = "off"

// environment returns the variables by name.
func environment(environ []string) map[string]string {
	variables := map[string]string{}
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		variables[name] = value
	}
	return variables
}

// report adds a mistake in the value of a key.
type report = func(key, problem string)

// under reports the mistakes of a section. Their keys are relative to the section: a
// name, an index of a list, or "" for the section itself.
func under(section string, report report) report {
	return func(key, problem string) {
		if key != "" && key[0] != '[' {
			key = "." + key
		}
		report(section+key, problem)
	}
}

// apiName is what is allowed in a route and in a metric.
var apiName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func (f file) check(report report) {
	f.Server.check(under("server", report))
	f.apiConfig().Check(under("server", report))
	f.siteConfig().Check(under("server", report))
	f.sidecarConfig().Check(under("sidecar", report))
	f.validateConfig().Check(under("azureAd", report))
	if u, err := url.Parse(f.AzureAd.AppIDURI); f.AzureAd.AppIDURI != "" && (err != nil || u.Scheme == "" || u.Host == "") {
		report("azureAd.appIdUri", "must be a URI, such as api://CLIENT-ID")
	}
	if id := f.AzureAd.AppHomeTenantID; id != "" && !validate.IsTenant(id) {
		report("azureAd.appHomeTenantId", "must be one tenant's GUID or domain")
	}
	if f.AzureAd.AllowACL && len(f.AzureAd.AllowedClients) == 0 {
		report("azureAd.allowWebApiToBeAuthorizedByACL", "needs allowedClients: it would let every application of the tenant in")
	}
	f.oboConfig().Check(under("azureAd", report))
	f.checkSession(report)
	f.Sidecar.check(slices.Sorted(maps.Keys(f.DownstreamAPIs)), under("sidecar", report))
	f.cacheConfig().Check(under("tokenCache", report))
	f.redisConfig().Check(under("tokenCache.redis", report))
	f.telemetryConfig().Check(under("telemetry", report))
	for name, d := range f.DownstreamAPIs {
		section := under("downstreamApis."+name, report)
		if !apiName.MatchString(name) {
			section("", "must be a name of letters, digits, dots, dashes and underscores")
		}
		d.check(f.Server, section)
		f.checkAuthorizationServer(d, under("mcp.authorizationServer", section))
		if id := d.Agent.Identity; id != "" && strings.EqualFold(id, f.AzureAd.ClientID) {
			section("agent.identity", "is azureAd.clientId, the blueprint: it must be the client ID of an agent identity made from it")
		}
		if _, known := f.appTenant(d); !known && d.requiresAppToken(f.Server) {
			section("tenant", tenantRequired)
		}
		f.downstreamConfig(d).Check(func(key, problem string) {
			if key != "baseUrl" || d.BaseURL != "" || f.Server.SidecarAddress == "" {
				section(key, problem)
			}
		})
		if client, err := downstream.New(f.downstreamConfig(d)); err == nil && f.Server.SidecarAddress != "" {
			d.sidecarAPI(name, client).Check(section)
		}
	}
}

func (s server) check(report report) {
	s.checkAddresses(report)
	if s.RequestTimeout <= 0 {
		report("requestTimeout", "must be positive")
	}
	if s.ShutdownGrace < 0 {
		report("shutdownGrace", "must not be negative")
	}
	if s.MaxConnections < 0 {
		report("maxConnections", "must not be negative; 0 means any number")
	}
	if s.H2C && s.TLS.CertFile != "" {
		report("h2c", "is for HTTP/2 without TLS, but tls is set; over TLS, HTTP/2 is always on")
	}
	s.TLS.Check(under("tls", report))
}

func (s server) checkAddresses(report report) {
	const form = "must be HOST:PORT, such as 127.0.0.1:8080 or :8080"
	type listening struct{ key, address, problem string }
	var earlier []listening
	for _, l := range []listening{
		{"address", s.Address, form},
		{"adminAddress", s.AdminAddress, form},
		{"sidecarAddress", s.SidecarAddress, "must be HOST:PORT, such as 127.0.0.1:5178, or unix:/path, auto or off"},
	} {
		if _, isSocket := listener.UnixPath(l.address); l.address == "" || isSocket && l.key == "sidecarAddress" {
			continue
		}
		if _, port, err := net.SplitHostPort(l.address); err != nil || !isPort(port) {
			report(l.key, l.problem)
			continue
		}
		for _, other := range earlier {
			if overlap(l.address, other.address) {
				report(l.key, "has the port of server."+other.key+", "+other.address)
			}
		}
		earlier = append(earlier, l)
	}
	if s.Address == "" && s.SidecarAddress == "" {
		report("address", "must be HOST:PORT, such as :8080: without server.sidecarAddress there would be nothing to serve")
	}
}

// overlap reports whether two listeners would need the same port of the same address.
func overlap(a, b string) bool {
	hostA, portA, _ := net.SplitHostPort(a) // both are HOST:PORT
	hostB, portB, _ := net.SplitHostPort(b)
	isAny := func(host string) bool { return slices.Contains([]string{"", "0.0.0.0", "::"}, host) }
	return portA == portB && portA != "0" && (hostA == hostB || isAny(hostA) || isAny(hostB))
}

// isPort reports whether text is a port number.
func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

// check reports mistakes in d, for the listeners of s. On the sidecar listener, a request
// can say what d does not.
func (d downstreamAPI) check(s server, report report) {
	if err := obo.CheckScopes(d.Scopes); err != nil && (len(d.Scopes) > 0 || len(d.AppScopes) == 0 && s.SidecarAddress == "") {
		report("scopes", err.Error())
	}
	if len(d.AppScopes) > 1 || len(d.AppScopes) == 1 && !strings.HasSuffix(d.AppScopes[0], "/.default") {
		report("appScopes", "must be one scope of the form RESOURCE/.default")
	}
	if d.appScope() == "" && d.Agent.User == "" && d.requiresAppToken(s) {
		report("appScopes", "must be set: the resource cannot be derived from scopes")
	}
	d.Agent.agent().Check(under("agent", report))
	d.MCP.check(d.EncodedSlashes, d.WebSockets, under("mcp", report))
	switch {
	case d.Agent.User != "" && d.RequestAppToken:
		report("agent.user", "cannot be set where requestAppToken is true: a user's token is not the application's")
	case d.Agent.User != "" && len(d.Scopes) == 0:
		report("scopes", "must hold the delegated scopes to request for the agent's user")
	}
	if d.Tenant != "" && !validate.IsTenant(d.Tenant) {
		report("tenant", "must be one tenant's GUID or domain")
	}
	if access := validate.NewAccess(d.Access, under("access", report)); d.EncodedSlashes && access.DependsOnPath() {
		report("encodedSlashes",
			"must be false if an access rule names paths: the API may read %2F as a slash, and so as another path than the rule's")
	}
	if d.WebSockets && strings.HasPrefix(strings.ToLower(d.BaseURL), "h2c:") {
		report("webSockets", "must be false if baseUrl is h2c://…: a WebSocket begins with HTTP/1.1")
	}
}

// agent returns the agent identity that the keys name.
func (k agentKeys) agent() obo.Agent { return obo.Agent{ID: k.Identity, User: k.User} }

// appOnly reports whether the API is called as the application, or as an agent's user, only.
func (d downstreamAPI) appOnly() bool {
	return d.RequestAppToken || d.Agent.User != "" || len(d.Scopes) == 0 && len(d.AppScopes) > 0
}

// requiresAppToken reports whether a token for an application must be available, for the
// listeners of s.
func (d downstreamAPI) requiresAppToken(s server) bool {
	return d.RequestAppToken || d.isPublic(s) && d.allowsApps()
}

// isPublic reports whether the public listener of s serves d, or would if d had no mistake.
func (d downstreamAPI) isPublic(s server) bool {
	isWhole := d.BaseURL != "" && len(d.Scopes)+len(d.AppScopes) > 0
	return s.Address != "" && (isWhole || s.SidecarAddress == "")
}

// allowsApps reports whether any access rule allows applications.
func (d downstreamAPI) allowsApps() bool {
	return slices.ContainsFunc(d.Access, func(r validate.Rule) bool { return len(r.AppPermissions)+len(r.Clients) > 0 })
}

const tenantRequired = "must be set if azureAd.tenantId is organizations or common and there is no azureAd.appHomeTenantId: " +
	"an application requests tokens in one tenant"

// appTenant is the tenant in which to request application tokens for d, "" for our own,
// and whether one is known.
func (f file) appTenant(d downstreamAPI) (tenant string, known bool) {
	tenant = cmp.Or(d.Tenant, f.AzureAd.AppHomeTenantID)
	return tenant, tenant != "" || !validate.IsMultiTenant(f.AzureAd.TenantID)
}

// requestTimeout is the longest time for a whole request to d.
func (f file) requestTimeout(d downstreamAPI) time.Duration {
	return cmp.Or(d.RequestTimeout, f.Server.RequestTimeout)
}

// appScope is the scope to request as an application, or "" if none is known.
func (d downstreamAPI) appScope() string {
	if len(d.AppScopes) > 0 {
		return d.AppScopes[0]
	}
	return obo.AppScope(d.Scopes)
}

// effective returns f with the values in force for keys that are not set.
func (f file) effective() file {
	f.AzureAd.AppIDURI = f.AzureAd.idURI()
	if f.Server.WebRoot != "" {
		f.Server.ContentPolicy = cmp.Or(f.Server.ContentPolicy, webroot.DefaultPolicy(f.siteConfig().FrameSources))
	}
	if f.AzureAd.Audiences = f.audiences(); len(f.AzureAd.Audiences) == 0 {
		f.AzureAd.Audiences = []string{f.AzureAd.ClientID, "api://" + f.AzureAd.ClientID}
	}
	apis := map[string]downstreamAPI{}
	for name, d := range f.DownstreamAPIs {
		if scope := d.appScope(); scope != "" {
			d.AppScopes = []string{scope}
		}
		if tenant, known := f.appTenant(d); known {
			d.Tenant = cmp.Or(tenant, f.AzureAd.TenantID)
		}
		d.RequestTimeout = f.requestTimeout(d)
		apis[name] = d
	}
	f.DownstreamAPIs = apis
	if f.Session.Enabled {
		f.Session = f.webApp()
	}
	return f
}

// audiences are azureAd.audiences with the App ID URIs of MCP endpoints. None: the default.
func (f file) audiences() []string {
	var uris []string
	for _, name := range slices.Sorted(maps.Keys(f.DownstreamAPIs)) {
		if uri := f.DownstreamAPIs[name].MCP.AppIDURI; isAppIDURI(uri) {
			uris = append(uris, uri)
		}
	}
	if len(uris) == 0 || len(f.AzureAd.Audiences) > 0 {
		return slices.Concat(f.AzureAd.Audiences, uris)
	}
	id := strings.ToLower(f.AzureAd.ClientID)
	return append([]string{id, "api://" + id}, uris...)
}

func (f file) validateConfig() validate.Config {
	clients := f.AzureAd.AllowedClients
	if id := f.webApp().ClientID; f.Session.Enabled && len(clients) > 0 && validate.IsGUID(id) { // the session's own tokens are for the web app
		clients = append(slices.Clone(clients), id)
	}
	return validate.Config{
		Instance: f.AzureAd.Instance, TenantID: f.AzureAd.TenantID, ClientID: f.AzureAd.ClientID,
		Audiences: f.audiences(), ClockSkew: f.AzureAd.ClockSkew,
		AllowedTenants: f.AzureAd.AllowedTenants, AllowedClients: clients,
	}
}

func (f file) oboConfig() obo.Config {
	return obo.Config{
		Instance: f.AzureAd.Instance, TenantID: f.AzureAd.TenantID, ClientID: f.AzureAd.ClientID,
		Credentials: f.AzureAd.ClientCredentials, Capabilities: f.AzureAd.ClientCapabilities,
		SendX5C: f.AzureAd.SendX5C, Region: f.AzureAd.AzureRegion,
		Timeout: f.AzureAd.Timeout, MaxConcurrent: f.AzureAd.MaxConcurrentExchanges,
	}
}

func (f file) cacheConfig() obo.CacheConfig {
	return obo.CacheConfig{
		MaxSize: int64(f.TokenCache.MaxSize), ExpiryBuffer: f.TokenCache.ExpiryBuffer,
	}
}

func (f file) redisConfig() redistier.Config {
	r := f.TokenCache.Redis
	return redistier.Config{
		URL: r.URL, PasswordFile: r.PasswordFile, KeyPrefix: r.KeyPrefix, EncryptionKeys: r.EncryptionKeys, Timeout: r.Timeout,
	}
}

func (f file) downstreamConfig(d downstreamAPI) downstream.Config {
	return downstream.Config{
		BaseURL: d.BaseURL, Timeout: d.Timeout, RequestTimeout: f.requestTimeout(d),
		Attempts: d.Retry.Attempts, EncodedSlashes: d.EncodedSlashes, KeepCookies: d.ResponseHeaders.KeepCookies,
		DropRequest: d.RequestHeaders.Drop, SetRequest: d.RequestHeaders.Set, DropResponse: d.ResponseHeaders.Drop,
	}
}

func (f file) telemetryConfig() telemetry.Config {
	return telemetry.Config{OTLPEndpoint: f.Telemetry.OTLPEndpoint, TraceSampleRatio: f.Telemetry.TraceSampleRatio, Version: version}
}

func (f file) apiConfig() api.Config {
	corsKeys := f.Server.CORS
	return api.Config{
		PublicURL: f.Server.PublicURL, BasePath: f.Server.BasePath,
		AllowedHosts: f.Server.AllowedHosts, TrustedProxies: f.Server.TrustedProxies,
		EasyAuth: f.Server.EasyAuth, ServerTiming: f.Server.ServerTiming, Profiling: f.Server.AdminProfiling,
		MaxBodySize: int64(f.Server.MaxBodySize), MaxHeaderSize: int64(f.Server.MaxHeaderSize),
		Rate: api.Rate{PerSecond: f.Server.RateLimit.RequestsPerSecond, Burst: f.Server.RateLimit.Burst},
		CORS: api.CORS{
			Origins: corsKeys.AllowedOrigins, MaxAge: corsKeys.MaxAge,
			RequestHeaders: corsKeys.AllowedHeaders, ResponseHeaders: corsKeys.ExposedHeaders,
		},
		Authority: strings.TrimSuffix(f.AzureAd.Instance, "/") + "/" + f.AzureAd.TenantID, ClientID: f.AzureAd.ClientID,
		IDURI: f.AzureAd.idURI(), Version: version,
		SignOutForgetsUser: f.Server.SidecarAddress != "", // where queries name scopes, tenants and agents
	}
}

func (f file) sidecarConfig() sidecar.Config {
	k := f.Sidecar
	c := sidecar.Config{
		AllowedCallers: k.AllowedCallers, AllowedHosts: k.AllowedHosts, Scopes: k.Scopes,
		Overrides: sidecar.Gates{
			AuthorizationHeader:                k.AllowOverrides.GetAuthorizationHeader,
			AuthorizationHeaderUnauthenticated: k.AllowOverrides.GetAuthorizationHeaderUnauthenticated,
			DownstreamAPI:                      k.AllowOverrides.CallDownstreamAPI,
			DownstreamAPIUnauthenticated:       k.AllowOverrides.CallDownstreamAPIUnauthenticated,
		},
		MaxBodySize: int64(f.Server.MaxBodySize), MaxHeaderSize: int64(f.Server.MaxHeaderSize),
		ProblemURL: f.problemURL(),
		Authority:  strings.TrimSuffix(f.AzureAd.Instance, "/") + "/" + f.AzureAd.TenantID,
		ClientID:   f.AzureAd.ClientID, IDURI: f.AzureAd.idURI(),
	}
	if f.AzureAd.AllowACL {
		c.RoleFreeClients = f.AzureAd.AllowedClients
	}
	for _, client := range k.TokenClients {
		t := sidecar.TokenClient(client)
		t.APIs = nil
		for _, name := range client.APIs {
			t.APIs = append(t.APIs, strings.ToLower(name))
		}
		c.TokenClients = append(c.TokenClients, t)
	}
	return c
}

// problemURL is the URL that problem types of the sidecar listener begin with, or "" if
// no other listener explains them.
func (f file) problemURL() string {
	if fixed := f.apiConfig().FixedURL(); fixed != "" || f.Server.Address == "" {
		return fixed
	}
	_, port, _ := net.SplitHostPort(f.Server.Address)
	return "http://localhost:" + port + f.Server.BasePath
}

// idURI is the App ID URI of this service: the configured one, a URI among the
// audiences, or api://clientId. It has no slash at its end.
func (a azureAd) idURI() string {
	if a.AppIDURI != "" {
		return strings.TrimSuffix(a.AppIDURI, "/")
	}
	if i := slices.IndexFunc(a.Audiences, func(audience string) bool { return strings.Contains(audience, "://") }); i >= 0 {
		return strings.TrimSuffix(a.Audiences[i], "/")
	}
	return "api://" + a.ClientID
}
