package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"middletier/internal/mcp"
	"middletier/internal/validate"
)

// withMCP makes the API todo a server at /mcp whose tools that delete need more than
// access, for which reading is enough.
func withMCP(f *file) {
	d := f.DownstreamAPIs["todo"]
	d.Access = []validate.Rule{
		{Methods: []string{"PUT"}, Scopes: []string{"ToDoList.ReadWrite"}},
		{Methods: []string{"POST"}, Scopes: []string{"ToDoList.Read", "ToDoList.ReadWrite"}, AppPermissions: []string{"ToDoList.Read.All"}},
	}
	d.MCP = mcpKeys{Path: "/mcp", Tools: []mcp.Rule{
		{
			Methods: []string{"tools/call"}, Names: []string{"delete_*", "löschen"},
			Scopes: []string{"ToDoList.ReadWrite", "ToDoList.Admin"}, AppPermissions: []string{"ToDoList.ReadWrite.All"},
		},
		{Methods: []string{"tools/call"}, Scopes: []string{"ToDoList.Read", "ToDoList.ReadWrite"}, AppPermissions: []string{"ToDoList.Read.All"}},
	}}
	f.DownstreamAPIs["todo"] = d
}

// callOfTool is a message that calls a tool.
func callOfTool(name string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":{"id":7}}}`, name)
}

// message sends a message to the MCP server, with more header lines.
func (w *world) message(token, message string, lines ...string) *reply {
	w.t.Helper()
	lines = append([]string{"Content-Type: application/json", "Accept: application/json, text/event-stream"}, lines...)
	return w.send("POST", w.url+"/api/todo/mcp", token, strings.NewReader(message), lines...)
}

// raw sends a request as it is and reads the answer. TOKEN in it becomes the token.
func (w *world) raw(t *testing.T, token, request string) (status int, answer string) {
	t.Helper()
	conn := w.dial(t, 10*time.Second)
	defer conn.Close()
	if _, err := io.WriteString(conn, strings.Replace(request, "TOKEN", token, 1)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%.200q: %v", request, err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body) // as far as it comes
	return resp.StatusCode, string(body)
}
