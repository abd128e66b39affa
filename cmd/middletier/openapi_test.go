package main

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"middletier/internal/validate"
)

// description returns the service's OpenAPI document, which must be valid.
func (w *world) description(path string) (*openapi3.T, string) {
	w.t.Helper()
	r := w.call("GET", path, "", "")
	if r.StatusCode != 200 || r.Header.Get("Content-Type") != "application/json" {
		w.t.Fatalf("GET %s: got %d %s", path, r.StatusCode, r.body)
	}
	doc, err := openapi3.NewLoader().LoadFromData([]byte(r.body))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := doc.Validate(w.t.Context(), openapi3.IsOpenAPI31OrLater(),
		openapi3.EnableExamplesValidation(), openapi3.EnableSchemaFormatValidation(), openapi3.EnableMultiError()); err != nil {
		w.t.Fatalf("%v in %s", err, r.body)
	}
	return doc, r.body
}

// asked are the scopes and app permissions that are said to open an operation.
func asked(operation *openapi3.Operation) string {
	if operation == nil {
		return "not described"
	}
	var all []string
	for _, requirement := range *operation.Security {
		for scheme, names := range requirement {
			for _, name := range names {
				all = append(all, scheme+" "+name)
			}
		}
	}
	slices.Sort(all)
	return strings.ReplaceAll(strings.Join(all, ", "), "api://"+demoMiddleTier, "ID")
}

func TestDescriptionIsOfTheConfigurationInForce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(f *file) {
		f.Server.BasePath = "/middle"
		notes := f.DownstreamAPIs["todo"]
		notes.BaseURL = "https://internal.contoso.example/secret-path/"
		notes.RequestHeaders.Set = map[string]string{"X-Api-Key": "a-key-that-must-not-be-seen"}
		notes.Access = []validate.Rule{
			{Methods: []string{"get"}, Paths: []string{"/*/items/**", "/a {b}"}, Scopes: []string{"Notes.Read"}},
			{Methods: []string{"GET"}, Paths: []string{"/*/items/*/"}, Scopes: []string{"Notes.List"}, AppPermissions: []string{"Notes.All"}},
			{Methods: []string{"PROPFIND", "PUT"}, Paths: []string{"/v*.*/x", "/"}, AppPermissions: []string{"Notes.All", "Notes.Write"}},
			{Paths: []string{"/admin"}, AppPermissions: []string{"Notes.Admin"}},
			{Paths: []string{"/listed"}, Clients: []string{listedApp}},
		}
		f.DownstreamAPIs["notes"] = notes
	})
	doc, text := w.description("/middle/openapi.json")
	if doc.OpenAPI != "3.1.0" || doc.Info.Version != version || doc.Servers[0].URL != "/middle" {
		t.Errorf("got OpenAPI %s, version %s, server %s", doc.OpenAPI, doc.Info.Version, doc.Servers[0].URL)
	}
	for path, want := range map[string]string{ // and method
		"/api/todo/{path} GET":                "bearer ToDoList.Read, bearer ToDoList.ReadWrite, user ID/ToDoList.Read, user ID/ToDoList.ReadWrite",
		"/api/todo/{path} DELETE":             "bearer ToDoList.ReadWrite, user ID/ToDoList.ReadWrite",
		"/api/todo/{path} PUT":                "not described",
		"/app/todo/{path} POST":               "application ID/.default, bearer ToDoList.ReadWrite.All",
		"/api/notes/{path}/items/{path2} GET": "bearer Notes.List, bearer Notes.Read, user ID/Notes.List, user ID/Notes.Read",
		"/app/notes/{path}/items/{path2} GET": "application ID/.default, bearer Notes.All",
		"/api/notes/a%20%7Bb%7D GET":          "bearer Notes.Read, user ID/Notes.Read",
		"/app/notes/v{path}.{path2}/x PUT":    "application ID/.default, bearer Notes.All, bearer Notes.Write",
		"/app/notes PUT":                      "application ID/.default, bearer Notes.All, bearer Notes.Write",
		"/app/notes/admin PATCH":              "application ID/.default, bearer Notes.Admin",
		"/app/notes/listed GET":               "application ID/.default",
		"/signout POST":                       "",
	} {
		path, method, _ := strings.Cut(path, " ")
		item := doc.Paths.Value(path)
		if item == nil {
			t.Errorf("%s is not described", path)
		} else if got := asked(item.GetOperation(method)); got != want {
			t.Errorf("%s %s: got %q, want %q", method, path, got, want)
		}
	}
	for _, path := range []string{
		"/.well-known/oauth-protected-resource", "/openapi.json", "/docs", "/problems/{type}", "/healthz", "/readyz",
	} {
		if item := doc.Paths.Value(path); item == nil || item.Get == nil {
			t.Errorf("%s is not described", path)
		}
	}
	if doc.Paths.Value("/api/notes/admin") != nil || doc.Paths.Value("/api/notes") != nil {
		t.Error("a path for applications only is described for users")
	}
	flow := doc.Components.SecuritySchemes["user"].Value.Flows.AuthorizationCode
	if authority := w.idp.URL() + "/" + demoTenant; flow.AuthorizationURL != authority+"/oauth2/v2.0/authorize" ||
		flow.TokenURL != authority+"/oauth2/v2.0/token" ||
		flow.Scopes["api://"+demoMiddleTier+"/Notes.List"] != "Notes.List" {
		t.Errorf("got flow %+v", flow)
	}
	for _, secret := range []string{
		testSecret, listedApp, "internal.contoso.example", "secret-path", w.api.URL, "X-Api-Key", "must-not-be-seen",
	} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in the description", secret)
		}
	}
}

// The endpoint of an MCP server has the methods of the protocol, which one rule decides about,
// its metadata, and what tools need more. So have the routes of its authorization server.
func TestDescriptionHasMCPServers(t *testing.T) {
	t.Parallel()
	w := newFacade(t, withMCP, withFacade, func(f *file) {
		f.Server.BasePath = "/middle"
		f.Server.PublicURL = "https://api.contoso.example/middle"
	})
	doc, _ := w.description("/middle/openapi.json")
	user := "bearer ToDoList.Read, bearer ToDoList.ReadWrite, user ID/ToDoList.Read, user ID/ToDoList.ReadWrite"
	application := "application ID/.default, bearer ToDoList.Read.All"
	for path, want := range map[string]string{ // and method
		"/api/todo/mcp POST": user, "/api/todo/mcp GET": user, "/api/todo/mcp DELETE": user, "/api/todo/mcp PUT": "not described",
		"/app/todo/mcp POST": application, "/app/todo/mcp GET": application, "/app/todo/mcp DELETE": application,
		"/.well-known/oauth-protected-resource/middle/api/todo/mcp GET": "", "/.well-known/oauth-protected-resource/middle/app/todo/mcp GET": "",
		"/.well-known/oauth-authorization-server/middle/mcp/todo GET": "",
		"/mcp/todo/authorize GET":                                     "", "/mcp/todo/token POST": "", "/mcp/todo/register POST": "",
	} {
		path, method, _ := strings.Cut(path, " ")
		item := doc.Paths.Value(path)
		if item == nil {
			t.Errorf("%s is not described", path)
			continue
		}
		if got := asked(item.GetOperation(method)); got != want {
			t.Errorf("%s %s needs %s, want %s", method, path, got, want)
		}
	}
	const tools = "`tools/call delete_* löschen` needs any one of the scopes `ToDoList.ReadWrite`, `ToDoList.Admin`."
	if got := doc.Paths.Value("/api/todo/mcp").Post.Description; !strings.Contains(got, tools) {
		t.Errorf("got %s, want %s", got, tools)
	}
}

// A GET of an API with WebSockets may open one.
func TestDescriptionHasWebSockets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withWebSockets, func(f *file) {
		other := f.DownstreamAPIs["todo"]
		other.WebSockets = false
		f.DownstreamAPIs["todo2"] = other
	})
	doc, _ := w.description("/openapi.json")
	for path, want := range map[string]bool{
		"/api/todo/{path} GET": true, "/app/todo/{path} GET": true, "/api/todo/{path} DELETE": false, "/api/todo2/{path} GET": false,
	} {
		path, method, _ := strings.Cut(path, " ")
		if got := doc.Paths.Value(path).GetOperation(method).Responses.Value("101") != nil; got != want {
			t.Errorf("%s %s: 101 is described: got %v, want %v", method, path, got, want)
		}
	}
}

// Metadata is described where clients find it, and as it is.
func TestDescriptionHoldsTheMetadata(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ publicURL, basePath, between string }{
		{"", "", ""}, {"", "/middle", "/middle"}, {"https://api.contoso.example", "/middle", "/middle"}, {"https://api.contoso.example/public/", "/middle", "/public"},
	} {
		w := newWorld(t, notes, func(f *file) { f.Server.PublicURL, f.Server.BasePath = row.publicURL, row.basePath })
		doc, _ := w.description(row.basePath + "/openapi.json")
		paths := map[string]string{ // described, and an example
			"/.well-known/oauth-protected-resource":                               row.basePath + "/.well-known/oauth-protected-resource",
			"/.well-known/oauth-protected-resource" + row.between + "/api/{name}": "/.well-known/oauth-protected-resource" + row.between + "/api/jobs",
		}
		for path, example := range paths {
			item := doc.Paths.Value(path)
			if item == nil {
				t.Errorf("%s is not described", path)
				continue
			}
			r := w.call("GET", example, "", "")
			var body any
			if err := json.Unmarshal([]byte(r.body), &body); err != nil {
				t.Fatal(err)
			}
			answer := item.Get.Responses.Status(200).Value
			if err := answer.Content["application/json"].Schema.Value.VisitJSON(body, openapi3.EnableJSONSchema2020()); err != nil ||
				r.StatusCode != 200 {
				t.Errorf("%s: got %d, %v in %s", example, r.StatusCode, err, r.body)
			}
			if answer.Headers["Access-Control-Allow-Origin"] == nil ||
				item.Get.Responses.Status(503) == nil || item.Get.Responses.Status(404) == nil {
				t.Errorf("%s: got %+v", path, answer)
			}
			if strings.Contains(path, "{") && (len(item.Servers) != 1 ||
				len(item.Parameters) != 1 || len(item.Parameters[0].Value.Schema.Value.Enum) != 3) {
				t.Errorf("%s: got servers %+v, parameters %+v", path, item.Servers, item.Parameters)
			}
		}
		call := doc.Paths.Value("/api/todo/{path}").Get.Responses
		for status, header := range map[int]string{
			401: "WWW-Authenticate", 403: "WWW-Authenticate", 405: "Allow", 429: "Retry-After", 503: "Retry-After",
		} {
			if call.Status(status).Value.Headers[header] == nil {
				t.Errorf("%d: %s is not described", status, header)
			}
		}
	}
}

// Each problem that a call can meet is a response of its own, as it is sent.
func TestDescriptionHoldsEveryProblem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	doc, _ := w.description("/openapi.json")
	if doc.Servers[0].URL != "/" {
		t.Errorf("server: got %s", doc.Servers[0].URL)
	}
	get := doc.Paths.Value("/api/todo/{path}").Get
	for _, r := range []*reply{
		w.call("GET", "/api/todo/items", "", ""), w.call("GET", "/api/todo/items", "x", ""), w.call("GET", "/app/todo/items", w.alice(), ""),
		w.call("GET", "/api/other/items", w.alice(), ""), w.call("PUT", "/api/todo/items", w.alice(), ""),
	} {
		kind := r.kind()
		response := doc.Components.Responses[kind]
		if response == nil {
			t.Errorf("%s is not described", kind)
			continue
		}
		var body any
		if err := json.Unmarshal([]byte(r.body), &body); err != nil {
			t.Fatal(err)
		}
		if err := response.Value.Content["application/problem+json"].Schema.Value.VisitJSON(body, openapi3.EnableJSONSchema2020()); err != nil {
			t.Errorf("%s: %v in %s", kind, err, r.body)
		}
		if all := get.Responses.Status(r.StatusCode).Value.Content["application/problem+json"].Examples; all[kind] == nil {
			t.Errorf("%s is not among the answers of a call", kind)
		}
	}
}

// An API may answer with the status of a problem, and with a body of its own.
func TestDescriptionLeavesRoomForTheAPIsOwnErrors(t *testing.T) {
	w := newWorld(t)
	doc, _ := w.description("/openapi.json")
	for path, want := range map[string][]string{
		"/api/todo/{path}": {"*/*", "application/problem+json"}, "/app/todo/{path}": {"*/*", "application/problem+json"},
		"/problems/{type}": {"application/problem+json"}, "/signout": {"application/problem+json"},
	} {
		item := doc.Paths.Value(path)
		operation := item.Get
		if operation == nil {
			operation = item.Post
		}
		for status, response := range operation.Responses.Map() {
			if got := slices.Sorted(maps.Keys(response.Value.Content)); status >= "400" && status <= "599" && !slices.Equal(got, want) {
				t.Errorf("%s: an answer with %s has %q, want %q", path, status, got, want)
			}
		}
	}
}

func TestDescriptionNamesThePublicURL(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(f *file) { f.Server.PublicURL = "https://api.contoso.example/middle/" })
	doc, _ := w.description("/openapi.json")
	if got, root := doc.Servers[0].URL, doc.Paths.Value("/readyz").Servers[0].URL; got != "https://api.contoso.example/middle" ||
		root != "https://api.contoso.example" {
		t.Errorf("got server %s and root %s", got, root)
	}
}

// The viewer's files are sent compressed to clients that accept that, and
// uncompressed to others.
func TestDocsFiles(t *testing.T) {
	w := newWorld(t)
	_, after, _ := strings.Cut(w.call("GET", "/docs", "", "").body, `<script src="`)
	path, _, _ := strings.Cut(after, `"`)
	packed, plain := w.from(spa, "GET", "/"+path, "Accept-Encoding", "br, gzip"), w.from(spa, "GET", "/"+path, "Accept-Encoding", "identity")
	unpack, err := gzip.NewReader(strings.NewReader(packed.body))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(unpack); err != nil || string(text) != plain.body || len(text) < 1<<20 {
		t.Errorf("%d bytes unpack to %d (%v), want the %d plain ones", len(packed.body), len(text), err, len(plain.body))
	}
	for r, encoding := range map[*reply]string{packed: "gzip", plain: ""} {
		h := r.Header
		if h.Get("Content-Encoding") != encoding || h.Get("Vary") != "Accept-Encoding" ||
			h.Get("Content-Type") != "text/javascript; charset=utf-8" || h.Get("Cache-Control") != "public, max-age=31536000" {
			t.Errorf("got %v", h)
		}
	}
	for _, path := range []string{"/docs/0/swagger-ui.css", strings.Replace("/"+path, "swagger-ui-bundle.js", "README.md", 1), "/docs/"} {
		if r := w.call("GET", path, "", ""); r.StatusCode != 404 {
			t.Errorf("%s: got %d, want 404", path, r.StatusCode)
		}
	}
}

// The description has what client generators need: unique and stable names,
// successful responses, and no token for routes that need none (those of the
// recommended rules of Redocly's linter that it reports as errors).
func TestDescriptionIsFitForGenerators(t *testing.T) {
	t.Parallel()
	change := func(f *file) {
		notes := f.DownstreamAPIs["todo"]
		notes.Access = []validate.Rule{{
			Paths:          []string{"/a-b", "/a_b", "/lists/*/items/**"},
			Scopes:         []string{"Notes.Read"},
			AppPermissions: []string{"Notes.All"},
		}}
		f.DownstreamAPIs["notes"] = notes
		notes.Access = nil
		f.DownstreamAPIs["closed"] = notes
	}
	w := newWorld(t, change)
	doc, text := w.description("/openapi.json")
	names := map[string]string{}
	for path, item := range doc.Paths.Map() {
		if strings.HasSuffix(path, "/") {
			t.Errorf("%s ends with a slash", path)
		}
		open := !strings.HasPrefix(path, "/api/") && !strings.HasPrefix(path, "/app/") && path != "/signout"
		for method, operation := range item.Operations() {
			where := method + " " + path
			if other, taken := names[operation.OperationID]; taken || operation.OperationID == "" {
				t.Errorf("%s: its id %q is that of %q", where, operation.OperationID, other)
			}
			names[operation.OperationID] = where
			if operation.Security == nil || open != (len(*operation.Security) == 0) {
				t.Errorf("%s: got security %v, want none said: %v", where, operation.Security, open)
			}
			if operation.Summary == "" || operation.Responses.Value("2XX") == nil && operation.Responses.Status(200) == nil &&
				operation.Responses.Status(204) == nil {
				t.Errorf("%s: has no summary, or no answer that succeeds", where)
			}
			if answer := operation.Responses.Value("2XX"); !open && path != "/signout" && (answer == nil ||
				answer.Value.Content["application/json"].Schema == nil) {
				t.Errorf("%s: its 2XX is %+v", where, answer)
			}
		}
	}
	for id, where := range map[string]string{
		"getApiTodoPath": "GET /api/todo/{path}", "deleteAppTodoPath": "DELETE /app/todo/{path}", "getApiNotesListsPathItemsPath2": "GET /api/notes/lists/{path}/items/{path2}",
		"getApiNotesAB": "GET /api/notes/a-b", "getApiNotesAB_2": "GET /api/notes/a_b", "postSignout": "POST /signout", "getProblemsType": "GET /problems/{type}",
	} {
		if names[id] != where {
			t.Errorf("%s is %q, want %q", id, names[id], where)
		}
	}
	for path, multi := range map[string][]bool{"/api/todo/{path}": {true}, "/api/notes/lists/{path}/items/{path2}": {false, true}} {
		for i, parameter := range doc.Paths.Value(path).Parameters {
			if said := parameter.Value.Extensions["x-multi-segment"] == true; said != multi[i] ||
				said != strings.Contains(parameter.Value.Description, "%2F") {
				t.Errorf("%s: %s is %+v", path, parameter.Value.Name, parameter.Value)
			}
		}
	}
	if tag := doc.Tags.Get("closed"); tag == nil || !strings.Contains(tag.Description, "refused") ||
		!strings.Contains(doc.Info.Description, "`closed` has no access rules") ||
		strings.Contains(doc.Tags.Get("notes").Description, "refused") {
		t.Errorf("an API without rules: got %+v and %q", tag, doc.Info.Description)
	}
	if again := newWorld(t, change); w.idp != again.idp {
		other := again.call("GET", "/openapi.json", "", "").body
		if strings.ReplaceAll(other, again.idp.URL(), "") != strings.ReplaceAll(text, w.idp.URL(), "") {
			t.Error("the same configuration is described in two ways")
		}
	}
}

// The routes of sessions are described where there are sessions.
func TestDescriptionOfSessions(t *testing.T) {
	t.Parallel()
	doc, text := newSessionWorld(t).description("/openapi.json")
	for _, path := range []string{"/bff/login", "/bff/user", "/bff/logout", "/bff/silent-login", "/bff/api/{name}/{path}"} {
		if item := doc.Paths.Value(path); item == nil || item.Get == nil || item.Get.Security == nil {
			t.Errorf("%s is not described", path)
		}
	}
	if scheme := doc.Components.SecuritySchemes["session"]; scheme == nil || scheme.Value.In != "cookie" || scheme.Value.Name != sessionName {
		t.Errorf("security scheme: got %+v, want the cookie", scheme)
	}
	if !strings.Contains(text, `"X-CSRF"`) || !strings.Contains(text, `"loginUrl"`) {
		t.Error("X-CSRF or loginUrl is not described")
	}
	without, _ := newWorld(t).description("/openapi.json")
	for path := range without.Paths.Map() { // the example of session-required has one too
		if strings.HasPrefix(path, "/bff") {
			t.Errorf("without sessions: %s is described", path)
		}
	}
}
