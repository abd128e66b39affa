package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// The rule for a tool adds to that of access, and what is forwarded is what was read.
func TestToolsNeedTheirOwnScopes(t *testing.T) {
	w := newWorld(t, withMCP)
	var received []string
	w.api.handle(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		received = append(received, string(body))
	})
	daemon := func(message string) *reply {
		return w.send("POST", w.url+"/app/todo/mcp", w.daemon(), strings.NewReader(message), "Content-Type: application/json")
	}
	spaced := " \r\n{ \"method\" : \"tools\\/call\", " +
		"\"params\":{\"name\":\"list\",\"arguments\":{\"text\":\"\\u00e4 ä \\ud83d\\ude00\",\"n\":1.50e1}},\"id\":\"a\"}\n"
	const listing = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
	for name, row := range map[string]struct {
		reply   *reply
		message string
	}{
		"a tool for readers":      {w.message(w.bob(), callOfTool("list")), callOfTool("list")},
		"a tool that deletes":     {w.message(w.alice(), callOfTool("delete_item")), callOfTool("delete_item")},
		"spelled in another way":  {w.message(w.bob(), spaced), spaced},
		"a list of tools":         {w.message(w.bob(), listing), listing},
		"a response":              {w.message(w.bob(), `{"id":1,"result":{}}`), `{"id":1,"result":{}}`},
		"a notification":          {w.message(w.bob(), `{"method":"notifications/x"}`), `{"method":"notifications/x"}`},
		"a tool, by an agent":     {daemon(callOfTool("list")), callOfTool("list")},
		"headers of the revision": {w.message(w.bob(), callOfTool("list"), "Mcp-Method: tools/call", "Mcp-Name: list"), callOfTool("list")},
	} {
		if row.reply.StatusCode != 200 || !slices.Contains(received, row.message) {
			t.Errorf("%s: got %d %s", name, row.reply.StatusCode, row.reply.body)
		}
	}
	if r := w.message(w.withoutScopes(), callOfTool("list")); r.StatusCode != 403 || r.kind() != "insufficient-scope" {
		t.Errorf("access comes first: got %d %s", r.StatusCode, r.body)
	}
	before := len(w.api.seen())
	const insufficient = `Bearer error="insufficient_scope", scope="api://` + demoMiddleTier
	scope := insufficient + `/ToDoList.ReadWrite"` + w.leadsTo("/api/todo/mcp")
	r := w.message(w.bob(), callOfTool("delete_item"))
	if r.StatusCode != 403 || r.kind() != "insufficient-scope" || r.Header.Get("WWW-Authenticate") != scope ||
		!slices.Equal(r.problem.Scopes, []string{"ToDoList.ReadWrite", "ToDoList.Admin"}) {
		t.Errorf("a user who may only read: got %d %s %s\nwant %s", r.StatusCode, r.Header.Get("WWW-Authenticate"), r.body, scope)
	}
	scope = insufficient + `/.default"` + w.leadsTo("/app/todo/mcp")
	if r := daemon(callOfTool("delete_item")); r.StatusCode != 403 || r.Header.Get("WWW-Authenticate") != scope ||
		!slices.Equal(r.problem.Scopes, []string{"ToDoList.ReadWrite.All"}) {
		t.Errorf("an agent that may only read: got %d %s %s\nwant %s", r.StatusCode, r.Header.Get("WWW-Authenticate"), r.body, scope)
	}
	if len(w.api.seen()) != before {
		t.Error("what was refused reached the server")
	}
}

// withoutScopes is a token with a scope that no rule names.
func (w *world) withoutScopes() string {
	return w.idp.UserToken("alice", "app", "middletier", "ToDoList.Other")
}

// No way leads round the rule for a tool. bob may only read: every row tries to get his
// call of delete_item to the server.
func TestNoWayRoundTheRulesForTools(t *testing.T) {
	w := newWorld(t, withMCP, func(f *file) {
		f.Server.H2C = true
		d := f.DownstreamAPIs["todo"]
		d.Access[0].Scopes = []string{"ToDoList.Read"} // PUT too
		d.Access = append(d.Access, d.Access[0])
		d.Access[0].Methods, d.Access[2].Methods = []string{"GET", "DELETE", "PUT", "PATCH", "QUERY", "PURGE"}, nil
		f.DownstreamAPIs["todo"] = d
	})
	bob := w.bob()
	const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_item","arguments":{"id":7}}}`
	const list = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list"}}`
	params := func(params string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":` + params + `}`
	}
	sentinel := func(name string) string { return "=?base64?" + base64.StdEncoding.EncodeToString([]byte(name)) + "?=" }
	long := params(`{"arguments":{"text":"` + strings.Repeat("x", 64<<10) + `"},"name":"delete_item"}`)
	padded := list + strings.Repeat(" ", 64<<10-len(list))

	type row struct {
		name, method, path, message string
		lines                       []string
		status                      int
	}
	posted := func(name, message string, status int, lines ...string) row {
		return row{name, "POST", "/api/todo/mcp", message, lines, status}
	}
	rows := []row{
		posted("the call itself", call, 403),
		posted("with its headers", call, 403, "Mcp-Method: tools/call", "Mcp-Name: delete_item"),
		posted("a header that says another method", call, 400, "Mcp-Method: tools/list"),
		posted("a header that says another tool", call, 400, "Mcp-Method: tools/call", "Mcp-Name: list"),
		posted("a header that says the tool", list, 400, "Mcp-Method: tools/call", "Mcp-Name: delete_item"),
		posted("a header for a list", `{"id":1,"method":"tools/list"}`, 400, "Mcp-Method: tools/call", "Mcp-Name: delete_item"),
		posted("a header for a response", `{"id":1,"result":{}}`, 400, "Mcp-Method: tools/call"),
		posted("a header twice", list, 400, "Mcp-Name: list", "Mcp-Name: delete_item"),
		posted("a header twice, the same", list, 400, "Mcp-Name: list", "Mcp-Name: list"),
		posted("a header with _", list, 400, "Mcp-Name: list", "Mcp_Name: delete_item"),
		posted("a method twice in a header", list, 400, "Mcp-Method: tools/call, tools/list"),
		posted("base64 of another tool", call, 400, "Mcp-Name: "+sentinel("list")),
		posted("base64 of the tool", call, 403, "Mcp-Name: "+sentinel("delete_item")),
		posted("base64 of base64", call, 400, "Mcp-Name: "+sentinel(sentinel("delete_item"))),
		posted("base64 without padding", call, 400, "Mcp-Name: =?base64?ZGVsZXRlX2l0ZW0?="),
		posted("base64 with too much padding", call, 400, "Mcp-Name: =?base64?ZGVsZXRlX2l0ZW0===?="),
		posted("base64 for URLs", params(`{"name":"lösch?en?"}`), 400, "Mcp-Name: =?base64?bMO2c2NoP2VuPw_?="),
		posted("base64 with other bits", call, 400, "Mcp-Name: =?base64?ZGVsZXRlX2l0ZW1=?="),
		posted("base64 that is none", call, 400, "Mcp-Name: =?base64?***?="),
		posted("another encoded word", call, 400, "Mcp-Name: =?utf-8?B?ZGVsZXRlX2l0ZW0=?="),
		posted("a name that looks encoded", params(`{"name":"`+sentinel("delete_item")+`"}`), 400, "Mcp-Name: "+sentinel("delete_item")),
		posted("letters beyond ASCII", params(`{"name":"löschen"}`), 403, "Mcp-Name: "+sentinel("löschen")),

		posted("a batch", "["+call+"]", 400), posted("a batch of two", "["+list+","+call+"]", 400), posted("an empty batch", "[]", 400),
		posted("method twice", `{"id":1,"method":"tools/list","method":"tools/call","params":{"name":"delete_item"}}`, 400),
		posted("method twice, the other first", `{"id":1,"method":"tools/call","method":"tools/list","params":{"name":"delete_item"}}`, 400),
		posted("method twice, escaped", `{"id":1,"method":"tools/list","\u006dethod":"tools/call","params":{"name":"delete_item"}}`, 400),
		posted("params twice", `{"id":1,"method":"tools/call","params":{"name":"list"},"params":{"name":"delete_item"}}`, 400),
		posted("name twice", params(`{"name":"list","name":"delete_item"}`), 400),
		posted("an argument twice", params(`{"name":"list","arguments":{"a":{"b":1,"b":2}}}`), 400),
		posted("Method", `{"id":1,"method":"tools/list","Method":"tools/call","params":{"name":"delete_item"}}`, 400),
		posted("METHOD alone", `{"id":1,"METHOD":"tools/call","params":{"name":"delete_item"}}`, 400),
		posted("Params", `{"id":1,"method":"tools/call","params":{"name":"list"},"Params":{"name":"delete_item"}}`, 400),
		posted("Name", params(`{"name":"list","Name":"delete_item"}`), 400),
		posted("name in full width", params(`{"name":"list","ｎame":"delete_item"}`), 400),
		posted("name with NUL", params(`{"name":"list","name\u0000":"delete_item"}`), 400),
		posted("params with a long s", `{"id":1,"method":"tools/call","params":{"name":"list"},"param\u017f":{"name":"delete_item"}}`, 400),

		posted("escapes", "{\"id\":1,\"m\\u0065thod\":\"tools\\/c\\u0061ll\",\"params\":{\"n\\u0061me\":\"d\\u0065lete_item\"}}", 403),
		posted("without an id", `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"delete_item"}}`, 403),
		posted("with an id that is null", `{"id":null,"method":"tools/call","params":{"name":"delete_item"}}`, 403),
		posted("without jsonrpc", `{"method":"tools/call","params":{"name":"delete_item"},"id":1}`, 403),
		posted("as a response, too", `{"id":1,"method":"tools/call","params":{"name":"delete_item"},"result":{}}`, 400),
		posted("a method in upper case", `{"id":1,"method":"TOOLS/CALL","params":{"name":"delete_item"}}`, 400),
		posted("a method and a space", `{"id":1,"method":"tools/call ","params":{"name":"delete_item"}}`, 400),
		posted("a method and NUL", `{"id":1,"method":"tools/call\u0000","params":{"name":"delete_item"}}`, 400),
		posted("a method that is a list", `{"id":1,"method":["tools/call"],"params":{"name":"delete_item"}}`, 400),
		posted("a method that is null", `{"id":1,"method":null,"params":{"name":"delete_item"},"result":{}}`, 400),
		posted("a tool in another case", params(`{"name":"Delete_Item"}`), 400),
		posted("a tool in full width", params(`{"name":"ｄelete_item"}`), 400),
		posted("a tool, decomposed", params(`{"name":"lo\u0308schen"}`), 400),
		posted("a tool and an invisible letter", params(`{"name":"del\u200bete_item"}`), 400),
		posted("a tool and a space", params(`{"name":" delete_item"}`), 400),
		posted("a tool and NUL", params(`{"name":"list\u0000"}`), 400),
		posted("half a surrogate", params(`{"name":"list\ud83d"}`), 400),
		posted("a surrogate in arguments", params(`{"name":"list","arguments":{"a":"\ude00"}}`), 400),
		posted("no name", params(`{}`), 400), posted("a name that is null", params(`{"name":null}`), 400),
		posted("a name that is a number", params(`{"name":1}`), 400), posted("a name in a list", params(`{"name":["delete_item"]}`), 400),
		posted("params in a list", params(`["delete_item",{}]`), 400), posted("params are null", params(`null`), 400),
		posted("no params", `{"id":1,"method":"tools/call"}`, 400),

		posted("data behind it", list+call, 400), posted("lines", list+"\n"+call, 400), posted("NUL behind it", list+"\x00"+call, 400),
		posted("a byte order mark", "\ufeff"+call, 400), posted("white space before it", " \t\r\n"+call, 403),
		posted("another white space", "\u00a0"+call, 400), posted("a comment", "/**/"+call, 400), posted("UTF-16", "\xff\xfe{\x00}\x00", 400),
		posted("bytes that are no UTF-8", params("{\"name\":\"list\xc0\"}"), 400),
		posted("64 KiB", padded, 200), posted("64 KiB and a byte", padded+" ", 413), posted("a name beyond 64 KiB", long, 413),
		posted("nested deeply", params(`{"name":"list","arguments":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+`}`), 400),
		posted("nothing", "", 400), posted("no JSON", "delete_item", 400),

		posted("gzip", call, 400, "Content-Encoding: gzip"), posted("identity", list, 400, "Content-Encoding: identity"),
		posted("another type", call, 400, "Content-Type: text/plain"),
		posted("another charset", call, 400, "Content-Type: application/json; charset=utf-16"),
		posted("a form", "method=tools/call&name=delete_item", 400, "Content-Type: application/x-www-form-urlencoded"),

		{"a slash at the end", "POST", "/api/todo/mcp/", call, nil, 403},
		{"upper case", "POST", "/api/todo/MCP", call, nil, 403},
		{"parameters", "POST", "/api/todo/mcp;x=y", call, nil, 403},
		{"a format", "POST", "/api/todo/mcp.json", call, nil, 403},
		{"encoded", "POST", "/api/todo/%6dcp", call, nil, 403},
		{"encoded twice", "POST", "/api/todo/%256dcp", call, nil, 400},
		{"a dot at the end", "POST", "/api/todo/mcp.", call, nil, 400},
		{"a space at the end", "POST", "/api/todo/mcp%20", call, nil, 400},
		{"two slashes", "POST", "/api/todo//mcp", call, nil, 400},
		{"dots", "POST", "/api/todo/x/../mcp", call, nil, 400},
		{"a query", "POST", "/api/todo/mcp?method=tools/list", call, nil, 403},
		{"PUT", "PUT", "/api/todo/mcp", call, nil, 403},
		{"PATCH", "PATCH", "/api/todo/mcp", call, nil, 403},
		{"QUERY", "QUERY", "/api/todo/mcp", call, nil, 403},
		{"PURGE", "PURGE", "/api/todo/mcp", call, nil, 403},
		{"GET with a body", "GET", "/api/todo/mcp", call, nil, 403},
		{"DELETE with a body", "DELETE", "/api/todo/mcp", call, nil, 403},
		{"GET without one", "GET", "/api/todo/mcp", "", nil, 200},
		{"POST in a header", "GET", "/api/todo/mcp", call, []string{"X-HTTP-Method-Override: POST"}, 403},
		{"POST in a header with _", "DELETE", "/api/todo/mcp", call, []string{"X_HTTP_Method_Override: post"}, 403},
		{"GET in a header", "POST", "/api/todo/mcp", call, []string{"X-HTTP-Method-Override: GET"}, 403},
		{"the route of applications", "POST", "/app/todo/mcp", call, nil, 403},
	}
	for _, row := range rows {
		lines := append([]string{}, row.lines...)
		if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, "Content-Type: ") }) {
			lines = append(lines, "Content-Type: application/json")
		}
		before := len(w.api.seen())
		r := w.send(row.method, w.url+row.path, bob, strings.NewReader(row.message), lines...)
		if r.StatusCode != row.status || (len(w.api.seen()) > before) != (row.status == 200) {
			t.Errorf("%s: got %d %s, want %d; the server got %d requests", row.name, r.StatusCode, r.body, row.status, len(w.api.seen())-before)
		}
		if row.status == 413 && r.kind() != "body-too-large" || row.status == 400 && r.kind() != "invalid-request" {
			t.Errorf("%s: got %s", row.name, r.body)
		}
	}
	const get = "GET /api/todo/mcp HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer TOKEN\r\n"
	if status, answer := w.raw(t, bob, get+"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"); status != 200 {
		t.Errorf("GET with an empty body: got %d %s", status, answer)
	}
	w.wantNoWayRoundByFraming(t, bob, call)
	if exchanges := w.idp.Count("on_behalf_of"); exchanges > 1 {
		t.Errorf("tokens were fetched for what was refused: %d", exchanges)
	}
}

// wantNoWayRoundByFraming sends a call that bob may not make in other ways than net/http's
// client does.
func (w *world) wantNoWayRoundByFraming(t *testing.T, bob, call string) {
	t.Helper()
	const head = "POST /api/todo/mcp HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer TOKEN\r\n"
	const json = head + "Content-Type: application/json\r\n"
	chunks := ""
	for _, b := range []byte(call) {
		chunks += fmt.Sprintf("1;name=list\r\n%c\r\n", b)
	}
	before := len(w.api.seen())
	for name, row := range map[string]struct {
		request string
		status  int
	}{
		"in pieces": {json + "Transfer-Encoding: chunked\r\n\r\n" + chunks + "0\r\n\r\n", 403},
		"with trailers": {
			json + "Transfer-Encoding: chunked\r\nTrailer: Mcp-Name\r\n\r\n" + chunks + "0\r\nMcp-Name: list\r\n\r\n", 403,
		},
		"a shorter length": {json + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(call)-1) + call, 400},
		"no body":          {json + "Content-Length: 0\r\n\r\n", 400},
		"no length":        {json + "\r\n", 400},
		"no type":          {head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(call), call), 400},
		"two types":        {json + fmt.Sprintf("Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(call), call), 400},
		"a header that a proxy drops": {
			json + fmt.Sprintf("Connection: Mcp-Name\r\nMcp-Name: list\r\nContent-Length: %d\r\n\r\n%s", len(call), call), 400,
		},
		"length and pieces": {
			json + fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n%s0\r\n\r\n", len(call), chunks), 403,
		},
	} {
		if status, answer := w.raw(t, bob, row.request); status != row.status {
			t.Errorf("%s: got %d %s, want %d", name, status, answer, row.status)
		}
	}
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	for _, body := range []io.Reader{strings.NewReader(call), io.MultiReader(strings.NewReader(call[:5]), strings.NewReader(call[5:]))} {
		r, err := http.NewRequest("POST", w.url+"/api/todo/mcp", body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Authorization": {"Bearer " + bob}, "Content-Type": {"application/json"}}
		resp, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 403 || resp.ProtoMajor != 2 {
			t.Errorf("HTTP/2: got %d over %s", resp.StatusCode, resp.Proto)
		}
	}
	if len(w.api.seen()) != before {
		t.Error("a call reached the server")
	}
}
