package todo_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"middletier/internal/mockidp"
	"middletier/internal/todo"
)

// revisions of the protocol: one with sessions, one without.
var revisions = []string{"2025-11-25", "2026-07-28"}

// mcpServer is the API on a port, and the platform whose tokens it accepts.
type mcpServer struct {
	t   *testing.T
	url string
	idp *mockidp.Server
}

func newMCPServer(t *testing.T) *mcpServer {
	t.Helper()
	handler, idp := newAPI(t)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return &mcpServer{t, server.URL + todo.Endpoint, idp}
}

func (s *mcpServer) user(name, scope string) string {
	return s.idp.UserToken(name, "client", "todo", "ToDoList."+scope)
}

func (s *mcpServer) app(role string) string {
	return s.idp.AppToken("client", "todo", "ToDoList."+role+".All")
}

// bearer sends a token with every request.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}

// connect returns a client of the Go SDK, and the URIs of lists of whose changes it hears.
func (s *mcpServer) connect(revision, token string) (*mcp.ClientSession, <-chan string) {
	s.t.Helper()
	changes := make(chan string, 10)
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, &mcp.ClientOptions{
		ResourceUpdatedHandler: func(_ context.Context, r *mcp.ResourceUpdatedNotificationRequest) { changes <- r.Params.URI },
	})
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	session, err := client.Connect(ctx, &mcp.StreamableClientTransport{
		Endpoint: s.url, MaxRetries: -1, HTTPClient: &http.Client{Transport: bearer(token)},
	}, &mcp.ClientSessionOptions{ProtocolVersion: revision})
	if err != nil {
		s.t.Fatalf("%s: %v", revision, err)
	}
	s.t.Cleanup(func() { _ = session.Close() })
	if got := session.InitializeResult().ProtocolVersion; got != revision {
		s.t.Fatalf("got revision %s, want %s", got, revision)
	}
	return session, changes
}

// call calls a tool, and returns its text.
func (s *mcpServer) call(session *mcp.ClientSession, tool string, arguments map[string]any) (text string, failed bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: arguments})
	if err != nil || len(result.Content) != 1 {
		s.t.Fatalf("%s: got %+v, %v", tool, result, err)
	}
	return result.Content[0].(*mcp.TextContent).Text, result.IsError
}

// The steps build on each other: who adds what, and who sees and deletes it.
func TestToolsShowTheCallersOwnList(t *testing.T) {
	for _, revision := range revisions {
		t.Run(revision, func(t *testing.T) {
			s := newMCPServer(t)
			tools, err := func() (*mcp.ListToolsResult, error) {
				session, _ := s.connect(revision, s.user("bob", "Read"))
				return session.ListTools(t.Context(), nil)
			}()
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, tool := range tools.Tools {
				names = append(names, tool.Name)
			}
			if want := []string{todo.AddTool, todo.DeleteTool, todo.ListTool}; !slices.Equal(names, want) {
				t.Errorf("got tools %q, want %q", names, want)
			}
			for i, step := range []struct {
				token, tool string
				arguments   map[string]any
				failed      bool
				want        string
			}{
				{s.user("alice", "Read"), todo.ListTool, nil, false, `"items":[]`},
				{s.user("alice", "Read"), todo.AddTool, map[string]any{"title": "x"}, true, "insufficient_scope"},
				{s.user("alice", "ReadWrite"), todo.AddTool, map[string]any{"title": "hers"}, false, `"owner":"` + aliceO + `"`},
				{s.user("alice", "ReadWrite"), todo.AddTool, map[string]any{"title": "x", "owner": "bob"}, false, `"owner":"` + aliceO + `"`},
				{s.user("alice", "ReadWrite"), todo.AddTool, map[string]any{"title": ""}, true, "title"},
				{s.user("alice", "ReadWrite"), todo.AddTool, map[string]any{"title": strings.Repeat("x", 5000)}, true, "title"},
				{s.user("alice", "Read"), todo.ListTool, nil, false, `"uri":"todo://lists/` + aliceO + `"`},
				{s.user("bob", "ReadWrite"), todo.ListTool, nil, false, `"items":[]`},
				{s.user("bob", "ReadWrite"), todo.DeleteTool, map[string]any{"id": 1}, true, "no such item"},
				{s.app("Read"), todo.ListTool, nil, false, "hers"},
				{s.app("Read"), todo.DeleteTool, map[string]any{"id": 1}, true, "insufficient_scope"},
				{s.app("ReadWrite"), todo.AddTool, map[string]any{"title": "x"}, true, "owner"},
				{s.app("ReadWrite"), todo.AddTool, map[string]any{"title": "for Alice", "owner": aliceO}, false, "for Alice"},
				{s.user("alice", "ReadWrite"), todo.DeleteTool, map[string]any{"id": 1}, false, `{"id":1}`},
				{s.user("alice", "ReadWrite"), todo.DeleteTool, map[string]any{"id": 1}, true, "no such item"},
				{s.user("alice", "Read"), todo.ListTool, nil, false, "for Alice"},
			} {
				session, _ := s.connect(revision, step.token)
				if got, failed := s.call(session, step.tool, step.arguments); failed != step.failed || !strings.Contains(got, step.want) {
					t.Errorf("step %d, %s: got %s, failed %t; want %s, %t", i+1, step.tool, got, failed, step.want, step.failed)
				}
			}
		})
	}
}

// send sends a message, and returns status, session and what comes.
func (s *mcpServer) send(method, token, session, message string, header ...string) (status int, newSession, body string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, s.url, strings.NewReader(message))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header = http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Mcp-Protocol-Version": {revisions[0]},
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if session != "" {
		r.Header.Set("Mcp-Session-Id", session)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i+1] != "" {
			r.Header.Set(header[i], header[i+1])
		}
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Mcp-Session-Id"), string(text)
}

const (
	initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",` +
		`"capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`
	initialized = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	listing     = `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"` + todo.ListTool + `","arguments":{}}}`
)

// No other user, and no application, uses, resumes or ends the session of a user.
func TestSessionsBelongToTheirUsers(t *testing.T) {
	s := newMCPServer(t)
	alice := s.user("alice", "ReadWrite")
	status, session, body := s.send("POST", alice, "", initialize)
	if status != 200 || session == "" {
		t.Fatalf("initialize: got %d %s", status, body)
	}
	s.send("POST", alice, session, initialized)
	_, _, answer := s.send("POST", alice, session, listing)
	event, _, _ := strings.Cut(answer[strings.Index(answer, "id: ")+len("id: "):], "\n")
	if !strings.Contains(answer, "todo://lists/"+aliceO) || event == "" {
		t.Fatalf("her own list: got %s", answer)
	}
	for name, token := range map[string]string{"Bob": s.user("bob", "ReadWrite"), "an application": s.app("ReadWrite")} {
		for _, request := range []struct{ method, message, lastEvent string }{
			{"POST", listing, ""}, {"GET", "", ""}, {"GET", "", event}, {"DELETE", "", ""},
		} {
			if status, _, body := s.send(request.method, token, session, request.message, "Last-Event-ID", request.lastEvent); status != 403 {
				t.Errorf("%s: %s: got %d %s, want 403", name, request.method, status, body)
			}
		}
	}
	if status, _, _ := s.send("POST", "", session, listing); status != 401 {
		t.Errorf("without a token: got %d, want 401", status)
	}
	if status, _, body := s.send("POST", s.user("alice", "Read"), session, listing); status != 200 || !strings.Contains(body, aliceO) {
		t.Errorf("with another token of hers: got %d %s", status, body)
	}
	add := strings.Replace(strings.Replace(listing, todo.ListTool, todo.AddTool, 1), "{}", `{"title":"x"}`, 1)
	if _, _, body := s.send("POST", s.user("alice", "Read"), session, add); !strings.Contains(body, "insufficient_scope") {
		t.Errorf("a token that may read only, in a session that was begun with more: got %s", body)
	}
	_, rest, _ := strings.Cut(answer, "\n\n") // behind the first event
	if status, _, body := s.send("GET", alice, session, "", "Last-Event-ID", event); status != 200 || body != rest || rest == "" {
		t.Errorf("resumed: got %d %q, want %q", status, body, rest)
	}
	if status, _, body := s.send("DELETE", alice, session, ""); status != 204 {
		t.Errorf("DELETE: got %d %s", status, body)
	}
	if status, _, _ := s.send("POST", alice, session, listing); status != 404 {
		t.Errorf("after the end of the session: got %d, want 404", status)
	}
}

// Who subscribed to a list hears of its changes, whichever way they are made. Nobody but its
// user and applications can read it, or subscribe to it.
func TestChangesOfAListAreNotified(t *testing.T) {
	for _, revision := range revisions {
		t.Run(revision, func(t *testing.T) {
			s := newMCPServer(t)
			alice, changes := s.connect(revision, s.user("alice", "ReadWrite"))
			uri := "todo://lists/" + aliceO
			if err := alice.Subscribe(t.Context(), &mcp.SubscribeParams{URI: uri}); err != nil {
				t.Fatal(err)
			}
			added := make(chan struct{})
			go func() { // a subscription may begin later than Subscribe returns
				defer close(added)
				for ctx := t.Context(); ctx.Err() == nil; {
					s.call(alice, todo.AddTool, map[string]any{"title": "hers"})
					select {
					case got := <-changes:
						if got != uri {
							t.Errorf("got a change of %s, want %s", got, uri)
						}
						return
					case <-time.After(100 * time.Millisecond):
					}
				}
			}()
			<-added
			read, err := alice.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: uri})
			if err != nil || len(read.Contents) != 1 || !strings.Contains(read.Contents[0].Text, `"title":"hers"`) {
				t.Errorf("Alice reads her list: got %+v, %v", read, err)
			}
			if revision == revisions[1] && read.CacheScope != "private" {
				t.Errorf("her list may be cached for others: %q", read.CacheScope)
			}
			bob, _ := s.connect(revision, s.user("bob", "ReadWrite"))
			if read, err := bob.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: uri}); err == nil {
				t.Errorf("Bob reads the list of Alice: got %+v", read)
			}
			if read, err := bob.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: uri[:len(uri)-1] + "2"}); err == nil {
				t.Errorf("Bob reads a list of nobody: got %+v", read)
			}
			s.wantNoSubscription(t, revision, uri)
		})
	}
}

// wantNoSubscription fails unless Bob is refused to subscribe to the list of Alice.
func (s *mcpServer) wantNoSubscription(t *testing.T, revision, uri string) {
	t.Helper()
	bob := s.user("bob", "ReadWrite")
	if revision == revisions[0] {
		session, _ := s.connect(revision, bob)
		if err := session.Subscribe(t.Context(), &mcp.SubscribeParams{URI: uri}); err == nil {
			t.Error("Bob subscribed to the list of Alice")
		}
		return
	}
	params, err := json.Marshal(map[string]any{
		"notifications": map[string]any{"resourceSubscriptions": []string{uri}},
		"_meta": map[string]any{
			"io.modelcontextprotocol/protocolVersion":    revision,
			"io.modelcontextprotocol/clientInfo":         map[string]string{"name": "test", "version": "1"},
			"io.modelcontextprotocol/clientCapabilities": map[string]any{},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	status, _, body := s.send("POST", bob, "", `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":`+string(params)+`}`,
		"MCP-Protocol-Version", revision, "Mcp-Method", "subscriptions/listen")
	if !strings.Contains(body, "Resource not found") || strings.Contains(body, "acknowledged") {
		t.Errorf("Bob subscribes to the list of Alice: got %d %s", status, body)
	}
}
