package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"middletier/internal/credential"
	"middletier/internal/demo"
	"middletier/internal/listener"
	"middletier/internal/mockidp"
	"middletier/internal/todo"
	"middletier/internal/validate"
)

// demoCommand runs the service between an embedded identity platform and a
// protected API.
type demoCommand struct {
	Port    int    `help:"The port of the service, on 127.0.0.1; 0: any free one." default:"8080"`
	IDPPort int    `name:"idp-port" help:"The port of the identity platform, on 127.0.0.1; 0: any free one." default:"0"`
	CAOut   string `name:"ca-out" help:"A file to which the platform's CA certificate is written, in PEM, for clients of yours." placeholder:"FILE"`
}

// demoConfig is the configuration of the demo.
func demoConfig(instance, todoURL, secret string) file {
	f := defaults()
	f.AzureAd.Instance, f.AzureAd.TenantID, f.AzureAd.ClientID = instance+"/", demoTenant, demoMiddleTier
	f.AzureAd.ClientCredentials = []credential.Config{{SourceType: "ClientSecret", ClientSecret: secret}}
	api := downstreamAPI{
		BaseURL: todoURL, Scopes: []string{"api://todo/.default"},
		Access: []validate.Rule{
			{Methods: []string{"GET", "HEAD"}, Scopes: todo.Scopes, AppPermissions: todo.AppPermissions},
			{Methods: []string{"POST", "DELETE"}, Scopes: todo.Scopes[1:], AppPermissions: todo.AppPermissions[1:]},
		},
	}
	api.SetDefaults()
	f.DownstreamAPIs = map[string]downstreamAPI{"todo": api}
	return f
}

func (c demoCommand) run(ctx context.Context, std streams) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var level slog.LevelVar
	level.Set(slog.LevelWarn) // until the page's address is printed, so that it comes first
	log := slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: &level}))
	// It listens first: the directory has its address as the redirect URI of the page.
	public, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Port)))
	if err != nil {
		return fmt.Errorf("--port: %w", err)
	}
	defer public.Close()
	host := webHost(public.Addr().String())
	service := "http://" + host
	secret := rand.Text()
	directory := withMCPClients(withPage(demoDirectory(secret), service), secret)
	platform, err := c.startPlatform(directory)
	if err != nil {
		return err
	}
	defer platform.Close()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: platform.CertPool()}}

	page, err := newDemoPage(ctx, platform, transport)
	if err != nil {
		return err
	}
	api, err := todoApp(directory)
	if err != nil {
		return err
	}
	todoURL, closeTodo, err := todoServer{"127.0.0.1:0", platform, api, transport, page.ObserveAPI, log}.start(ctx)
	if err != nil {
		return err
	}
	defer closeTodo()

	f := demoConfig(platform.URL(), todoURL, secret)
	withMCPServer(&f, secret)
	f.Server.ShutdownGrace = time.Second // there is no load balancer
	f.Server.Address = public.Addr().String()
	f.Server.ServerTiming = true // the page shows it
	f.Server.PublicURL = service
	f.Session.Enabled, f.Session.ClientID = true, demoWeb
	f.Session.ClientCredentials = f.AzureAd.ClientCredentials // every app of the directory has this secret
	p, err := build(ctx, f, page.ObservePlatform(transport), log)
	if err != nil {
		return err
	}
	handler := page.Around(p.api, host)
	serveErr := make(chan error, 1)
	go func() {
		serveErr <- serve(ctx, f.Server, p, map[net.Listener]http.Handler{p.limited(public, f.Server, log): handler}, log)
	}()
	if err := p.validator.AwaitKeys(ctx); err == nil {
		printDemo(std.out, platform.URL(), todoURL, service)
		level.Set(slog.LevelInfo)
	}
	return <-serveErr
}

// webHost is an address as browsers write it in http URLs and the Host header: without the
// default port.
func webHost(address string) string { return strings.TrimSuffix(address, ":80") }

// startPlatform starts the identity platform, and writes the CA certificate before it
// listens.
func (c demoCommand) startPlatform(directory mockidp.Directory) (*mockidp.Server, error) {
	platform, err := mockidp.New(directory)
	if err != nil {
		return nil, err
	}
	addPresets(platform)
	if c.CAOut != "" {
		if err := os.WriteFile(c.CAOut, platform.CAPEM(), 0o644); err != nil {
			return nil, fmt.Errorf("--ca-out: %w", err)
		}
	}
	if err := platform.Start(net.JoinHostPort("127.0.0.1", strconv.Itoa(c.IDPPort))); err != nil {
		return nil, fmt.Errorf("--idp-port: %w", err)
	}
	return platform, nil
}

// newDemoPage returns the page, which signs in as the directory's single-page application.
func newDemoPage(ctx context.Context, platform *mockidp.Server, transport http.RoundTripper) (*demo.Page, error) {
	return demo.New(ctx, demo.Config{
		Platform: platform, Client: newClient(transport), Tenant: demoTenant,
		ClientID: demoSPA, Scope: "api://" + demoMiddleTier + "/ToDoList.ReadWrite",
		Consent: mockidp.Grant{Client: "middletier", Resource: "todo", Scopes: todo.Scopes, Roles: todo.AppPermissions},
		Names: map[string]string{
			demoTenant: "the tenant", demoMiddleTier: "the middle tier", demoToDo: "the ToDo API",
			demoApp: "an app", demoDaemon: "the daemon", demoSPA: "this page", demoMCP: "MCP clients",
		},
	})
}

// addPresets lets GET /mock/tokens/{name} answer with a fresh token for the
// middle tier.
func addPresets(platform *mockidp.Server) {
	platform.AddPreset("alice", mockidp.Preset{User: "alice", Client: "app", Resource: "middletier", Scopes: todo.Scopes[1:]})
	platform.AddPreset("bob", mockidp.Preset{User: "bob", Client: "app", Resource: "middletier", Scopes: todo.Scopes[:1]})
	platform.AddPreset("daemon", mockidp.Preset{Client: "daemon", Resource: "middletier", Roles: todo.AppPermissions[:1]})
}

// todoServer is the ToDo API, which is registered as app.
type todoServer struct {
	address   string
	platform  *mockidp.Server
	app       mockidp.App
	transport http.RoundTripper // to the platform
	observe   func(http.Handler) http.Handler
	log       *slog.Logger
}

// start serves the API until closed.
func (t todoServer) start(ctx context.Context) (url string, closeAll func(), err error) {
	validator := validate.New(validate.Config{
		Instance: t.platform.URL(), TenantID: t.app.TenantID, ClientID: t.app.ClientID, ClockSkew: time.Minute,
		Client: newClient(t.transport), Log: t.log,
	})
	l, err := net.Listen("tcp", t.address)
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		validator.Run(ctx)
	}()
	srv := &http.Server{Handler: t.observe(todo.New(validator)), ReadHeaderTimeout: listener.ReadHeaderTimeout}
	go func() { _ = srv.Serve(l) }() // ends with Close
	return "http://" + l.Addr().String(), func() {
		_ = srv.Close() // its requests need not finish
		cancel()
		<-done
	}, validator.AwaitKeys(ctx)
}

// printDemo prints the addresses and commands to try. The comments have no quotes: zsh reads
// those of pasted comments.
func printDemo(w io.Writer, platform, todoURL, service string) {
	bearer := func(name string) string {
		return fmt.Sprintf(`-H "Authorization: Bearer $(curl -sk %s/mock/tokens/%s)"`, platform, name)
	}
	items := service + "/api/todo/items"
	_, _ = fmt.Fprintf(w, `%s/ is ready: open it in a browser, sign in, and see what each call does.

  identity platform  %s (embedded, with its own CA)
  ToDo API           %s (validates its own tokens, and never sees the callers' tokens)
  middle tier        %s
  MCP server         %s%s (give an MCP client this URL: it signs you in by itself)

Or try, in another terminal; the page shows these calls too:

# Alice adds an item and lists hers. The API gets a token on behalf of Alice.
curl -s %s %s -d '{"title":"buy milk"}' && curl -s %s %s

# Bob lists his. The item of Alice is not among them.
curl -s %s %s

# The daemon has no user; it calls /app, and the API shows it every item.
curl -s %s %s

# Refused with 403: the token of Bob has ToDoList.Read, and adding needs ToDoList.ReadWrite. The API is not called.
curl -si %s %s -d '{"title":"too much"}'

Ctrl-C stops it.
`, service, platform, todoURL, service, service+"/api/todo", todo.Endpoint,
		bearer("alice"), items, bearer("alice"), items,
		bearer("bob"), items,
		bearer("daemon"), service+"/app/todo/items",
		bearer("bob"), items)
}
