package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// identityYAML is a configuration without APIs.
var identityYAML, _, _ = strings.Cut(goodConfig, "downstreamApis:")

// What check says about the sidecar listener: mistakes, else warnings.
func TestSidecarConfigurationIsChecked(t *testing.T) {
	const (
		graph    = "downstreamApis: {graph: {baseUrl: https://graph.microsoft.com/v1.0/, scopes: [https://graph.microsoft.com/.default]}}\n"
		ruled    = "downstreamApis: {graph: {baseUrl: https://graph.microsoft.com/v1.0/, scopes: [https://graph.microsoft.com/.default], access: [{scopes: [a], appPermissions: [b]}]"
		alone    = "server: {address: off, sidecarAddress: auto}\n"
		both     = "server: {sidecarAddress: auto}\n"
		noEffect = ": warning: has no effect on /api and /app: there, the caller's request decides"
		asAgent  = "whoever calls the listener gets tokens as any agent of this application, and as its agents' users, for any scopes and tenant, without a user's token"
	)
	multi := strings.Replace(identityYAML, "11111111-1111-4111-8111-111111111111", "organizations\n  allowedTenants: [11111111-1111-4111-8111-111111111111]", 1)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, text string
		want       []string
	}{
		{"alone", graph + alone, nil},
		{"without an API", alone, nil},
		{"an API without scopes", alone + "downstreamApis: {graph: {baseUrl: https://graph.microsoft.com/}}\n", nil},
		{"an API without a URL", alone + "downstreamApis: {graph: {scopes: [https://graph.microsoft.com/.default]}}\n", nil},
		{"an API with nothing, beside the public listener", both + "downstreamApis: {graph: {}}\n", []string{
			"downstreamApis.graph.baseUrl: warning: it is not set, so /api and /app do not know the API: it is for the sidecar listener only",
		}},
		{"an API without scopes, beside the public listener", both + "downstreamApis: {graph: {baseUrl: https://graph.microsoft.com/}}\n", []string{
			"downstreamApis.graph.scopes: warning: there are none, so /api and /app do not know the API: it is for the sidecar listener only",
		}},
		{"an API with nothing, without a sidecar", "downstreamApis: {graph: {}}\n", []string{
			"downstreamApis.graph.baseUrl: must be set: the URL that paths are joined under", "downstreamApis.graph.scopes: must hold at least one scope, as api://RESOURCE/.default",
		}},
		{"access rules without a public listener", ruled + "}}\n" + alone, []string{
			"downstreamApis.graph.access: warning: has no effect: access rules do not apply to the sidecar listener, and server.address is off",
		}},
		{"hosts of the public listener that there is not", graph + "server: {address: off, sidecarAddress: auto, allowedHosts: [sidecar]}\n", []string{
			"server.allowedHosts: warning: has no effect, since server.address is off: the sidecar listener serves local names, and those of sidecar.allowedHosts",
		}},
		{"defaults of calls, without a public listener", strings.Replace(graph, "}}", ", relativePath: me, httpMethod: GET}}", 1) + alone, nil},
		{"defaults of calls, beside it", ruled + ", relativePath: me, httpMethod: GET, acceptHeader: a/b, contentType: a/b, extraQueryParameters: {a: s3cret}, extraHeaderParameters: {X-B: s3cret, X-A: b}}}\n", []string{
			"downstreamApis.graph.acceptHeader" + noEffect, "downstreamApis.graph.contentType" + noEffect, "downstreamApis.graph.extraQueryParameters" + noEffect,
			"downstreamApis.graph.extraHeaderParameters" + noEffect + "; to send the headers with every request: requestHeaders: {set: {X-A: …, X-B: …}}",
			"downstreamApis.graph.httpMethod" + noEffect, "downstreamApis.graph.relativePath" + noEffect,
		}},
		{"defaults of calls that cannot be", strings.Replace(graph, "]}}", "], relativePath: ../x, httpMethod: trace, acceptHeader: json, contentType: '*/*', extraHeaderParameters: {Authorization: s3cret, 'a b': c, X-A: \"a\\nb\", X-B: b}}}", 1) + alone, []string{
			"downstreamApis.graph.acceptHeader: must be a list of media types, such as application/json",
			"downstreamApis.graph.contentType: must be a media type, such as application/json",
			`downstreamApis.graph.extraHeaderParameters: "Authorization" is set by the service itself`,
			`downstreamApis.graph.extraHeaderParameters: "X-A" is not a header that can be sent; contentType sets Content-Type`,
			`downstreamApis.graph.extraHeaderParameters: "a b" is not a header that can be sent; contentType sets Content-Type`,
			"downstreamApis.graph.httpMethod: must be an HTTP method, such as GET; TRACE and CONNECT are not sent",
			"downstreamApis.graph.relativePath: must be a path below baseUrl, percent-encoded where a URL needs it",
		}},
		{"an app token that cannot be named", alone + "downstreamApis: {graph: {requestAppToken: true}}\n", []string{
			"downstreamApis.graph.appScopes: must be set: the resource cannot be derived from scopes",
		}},
		{"an app token that need not be named", alone + "downstreamApis: {graph: {scopes: [User.Read]}}\n", nil},
		{"an app token without a tenant", multi + strings.Replace(alone+graph, "]}}", "], requestAppToken: true}}", 1), []string{
			"downstreamApis.graph.tenant: " + tenantRequired,
		}},
		{"callers beyond loopback", graph + alone + "sidecar: {allowedCallers: [127.0.0.1/32, '::1/128', 172.17.0.1/32, 127.0.0.0/7]}\n", []string{
			"sidecar.allowedCallers[2]: warning: everyone at 172.17.0.1/32 is the application itself: they get its tokens, and those of users and agents, without a credential",
			"sidecar.allowedCallers[3]: warning: everyone at 127.0.0.0/7 is the application itself: they get its tokens, and those of users and agents, without a credential",
		}},
		{"open gates", graph + alone + "sidecar: {allowOverrides: {getAuthorizationHeaderUnauthenticated: true, callDownstreamApiUnauthenticated: true}}\n", []string{
			"sidecar.allowOverrides.callDownstreamApiUnauthenticated: warning: it is open: " + asAgent,
			"sidecar.allowOverrides.getAuthorizationHeaderUnauthenticated: warning: it is open, as Microsoft's Agents SDKs need it: " + asAgent,
			"tokenCache.redis.url: warning: without it, the keys of long-running sessions are in the memory of one process, and end with it",
		}},
		{"a section without a listener", ruled + "}}\nsidecar: {allowedHosts: [a.example]}\n", []string{
			"sidecar: warning: has no effect without server.sidecarAddress",
		}},
		{"clients of the token endpoint", graph + alone + "sidecar: {tokenClients: [{clientId: kong, clientSecretFile: SECRET, apis: [Graph]}]}\n", []string{
			"sidecar.tokenClients: warning: the listener has no TLS: secrets and tokens must come through a proxy that has it. " +
				"A proxy on this machine must forward POST /oauth2/token only, since it is the application to every other route; " +
				"and it must send X-Forwarded-For, without which its clients are the application on this route too",
		}},
		{"bad clients", graph + alone + "sidecar: {tokenClients: [{}, {clientId: kong, clientSecretFile: /nonexistent, apis: [grap]}, {clientId: kong, clientSecretFile: SECRET, apis: [graph]}]}\n", []string{
			"sidecar.tokenClients[0].apis: must list the APIs for which the program gets tokens",
			"sidecar.tokenClients[0].clientId: must be set: the name by which the program authenticates",
			"sidecar.tokenClients[0].clientSecretFile: must be set: a file that holds the program's secret",
			"sidecar.tokenClients[1].apis[0]: is not below downstreamApis; the nearest are: graph",
			"sidecar.tokenClients[2].clientId: is the name of an earlier entry",
			"sidecar.tokenClients[1].clientSecretFile: open /nonexistent: no such file or directory",
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := strings.ReplaceAll(row.text, "SECRET", secret)
			if !strings.Contains(text, "azureAd:") {
				text = identityYAML + text
			}
			f, doc, err := loadDocument([]string{writeConfig(t, text)}, nil, checkServing)
			got := ""
			if err == nil {
				f.warn(doc.Warn)
				got = doc.Warnings().Error()
			} else {
				got = err.Error()
			}
			lines := strings.Split(placeOfLine.ReplaceAllString(got, ""), "\n")
			if got == "" {
				lines = nil
			}
			slices.Sort(lines)
			want := slices.Sorted(slices.Values(row.want))
			if !slices.Equal(lines, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
			}
			if strings.Contains(got, "s3cret") {
				t.Error("a secret is shown")
			}
		})
	}
}

// The configuration that docs/sidecar.md begins with has no mistake, and nothing to warn of.
func TestSidecarPagesConfigurationIsGood(t *testing.T) {
	page, err := os.ReadFile("../../docs/sidecar.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(page), "```yaml\n# sidecar.yaml\n")
	text, _, closed := strings.Cut(text, "```")
	if !found || !closed {
		t.Fatal("the page has no sidecar.yaml")
	}
	f, doc, err := loadDocument([]string{writeConfig(t, text)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f.warn(doc.Warn)
	if got := doc.Warnings(); len(got) > 0 || f.Server.Address != "" || f.Server.SidecarAddress != "127.0.0.1:5178" {
		t.Errorf("got %v, at %q and %q", got, f.Server.Address, f.Server.SidecarAddress)
	}
}
