package main

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// deletions counts what the tool delete_item of a server did.
type deletions struct{ atomic.Int64 }

// serveSDK answers with the Go SDK's server. Stateless is what revision 2026-07-28 needs.
func (w *world) serveSDK(stateless bool) *deletions {
	var deleted deletions
	server := sdk.NewServer(&sdk.Implementation{Name: "todo", Version: "1"}, nil)
	type nothing struct{}
	type request = sdk.CallToolRequest
	result := func(text string) *sdk.CallToolResult {
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: text}}}
	}
	sdk.AddTool(server, &sdk.Tool{Name: "list"}, func(ctx context.Context, r *request, _ nothing) (*sdk.CallToolResult, any, error) {
		token := r.Params.GetProgressToken()
		if err := r.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: token, Progress: 1}); err != nil {
			return nil, nil, err
		}
		return result("buy milk"), nil, nil
	})
	sdk.AddTool(server, &sdk.Tool{Name: "delete_item"}, func(context.Context, *request, nothing) (*sdk.CallToolResult, any, error) {
		deleted.Add(1)
		return result("deleted"), nil, nil
	})
	options := &sdk.StreamableHTTPOptions{Stateless: stateless}
	handler := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return server }, options)
	w.api.handle(handler.ServeHTTP)
	return &deleted
}

// connect begins a session of the Go SDK's client with the server, and sends the progress
// that the server notifies of to progress.
func (w *world) connect(t *testing.T, route, token, version string, progress chan<- float64) *sdk.ClientSession {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	client := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, &sdk.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *sdk.ProgressNotificationClientRequest) { progress <- r.Params.Progress },
	})
	session, err := client.Connect(ctx, &sdk.StreamableClientTransport{
		Endpoint: w.url + route + "/todo/mcp", MaxRetries: -1,
		HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			r.Header.Set("Authorization", "Bearer "+token)
			return http.DefaultTransport.RoundTrip(r)
		})},
	}, &sdk.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		t.Fatalf("%s: %v", version, err)
	}
	t.Cleanup(func() { _ = session.Close() })
	return session
}

// textOf is the text of a tool's result.
func toolText(result *sdk.CallToolResult) string {
	if result == nil || len(result.Content) == 0 {
		return ""
	}
	text, _ := result.Content[0].(*sdk.TextContent)
	return text.Text
}

// The Go SDK's client works with its server through the service, in both revisions.
func TestGoSDKThroughTheService(t *testing.T) {
	for version, stateless := range map[string]bool{"2025-11-25": false, "2026-07-28": true} {
		w := newWorld(t, withMCP)
		deleted := w.serveSDK(stateless)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for who, row := range map[string]struct{ route, token string }{"a user": {"/api", w.bob()}, "an agent": {"/app", w.daemon()}} {
			progress := make(chan float64, 1)
			session := w.connect(t, row.route, row.token, version, progress)
			if got := session.InitializeResult().ProtocolVersion; got != version {
				t.Errorf("%s: %s: the revision is %s", version, who, got)
			}
			var names []string
			tools, err := session.ListTools(ctx, nil)
			if err != nil {
				t.Fatalf("%s: %s: %v", version, who, err)
			}
			for _, tool := range tools.Tools {
				names = append(names, tool.Name)
			}
			if slices.Sort(names); !slices.Equal(names, []string{"delete_item", "list"}) {
				t.Errorf("%s: %s: tools %q", version, who, names)
			}
			call := &sdk.CallToolParams{Name: "list", Meta: sdk.Meta{}}
			call.SetProgressToken("p")
			result, err := session.CallTool(ctx, call)
			if toolText(result) != "buy milk" || err != nil {
				t.Errorf("%s: %s: list: got %+v, %v", version, who, result, err)
			}
			select {
			case got := <-progress:
				if got != 1 {
					t.Errorf("%s: %s: progress %v", version, who, got)
				}
			case <-ctx.Done():
				t.Errorf("%s: %s: no notification came", version, who)
			}
			result, err = session.CallTool(ctx, &sdk.CallToolParams{Name: "delete_item"})
			if err == nil || !strings.Contains(err.Error(), "Forbidden") || deleted.Load() != 0 {
				t.Errorf("%s: %s: delete_item without the permission: got %+v, %v, %d deleted", version, who, result, err, deleted.Load())
			}
		}
		session := w.connect(t, "/api", w.alice(), version, make(chan float64, 1))
		result, err := session.CallTool(ctx, &sdk.CallToolParams{Name: "delete_item"})
		if err != nil || toolText(result) != "deleted" || deleted.Load() != 1 {
			t.Errorf("%s: delete_item: got %+v, %v", version, result, err)
		}
		methods := map[string]bool{}
		for _, r := range w.api.seen() {
			methods[r.Method] = true
			if r.Header.Get("Authorization") == "Bearer "+w.bob() {
				t.Errorf("%s: the server got the caller's token", version)
			}
		}
		if !methods["POST"] || methods["GET"] == stateless {
			t.Errorf("%s: the server got %v", version, methods)
		}
	}
}
