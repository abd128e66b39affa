// Package demo is the page of the demo: it signs users in, calls the middle tier, and shows
// what each call causes at the identity platform and at the API.
//
// A Recorder observes three places: the service's own listener, its requests to the
// platform, and the ToDo API. What belongs to one call is a Flow. The page gets flows as
// server-sent events. They hold claims of people, so the page's routes answer pages of the
// demo's own origin only.
package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"middletier/internal/mockidp"
	"middletier/internal/reply"
)

// Config holds what a Page needs.
type Config struct {
	// Platform is the identity platform. Its directory has the users and applications that
	// the page's cases name.
	Platform *mockidp.Server
	// Client reaches the platform.
	Client *http.Client
	// Tenant is the ID of the tenant in which users sign in.
	Tenant string
	// ClientID is the registration of the page, and Scope is what it asks for.
	ClientID, Scope string
	// Consent is what the middle tier was granted of the API.
	Consent mockidp.Grant
	// Names says whose the IDs in tokens are.
	Names map[string]string
}

// Page is the demo's page and what it observes.
type Page struct {
	settings settings
	recorder *Recorder
	cases    *cases
}

// maxMetadata limits the platform's metadata document, in bytes.
const maxMetadata = 64 << 10

// New returns a page for the platform, which must be running: the page's sign-in library
// gets the platform's metadata with the page. Its own first request would fail, because
// the browser does not trust the platform's certificate yet.
func New(ctx context.Context, c Config) (*Page, error) {
	authority := c.Platform.URL() + "/" + c.Tenant
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, authority+"/v2.0/.well-known/openid-configuration", nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.Client.Do(req)
	if err != nil {
		return nil, err
	}
	metadata, err := reply.Body(resp, maxMetadata)
	if err != nil || resp.StatusCode != http.StatusOK || !json.Valid(metadata) {
		return nil, fmt.Errorf("the platform's metadata: status %d, %d bytes, %v", resp.StatusCode, len(metadata), err)
	}
	recorder := newRecorder()
	return &Page{
		settings: settings{
			Platform: c.Platform.URL(), Authority: authority, Metadata: metadata, Run: recorder.run,
			ClientID: c.ClientID, Scope: c.Scope, Names: c.Names,
		},
		recorder: recorder,
		cases:    newCases(c),
	}, nil
}

// ObservePlatform returns a transport that records the service's token requests.
func (p *Page) ObservePlatform(next http.RoundTripper) http.RoundTripper {
	return p.recorder.Platform(next)
}

// ObserveAPI returns a handler that records the calls of the ToDo API, and demands more of
// the user in the case that is about that.
func (p *Page) ObserveAPI(next http.Handler) http.Handler {
	return p.recorder.API(p.cases.stepUp(next))
}

// Around returns a handler that serves the page at the address host, such as
// 127.0.0.1:8080, and everything else as service does. It records calls of APIs.
func (p *Page) Around(service http.Handler, host string) http.Handler {
	routes := p.routes(host)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/api/"), strings.HasPrefix(r.URL.Path, "/app/"), strings.HasPrefix(r.URL.Path, "/bff/api/"):
			p.recorder.serve(service, p.cases, w, r)
		case r.URL.Path != "/" && !strings.HasPrefix(r.URL.Path, "/demo/"):
			service.ServeHTTP(w, r)
		case r.Host == host:
			routes.ServeHTTP(w, r)
		case r.URL.Path == "/" && r.Host == strings.Replace(host, "127.0.0.1", "localhost", 1):
			// Sign-in returns to the registered address only.
			http.Redirect(w, r, "http://"+host+"/", http.StatusFound)
		default: // another name may be that of a web page that resolves to this machine (DNS rebinding)
			service.ServeHTTP(w, r)
		}
	})
}
