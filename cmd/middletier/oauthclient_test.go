package main

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

// gateway is a client's way to the service behind a gateway, and to the provider.
type gateway struct {
	*world
	removes, adds string   // of the path of calls, at its beginning
	cleans        bool     // it removes that from the path of metadata requests, too
	lines         []string // headers that it adds, as "Name: value"
}

func (g gateway) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(g.idp.URL(), r.URL.Scheme+"://"+r.URL.Host) {
		return g.transport().RoundTrip(r)
	}
	service, err := url.Parse(g.url)
	if err != nil {
		return nil, err
	}
	const wellKnown = "/.well-known/oauth-protected-resource"
	r = r.Clone(r.Context())
	switch rest, isMetadata := strings.CutPrefix(r.URL.Path, wellKnown); {
	case !isMetadata:
		r.URL.Path = g.adds + strings.TrimPrefix(r.URL.Path, g.removes)
	case g.cleans:
		r.URL.Path = wellKnown + strings.TrimPrefix(rest, g.removes)
	}
	for _, line := range g.lines {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	r.URL.Scheme, r.URL.Host = service.Scheme, service.Host
	return http.DefaultTransport.RoundTrip(r)
}

// An OAuth client that was not written here follows the challenge to the metadata and on
// to the provider. It refuses metadata whose resource is not exactly the URL that it
// calls, and a provider that names another issuer.
func TestOAuthClientFindsItsWay(t *testing.T) {
	t.Parallel()
	const public = "https://gateway.example"
	forwarded := []string{"X-Forwarded-Host: gateway.example", "X-Forwarded-Proto: https"}
	prefixed := append(slices.Clone(forwarded), "X-Forwarded-Prefix: /gw")
	for _, row := range []struct {
		name, publicURL, basePath string
		base                      string // what the client knows; "": the service's own address, with basePath
		way                       gateway
	}{
		{"none", "", "", "", gateway{}},
		{"none, below a prefix", "", "/middle", "", gateway{}},
		{"public", public + "/", "", public, gateway{}},
		{"public with a path that it removes", public + "/a/b", "", public + "/a/b", gateway{removes: "/a/b"}},
		{"public with a path that it removes from all", public + "/a/b/", "", public + "/a/b", gateway{removes: "/a/b", cleans: true}},
		{"public with a path that it keeps", public + "/middle", "/middle", public + "/middle", gateway{}},
		{"public, and a path in basePath", public, "/middle", public + "/middle", gateway{}},
		{"public with a path that it replaces", public + "/a", "/middle", public + "/a", gateway{removes: "/a", adds: "/middle"}},
		{"trusted, host and scheme", "", "", public, gateway{lines: forwarded}},
		{"trusted, a prefix that it removes", "", "", public + "/gw", gateway{removes: "/gw", lines: prefixed}},
		{"trusted, a prefix that it removes from all", "", "", public + "/gw", gateway{removes: "/gw", cleans: true, lines: prefixed}},
		{"trusted, a prefix before another", "", "/middle", public + "/gw/middle", gateway{removes: "/gw", lines: prefixed}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := withProxies(t, []string{"127.0.0.1/32"}, notes, func(f *file) {
				f.Server.PublicURL, f.Server.BasePath = row.publicURL, row.basePath
				f.AzureAd.TenantID = "contoso.example" // the issuer has its GUID
			})
			row.way.world = w
			client := &http.Client{Transport: row.way}
			base := row.base
			if base == "" {
				base = w.url + row.basePath
			}
			followChallenge(t, client, base+"/api/todo/items", base+"/api/todo")
			followChallenge(t, client, base+"/api/notes/notes/1", base+"/api/notes")
			followChallenge(t, client, base+"/app/notes/reports", base)
			if _, err := oauthex.GetProtectedResourceMetadata(t.Context(), metadataOf(t, base+"/api/todo"), base+"/api/notes", client); err == nil {
				t.Error("the client accepts the metadata of one API for another")
			}
		})
	}
}

// metadataOf is where a client looks that has only the URL of a resource.
func metadataOf(t *testing.T, resource string) string {
	t.Helper()
	u, err := url.Parse(resource)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/.well-known/oauth-protected-resource" + u.Path
	return u.String()
}

// followChallenge goes from the 401 of a call to the provider's metadata, as a client of
// the resource.
func followChallenge(t *testing.T, client *http.Client, call, resource string) {
	t.Helper()
	resp, err := client.Get(call)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	challenges, err := oauthex.ParseWWWAuthenticate(resp.Header["Www-Authenticate"])
	if err != nil || len(challenges) != 1 || challenges[0].Scheme != "bearer" {
		t.Fatalf("%s: got %d with challenges %q, %v", call, resp.StatusCode, resp.Header["Www-Authenticate"], err)
	}
	said := challenges[0].Params
	if want := metadataOf(t, resource); said["resource_metadata"] != want {
		t.Errorf("%s: the challenge leads to %s, want %s", call, said["resource_metadata"], want)
	}
	metadata, err := oauthex.GetProtectedResourceMetadata(t.Context(), said["resource_metadata"], resource, client)
	if err != nil {
		t.Errorf("%s: %v", call, err)
		return
	}
	if scope := said["scope"]; !slices.Contains(metadata.ScopesSupported, scope) && !strings.HasSuffix(scope, "/.default") {
		t.Errorf("%s: the challenge asks for %q, which is not among %q", call, scope, metadata.ScopesSupported)
	}
	if len(metadata.AuthorizationServers) != 1 {
		t.Fatalf("%s: got authorization servers %q", call, metadata.AuthorizationServers)
	}
	// The client compares issuers before it looks for PKCE, which Entra's metadata lacks.
	issuer := metadata.AuthorizationServers[0]
	provider, err := oauthex.GetAuthServerMeta(t.Context(), issuer+"/.well-known/openid-configuration", issuer, client)
	if err != nil && !strings.Contains(err.Error(), "does not implement PKCE") || err == nil && provider == nil {
		t.Errorf("%s: the provider at %s: %v", call, issuer, err)
	}
}
