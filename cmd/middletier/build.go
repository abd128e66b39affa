package main

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"middletier/internal/api"
	"middletier/internal/config"
	"middletier/internal/diagnosis"
	"middletier/internal/downstream"
	"middletier/internal/facade"
	"middletier/internal/gctune"
	"middletier/internal/listener"
	"middletier/internal/obo"
	"middletier/internal/records"
	"middletier/internal/redistier"
	"middletier/internal/secretfile"
	"middletier/internal/session"
	"middletier/internal/sidecar"
	"middletier/internal/telemetry"
	"middletier/internal/validate"
	"middletier/internal/webroot"
)

// program is the wired service.
type program struct {
	api       *api.Server
	sidecar   *sidecar.Server
	validator *validate.Validator
	tokens
	telemetry *telemetry.Telemetry
	relays    map[string]*obo.Client // of the authorization servers, by API

	certificate *listener.Certificate // of the public listener; nil for cleartext
}

// build wires the service that f describes. transport reaches the identity
// provider. ctx bounds the loading of credentials, for which a vault may be asked.
func build(ctx context.Context, f file, transport http.RoundTripper, log *slog.Logger) (*program, error) {
	var cert *listener.Certificate
	if f.Server.TLS.CertFile != "" {
		var err error
		if cert, err = listener.LoadCertificate(f.Server.TLS, log); err != nil {
			return nil, err
		}
	}
	telemetryConfig := f.telemetryConfig()
	telemetryConfig.Log = log
	tel, err := telemetry.New(telemetryConfig)
	if err != nil {
		return nil, err
	}
	provider, err := telemetry.NewTarget("", f.AzureAd.Instance)
	if err != nil {
		return nil, err
	}
	client := newClient(tel.Transport(transport, provider))

	validateConfig := f.validateConfig()
	validateConfig.Client, validateConfig.Log = client, log
	validator := validate.New(validateConfig)

	tokens, err := buildTokens(ctx, f, client, tel, log)
	if err != nil {
		return nil, err
	}
	cache := tokens.cache
	sessions, err := tokens.buildSessions(f, validator, tel, log)
	if err != nil {
		return nil, err
	}

	apiConfig := f.apiConfig()
	apiConfig.Validator, apiConfig.Tokens, apiConfig.Telemetry, apiConfig.Log = validator, cache, tel, log
	if apiConfig.Settings, err = config.Masked(f.effective()); err != nil {
		return nil, err
	}
	if f.Server.WebRoot != "" {
		apiConfig.Site = webroot.New(f.siteConfig())
	}
	apiConfig.Sessions = sessions
	if apiConfig.APIs, err = buildAPIs(f, sessions, tel, log); err != nil {
		return nil, err
	}
	relays, err := f.buildRelays(ctx, client, tel, log)
	if err != nil {
		return nil, err
	}
	apiConfig.Facade = facade.New(f.facadeConfigs(relays))
	sidecarConfig := f.sidecarConfig()
	sidecarConfig.Validator, sidecarConfig.Tokens, sidecarConfig.Telemetry, sidecarConfig.Log = validator, cache, tel, log
	sidecarConfig.APIs = f.sidecarAPIs(apiConfig.APIs)
	apiServer := api.New(apiConfig)
	if err := (processMetrics{validator, tokens.exchanger, tokens.webApp, cache, apiServer}).register(tel.Meter()); err != nil {
		return nil, err
	}
	return &program{
		api: apiServer, sidecar: sidecar.New(sidecarConfig), validator: validator, tokens: tokens,
		telemetry: tel, relays: relays, certificate: cert,
	}, nil
}

// tokens is what gets tokens and keeps them.
type tokens struct {
	exchanger *obo.Client
	cache     *obo.Cache
	webApp    *obo.Client    // of session.clientId; nil without sessions
	records   *records.Store // in Redis; nil without
}

// buildTokens wires what gets tokens: the clients of the identity provider and the cache,
// with Redis if it is configured.
func buildTokens(ctx context.Context, f file, client *http.Client, tel *telemetry.Telemetry, log *slog.Logger) (t tokens, err error) {
	oboConfig := f.oboConfig()
	oboConfig.Client, oboConfig.Log = client, log
	adviser := diagnosis.NewAdviser(log)
	oboConfig.Exchanged = func(flow obo.Flow, took time.Duration, err error) {
		tel.Exchange(string(flow), obo.Outcome(err), took)
		adviser.Exchanged(err)
	}
	if t.exchanger, err = obo.NewClient(ctx, oboConfig); err != nil {
		return t, err
	}
	if f.Session.Enabled {
		webApp := f.sessionOBOConfig()
		webApp.Client, webApp.Log = client, log.With("registration", webApp.ClientID)
		webApp.Exchanged = func(flow obo.Flow, took time.Duration, err error) {
			oboConfig.Exchanged(flow, took, err)
			tel.Token(context.Background(), string(flow), string(obo.IdentityProvider), obo.Outcome(err))
		}
		if t.webApp, err = obo.NewClient(ctx, webApp); err != nil {
			return t, err
		}
	}
	cacheConfig := f.cacheConfig()
	if redisConfig := f.redisConfig(); redisConfig.URL != "" {
		redisConfig.Log = log
		shared, err := redistier.New(redisConfig)
		if err != nil {
			return t, err
		}
		cacheConfig.Shared = shared
		if t.records, err = records.NewRedis(shared, redisConfig.EncryptionKeys); err != nil {
			return t, err
		}
		cacheConfig.Records = t.records
	}
	t.cache, err = obo.NewCache(cacheConfig, t.exchanger)
	return t, err
}

// buildSessions wires the sessions of pages that hold no token, or returns nil if there are
// none.
func (t tokens) buildSessions(
	f file, validator *validate.Validator, tel *telemetry.Telemetry, log *slog.Logger,
) (*api.Sessions, error) {
	if !f.Session.Enabled {
		return nil, nil
	}
	c := f.sessionConfig()
	c.Provider, c.Validator, c.Tokens, c.Log, c.SignInEnded = t.webApp, validator, t.cache, log, tel.SignIn
	if c.Records = t.records; c.Records == nil {
		c.Records = records.NewMemory(records.DefaultMemory)
	}
	var err error
	if c.LoginKeys, err = loginKeys(f.TokenCache.Redis.EncryptionKeys); err != nil {
		return nil, err
	}
	sessions := &api.Sessions{Manager: session.New(c), Resource: f.ownResource(), CallbackPath: c.CallbackPath}
	if !f.sharesRegistration() {
		// The user consents to the web app's use of this service, and with it to what this
		// service needs, if the web app is among its knownClientApplications.
		sessions.ConsentScopes = []string{f.AzureAd.idURI() + "/.default"}
	}
	return sessions, nil
}

// loginKeys returns the keys that seal the cookies of sign-ins. They are derived from the keys
// that all replicas have, if there are any: another one may answer the provider's redirect.
func loginKeys(encryptionKeys []string) ([][]byte, error) {
	if len(encryptionKeys) == 0 {
		key := make([]byte, 32)
		_, _ = rand.Read(key) // never fails
		return [][]byte{key}, nil
	}
	var keys [][]byte
	for _, text := range encryptionKeys {
		secret, err := secretfile.Base64(text)
		if err != nil {
			return nil, fmt.Errorf("tokenCache.redis.encryptionKeys: %w", err)
		}
		key, err := hkdf.Key(sha256.New, secret, nil, "middletier login cookie", 32)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// buildAPIs wires the downstream APIs, by name.
func buildAPIs(f file, sessions *api.Sessions, tel *telemetry.Telemetry, log *slog.Logger) (map[string]api.API, error) {
	apis := map[string]api.API{}
	for name, d := range f.DownstreamAPIs {
		client, err := f.buildAPIClient(name, d, sessions, tel, log)
		if err != nil {
			return nil, err
		}
		tenant, _ := f.appTenant(d) // checked before, where applications may call
		apis[name] = api.API{
			Access: validate.NewAccess(d.Access, func(string, string) {}), // checked before
			Client: client, Scopes: d.Scopes, AppScope: d.appScope(), Tenant: tenant,
			AppOnly: d.appOnly(), WebSockets: d.WebSockets, Agent: d.Agent.agent(), MCP: d.MCP.endpoint(),
		}
	}
	return apis, nil
}

// buildAPIClient returns what reaches the API, or nil if it has no URL.
func (f file) buildAPIClient(
	name string, d downstreamAPI, sessions *api.Sessions, tel *telemetry.Telemetry, log *slog.Logger,
) (*downstream.Client, error) {
	if d.BaseURL == "" {
		return nil, nil
	}
	target, err := telemetry.NewTarget(name, d.BaseURL)
	if err != nil {
		return nil, err
	}
	transport := downstream.NewTransport()
	transport.Log = log.With("api", name)
	c := f.downstreamConfig(d)
	if sessions != nil {
		c.IsOwnCookie = sessions.IsOwnCookie
	}
	c.Transport = tel.Transport(transport, target)
	return downstream.New(c)
}

// sidecarAPIs are the APIs of the sidecar listener. They share the clients of built.
func (f file) sidecarAPIs(built map[string]api.API) map[string]sidecar.API {
	apis := map[string]sidecar.API{}
	for name, d := range f.DownstreamAPIs {
		a := d.sidecarAPI(name, built[name].Client)
		a.Tenant = built[name].Tenant
		apis[strings.ToLower(name)] = a
	}
	return apis
}

// sidecarAPI returns d for the sidecar listener, without the tenant.
func (d downstreamAPI) sidecarAPI(name string, client *downstream.Client) sidecar.API {
	return sidecar.API{
		Name: name, Client: client, BaseURL: d.BaseURL, Scopes: d.Scopes, AppScope: d.appScope(),
		AppScopes: len(d.AppScopes) > 0, RequestAppToken: d.RequestAppToken, Agent: d.Agent.agent(),
		RelativePath: d.RelativePath, HTTPMethod: strings.ToUpper(d.HTTPMethod), AcceptHeader: d.AcceptHeader, ContentType: d.ContentType,
		ExtraHeader: d.ExtraHeader, ExtraQuery: d.ExtraQuery,
	}
}

// newClient returns a client that follows no redirects: our requests carry
// credentials, and a redirect would hand them on.
func newClient(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// newProviderTransport connects to the identity provider. It keeps an idle connection
// for every exchange that may run at once. net/http's default is two, and a TLS
// handshake costs about as much CPU as an exchange, and two round trips.
func newProviderTransport(exchanges int) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, exchanges
	downstream.FindDeadConnections(t)
	return t
}

// run runs the program's background goroutines until ctx ends.
func (p *program) run(ctx context.Context) error {
	var group errgroup.Group
	group.Go(func() error {
		p.validator.Run(ctx)
		return nil
	})
	group.Go(func() error {
		p.exchanger.Run(ctx)
		return nil
	})
	for _, relay := range p.relays {
		group.Go(func() error {
			relay.Run(ctx)
			return nil
		})
	}
	if p.webApp != nil {
		group.Go(func() error {
			p.webApp.Run(ctx)
			return nil
		})
	}
	if p.certificate != nil {
		group.Go(func() error {
			p.certificate.Run(ctx)
			return nil
		})
	}
	group.Go(func() error { return p.cache.Run(ctx) })
	group.Go(func() error {
		gctune.Run(ctx, func() int { return p.cache.Stats().Bytes + p.validator.CachedBytes() })
		return nil
	})
	err := group.Wait()
	return errors.Join(err, p.telemetry.Close())
}
