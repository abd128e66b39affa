package main

import (
	"strings"
	"testing"
)

// A page of a session is held to the rules for tools, as a client with a token is: however the
// path is spelled, and whatever the message looks like.
func TestRulesForToolsHoldInSessions(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t, withMCP, func(f *file) { f.Session.Scopes = []string{"ToDoList.Read"} })
	page := w.signIn("bob")
	const endpoint, json = "/bff/api/todo/mcp", "Content-Type: application/json"
	before := len(w.api.seen())
	for name, row := range map[string]struct {
		path, message, header string
		status                int
		kind                  string
	}{
		"a tool that deletes":       {endpoint, callOfTool("delete_item"), json, 403, "insufficient-scope"},
		"in another spelling":       {"/bff/api/todo/%6dcp", callOfTool("delete_item"), json, 403, "insufficient-scope"},
		"with a slash at its end":   {endpoint + "/", callOfTool("delete_item"), json, 403, "insufficient-scope"},
		"a batch":                   {endpoint, "[" + callOfTool("delete_item") + "]", json, 400, "invalid-request"},
		"another type":              {endpoint, callOfTool("delete_item"), "Content-Type: text/plain", 400, "invalid-request"},
		"a header of another tool":  {endpoint, callOfTool("delete_item"), json + "\r\nMcp-Name: list", 400, "invalid-request"},
		"longer than rules look at": {endpoint, strings.Repeat(" ", 64<<10) + callOfTool("delete_item"), json, 413, "body-too-large"},
	} {
		r := page.call("POST", row.path, row.message, strings.Split(row.header, "\r\n")...)
		if r.StatusCode != row.status || r.kind() != row.kind {
			t.Errorf("%s: got %d %s, want %d %s", name, r.StatusCode, r.body, row.status, row.kind)
		}
		if row.status == 403 && !strings.Contains(r.body, "/bff/login?") {
			t.Errorf("%s: the page is not told where the user can grant more: %s", name, r.body)
		}
	}
	if after := len(w.api.seen()); after != before {
		t.Errorf("the server got %d of them", after-before)
	}
	if r := page.call("POST", endpoint, callOfTool("list"), json); r.StatusCode != 200 || len(w.api.seen()) != before+1 {
		t.Errorf("a tool for readers: got %d %s", r.StatusCode, r.body)
	}
}
