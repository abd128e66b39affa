package main

import (
	"testing"

	"middletier/internal/validate"
)

// itemsBelowBase puts the API below a base path and opens its items only.
func itemsBelowBase(f *file) {
	api := f.DownstreamAPIs["todo"]
	api.BaseURL += "/base/v1/"
	api.Access = append(api.Access[:0:0], api.Access[0])
	api.Access[0].Paths = []string{"/items/**"}
	f.DownstreamAPIs["todo"] = api
}

// Targets as they are on the wire, and as they arrive at the API.
func TestTargetsOnTheWire(t *testing.T) {
	w := newWorld(t, itemsBelowBase)
	alice := w.alice()
	get := func(line string) int {
		return rawRequest(t, w, line+" HTTP/1.1\r\nHost: middle.example\r\nAuthorization: Bearer "+alice+
			"\r\nConnection: close\r\n\r\n").StatusCode
	}
	for _, row := range []struct {
		name, target string
		status       int
		arrives      string // below the base path
	}{
		{"plain", "/api/todo/items/1", 200, "/items/1"},
		{"slash at the end", "/api/todo/items/", 200, "/items/"},
		{"matched decoded, sent as it came", "/api/todo/%69tems/%c3%A4%20b", 200, "/%69tems/%c3%A4%20b"},
		{"characters that net/url would write otherwise", `/api/todo/items/"<>^{|}` + "`", 200, `/items/"<>^{|}` + "`"},
		{"parameters", "/api/todo/items/x;v=1;w/y;", 200, "/items/x;v=1;w/y;"},
		{"dots within names", "/api/todo/items/..a/b..c/.c", 200, "/items/..a/b..c/.c"},
		{"an encoded percent sign", "/api/todo/items/50%25", 200, "/items/50%25"},
		{"an encoded query and fragment", "/api/todo/items/a%3Fb%23c", 200, "/items/a%3Fb%23c"},
		{"query", "/api/todo/items?a=%2e%2e/%2f&b=%zz;c&&?", 200, "/items?a=%2e%2e/%2f&b=%zz;c&&?"},
		{"empty query", "/api/todo/items?", 200, "/items?"},
		{"dot segments in the query", "/api/todo/items?/../../x", 200, "/items?/../../x"},
		{"absolute form (RFC 9112, section 3.2.2)", "http://evil.example/api/todo/items", 200, "/items"},
		{"absolute form of another scheme", "gopher://evil.example:70/api/todo/items", 200, "/items"},

		{"dot segment", "/api/todo/items/../secrets", 400, ""},
		{"out of the API", "/api/todo/../ledger/items", 400, ""},
		{"out of the base path", "/api/todo/items/../../../x", 400, ""},
		{"single dot", "/api/todo/items/./x", 400, ""},
		{"dot segment at the end", "/api/todo/items/..", 400, ""},
		{"encoded dots", "/api/todo/items/%2e%2E/x", 400, ""},
		{"half encoded dots", "/api/todo/items/.%2e/x", 400, ""},
		{"dots encoded twice", "/api/todo/items/%252e%252E/x", 400, ""},
		{"dots encoded in parts", "/api/todo/items/%25%32%65/x", 400, ""},
		{"encoded slash", "/api/todo/items%2Fx", 400, ""},
		{"slash encoded twice", "/api/todo/items%252fx", 400, ""},
		{"backslash", `/api/todo/items\..\x`, 400, ""},
		{"encoded backslash", "/api/todo/items%5C..%5cx", 400, ""},
		{"backslash encoded twice", "/api/todo/items%255cx", 400, ""},
		{"dots with a parameter", "/api/todo/items/..;/x", 400, ""},
		{"dots with an encoded parameter", "/api/todo/items/..%3bx=1/x", 400, ""},
		{"only a parameter", "/api/todo/;x/items", 400, ""},
		{"empty segment", "/api/todo//items", 400, ""},
		{"empty segments that look like a host", "/api/todo//evil.example/items", 400, ""},
		{"empty segments at the end", "/api/todo/items//", 400, ""},
		{"NUL", "/api/todo/items/%00", 400, ""},
		{"NUL encoded twice", "/api/todo/items/%2500", 400, ""},
		{"line break", "/api/todo/items/%0d%0aX-Evil:%201", 400, ""},
		{"tabulator", "/api/todo/items/%09", 400, ""},
		{"DEL", "/api/todo/items/%7f", 400, ""},
		{"DEL as it is", "/api/todo/items/\x7f", 400, ""},
		{"control character as it is", "/api/todo/items/\x01", 400, ""},
		{"a letter encoded twice", "/api/todo/items/%2561", 400, ""},
		{"a blank encoded twice", "/api/todo/items/%2520", 400, ""},
		{"a letter encoded twice in parts", "/api/todo/items/%25%36%31", 400, ""},
		{"a letter encoded three times", "/api/todo/items/%252561", 400, ""},
		{"an encoding of another kind, encoded", "/api/todo/items/%25u0061", 400, ""},
		{"a dot at a name's end", "/api/todo/items./x", 400, ""},
		{"dots at the end", "/api/todo/items/x..", 400, ""},
		{"a dot before a parameter", "/api/todo/items/x.;v=1", 400, ""},
		{"a blank at a name's end", "/api/todo/items%20/x", 400, ""},
		{"a blank at the end", "/api/todo/items/x%20", 400, ""},
		{"a blank before a name", "/api/todo/items/%20x", 400, ""},
		{"a blank that does not break lines", "/api/todo/items/x%C2%A0", 400, ""},
		{"the data stream of a file", "/api/todo/items/x::$DATA", 400, ""},
		{"a wide slash", "/api/todo/items%EF%BC%8F..%EF%BC%8Fx", 400, ""},
		{"a wide dot at the end", "/api/todo/items/x%EF%BC%8E", 400, ""},

		{"half an encoding", "/api/todo/items/%", 400, ""},
		{"no encoding", "/api/todo/items/%zz", 400, ""},
		{"encoding of another kind", "/api/todo/items/%u002e%u002e/x", 400, ""},
		{"overlong UTF-8", "/api/todo/items/%c0%ae%c0%ae/x", 400, ""},
		{"overlong UTF-8 of a slash", "/api/todo/items%e0%80%afx", 400, ""},
		{"no UTF-8", "/api/todo/items/%ff", 400, ""},
		{"UTF-8 as it is", "/api/todo/items/ä", 400, ""},
		{"no UTF-8 as it is", "/api/todo/items/\xff", 400, ""},
		{"fragment", "/api/todo/items#x", 400, ""},
		{"fragment that hides a path", "/api/todo/items#/../secrets", 400, ""},
		{"a space", "/api/todo/items/a b", 400, ""},
		{"user and host", "@evil.example/api/todo/items", 400, ""},

		{"the API's name encoded", "/api/t%6fdo/items", 404, ""},
		{"the route encoded", "/%61pi/todo/items", 404, ""},
		{"an encoded slash before the name", "/api%2ftodo/items", 404, ""},
		{"dot segment before the name", "/x/../api/todo/items", 404, ""},
		{"dot segment instead of the name", "/api/../api/todo/items", 404, ""},
		{"empty segment before the name", "/api//todo/items", 404, ""},
		{"what looks like a host", "//evil.example/api/todo/items", 404, ""},
		{"the route in another case", "/API/todo/items", 404, ""},
		{"asterisk form", "*", 404, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := len(w.api.seen())
			if got := get("GET " + row.target); got != row.status {
				t.Errorf("GET %q: got %d, want %d", row.target, got, row.status)
			}
			seen := w.api.seen()[before:]
			if row.arrives == "" {
				if len(seen) != 0 {
					t.Errorf("GET %q: the API got %q", row.target, seen[0].RequestURI)
				}
				return
			}
			if len(seen) != 1 || seen[0].RequestURI != "/base/v1"+row.arrives || "http://"+seen[0].Host != w.api.URL {
				t.Errorf("GET %q: the API got %v, want one request for %s of its own host", row.target, seen, row.arrives)
			}
		})
	}
	before := len(w.api.seen())
	for line, status := range map[string]int{
		"CONNECT /api/todo/items":   405,
		"CONNECT evil.example:443":  404,
		"CONNECT /api/todo/items:1": 405,
		"TRACE /api/todo/items":     405,
		"OPTIONS *":                 200, // by net/http: the server itself is asked
	} {
		if got := get(line); got != status {
			t.Errorf("%s: got %d, want %d", line, got, status)
		}
	}
	if got := w.api.seen()[before:]; len(got) != 0 {
		t.Errorf("CONNECT, TRACE or OPTIONS * reached the API: %v", got)
	}
}

// A path that some servers read as another one reaches the API only where that
// one is allowed too, or where no rule names paths: then byte for byte.
func TestSpellingOfThePathDoesNotLeadRoundItsRule(t *testing.T) {
	targets := map[string]int{ // with a rule for /admin
		"/admin": 403, "/admin/x": 403, "/ADMIN": 403, "/Admin/x": 403, "/%61dmin": 403, "/admin;x": 403, "/%EF%BD%81dmin": 403,
		"/%2561dmin": 400, "/admin.": 400, "/admin%20": 400, "/admin%20;x": 400, "/%20admin/x": 400, "/admin::$DATA": 400, "/%25u0061dmin": 400,
		"/x%EF%BC%8Fadmin": 400, "/users": 200, "/Users('a%20b')": 200, "/cafe%CC%81": 200, "/50%25": 200,
	}
	for name, rules := range map[string][]validate.Rule{
		"rules name paths":     {{Paths: []string{"/admin/**"}, Scopes: []string{"Admin"}}, {Scopes: []string{"ToDoList.ReadWrite"}}},
		"no rule names a path": {{Scopes: []string{"ToDoList.ReadWrite"}}},
		"all paths are named":  {{Paths: []string{"/**"}, Scopes: []string{"ToDoList.ReadWrite"}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(f *file) {
				api := f.DownstreamAPIs["todo"]
				api.Access = rules
				f.DownstreamAPIs["todo"] = api
			})
			alice := w.alice()
			for target, status := range targets {
				want, before := status, len(w.api.seen())
				if name != "rules name paths" {
					want = 200
				}
				r := w.call("GET", "/api/todo"+target, alice, "")
				if r.StatusCode != want || want == 400 && r.kind() != "invalid-request" {
					t.Errorf("%s: got %d %s, want %d", target, r.StatusCode, r.body, want)
				}
				if seen := w.api.seen()[before:]; want == 200 && (len(seen) != 1 || seen[0].RequestURI != target) || want != 200 && len(seen) != 0 {
					t.Errorf("%s: the API got %v", target, seen)
				}
			}
		})
	}
}
