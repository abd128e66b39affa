package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"middletier/internal/todo"
)

// printedMCPServer is the line of the demo with the URL for MCP clients.
var printedMCPServer = regexp.MustCompile(`(?m)^  MCP server +(http://\S+)`)

// printedPlatform is its line with the URL of the identity platform.
var printedPlatform = regexp.MustCompile(`(?m)^  identity platform +(https://\S+)`)

// mcpUser returns an OAuth client of the Go SDK that knows nothing of the server, and the user
// who signs in when it opens a browser. It counts how often that is.
func mcpUser(
	t *testing.T, user string, browser http.RoundTripper, platform string, signIns *[]string,
) *auth.AuthorizationCodeHandler {
	t.Helper()
	const callback = "http://127.0.0.1:51234/callback"
	handler, err := auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
		RedirectURL: callback,
		DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{
			Metadata: &oauthex.ClientRegistrationMetadata{ClientName: "SDK", RedirectURIs: []string{callback}},
		},
		AuthorizationCodeFetcher: func(_ context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			got := follow(t, browser, platform, args.URL, user)
			*signIns = append(*signIns, args.URL)
			return &auth.AuthorizationResult{Code: got.Get("code"), State: got.Get("state"), Iss: got.Get("iss")}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

// A client of the Go SDK that is given the URL that the demo prints, and nothing else, signs
// its user in and works with their list. A tool that needs more makes it ask for more.
func TestDemoServesMCPClientsThatKnowItsURLOnly(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	p := startProcess(t, nil, "demo", "--port", "0", "--ca-out", ca)
	p.await(t, "Ctrl-C stops it.")
	server, platform := printedMCPServer.FindStringSubmatch(p.stdout.String()), printedPlatform.FindStringSubmatch(p.stdout.String())
	if server == nil || platform == nil {
		t.Fatalf("the demo does not print the URL of its MCP server:\n%s", p.stdout.String())
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	browser := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	lists := map[string]string{}
	for _, user := range []string{aliceID, bobID} {
		var signIns []string
		client := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil)
		session, err := client.Connect(ctx, &sdk.StreamableClientTransport{
			Endpoint: server[1], OAuthHandler: mcpUser(t, user, browser, platform[1], &signIns),
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		call := func(tool string, arguments map[string]any) string {
			result, err := session.CallTool(ctx, &sdk.CallToolParams{Name: tool, Arguments: arguments})
			if err != nil || result.IsError {
				t.Fatalf("%s: got %+v, %v", tool, result, err)
			}
			return toolText(result)
		}
		if got := call(todo.ListTool, nil); !strings.Contains(got, `"items":[]`) || len(signIns) != 1 {
			t.Errorf("%s: a new list, after %d sign-ins: got %s", user, len(signIns), got)
		}
		call(todo.AddTool, map[string]any{"title": "of " + user})
		if len(signIns) != 2 || !strings.Contains(signIns[len(signIns)-1], "ToDoList.ReadWrite") {
			t.Errorf("%s: adding needs more than reading: got sign-ins %q", user, signIns)
		}
		lists[user] = call(todo.ListTool, nil)
	}
	if !strings.Contains(lists[aliceID], "of "+aliceID) || strings.Contains(lists[bobID], "of "+aliceID) {
		t.Errorf("got lists %q, want that each user sees their own", lists)
	}
}

// What is registered at the platform is what the authorization server of the demo allows.
func TestDemoConfigurationWithMCPIsGood(t *testing.T) {
	f := demoConfig("https://login.example", "http://127.0.0.1:1", testSecret)
	f.Server.PublicURL = "http://127.0.0.1:8080"
	withMCPServer(&f, testSecret)
	var got []string
	report := func(key, problem string) { got = append(got, key+": "+problem) }
	f.check(report)
	f.warn(func(key, problem string) {
		if strings.Contains(key, "mcp") {
			report(key, problem)
		}
	})
	directory := withMCPClients(demoDirectory(testSecret), testSecret)
	client := directory.Apps[len(directory.Apps)-1]
	if len(got) > 0 || client.ClientID != f.DownstreamAPIs["todo"].MCP.AuthorizationServer.ClientID ||
		!slices.Equal(client.RedirectURIs.Web, f.DownstreamAPIs["todo"].MCP.AuthorizationServer.AllowedRedirectURIs) {
		t.Errorf("got %q, and the client %+v", got, client)
	}
}
