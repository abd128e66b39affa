package main

import (
	"slices"
	"strings"
	"testing"

	"middletier/internal/mcp"
	"middletier/internal/validate"
)

const endpointURI = "https://gateway.example/api/todo/mcp"

// An MCP server is a resource of its own, with the URL that clients call.
func TestMCPServersHaveTheirOwnMetadata(t *testing.T) {
	for name, row := range map[string]struct {
		appIDURI, publicURL, basePath string
		base, uri                     string // "" for base: the service's own address
		paths                         []string
	}{
		"by default": {"", "", "", "", "api://" + demoMiddleTier, []string{"/.well-known/oauth-protected-resource"}},
		"its App ID URI": {
			endpointURI, "https://gateway.example", "", "https://gateway.example", endpointURI,
			[]string{"/.well-known/oauth-protected-resource"},
		},
		"behind gateways": {
			"", "https://gateway.example/public", "/middle", "https://gateway.example/public", "api://" + demoMiddleTier,
			[]string{
				"/.well-known/oauth-protected-resource/public", "/.well-known/oauth-protected-resource/middle",
				"/middle/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource",
			},
		},
	} {
		w := newWorld(t, withMCP, func(f *file) {
			f.Server.PublicURL, f.Server.BasePath = row.publicURL, row.basePath
			d := f.DownstreamAPIs["todo"]
			d.MCP.AppIDURI = row.appIDURI
			f.DownstreamAPIs["todo"] = d
		})
		base := row.base
		if base == "" {
			base = w.url
		}
		full := func(idURI string, names ...string) (scopes []string) {
			for _, name := range names {
				scopes = append(scopes, idURI+"/"+name)
			}
			return scopes
		}
		own := "api://" + demoMiddleTier
		for resource, want := range map[string][]string{
			"/api/todo/mcp": full(row.uri, "ToDoList.Admin", "ToDoList.Read", "ToDoList.ReadWrite"),
			"/app/todo/mcp": full(row.uri, ".default"),
			"/api/todo":     full(own, "ToDoList.Admin", "ToDoList.Read", "ToDoList.ReadWrite"),
		} {
			for _, path := range row.paths {
				if got := w.metadataAt(path + resource); got.Resource != base+resource || !slices.Equal(got.Scopes, want) || len(got.Servers) != 1 {
					t.Errorf("%s: %s%s: got %+v, want %s and %q", name, path, resource, got, base+resource, want)
				}
			}
		}
		for _, none := range []string{
			"/api/todo/mcp/x", "/api/todo/MCP", "/api/todo/other", "/app/todo", "/app/todo/other", "/api/nothing/mcp", "/mcp",
		} {
			if r := w.call("GET", row.paths[0]+none, "", ""); r.StatusCode != 404 {
				t.Errorf("%s: %s: got %d %s", name, none, r.StatusCode, r.body)
			}
		}
	}
}

// A challenge on the endpoint leads to its own document, and names its scopes.
func TestChallengesOfMCPServers(t *testing.T) {
	w := newWorld(t, withMCP, func(f *file) {
		d := f.DownstreamAPIs["todo"]
		d.MCP.AppIDURI = endpointURI
		f.DownstreamAPIs["todo"] = d
	})
	realm := `Bearer realm="` + demoMiddleTier + `"`
	scope := func(name string) string { return `, scope="` + endpointURI + "/" + name + `"` }
	const insufficient = `Bearer error="insufficient_scope"`
	const malformed = `Bearer error="invalid_token", error_description="The token is malformed."`
	for _, row := range []struct {
		method, path, token, challenge string
		status                         int
	}{
		{"POST", "/api/todo/mcp", "", realm + w.leadsTo("/api/todo/mcp") + scope("ToDoList.Read"), 401},
		{"GET", "/api/todo/mcp", "", realm + w.leadsTo("/api/todo/mcp") + scope("ToDoList.Read"), 401},
		{"DELETE", "/api/todo/mcp?x", "", realm + w.leadsTo("/api/todo/mcp") + scope("ToDoList.Read"), 401},
		{"GET", "/app/todo/mcp", "", realm + w.leadsTo("/app/todo/mcp") + scope(".default"), 401},
		{"POST", "/api/todo/mcp", "nonsense", malformed + w.leadsTo("/api/todo/mcp"), 401},
		{"POST", "/app/todo/mcp", "nonsense", malformed + w.leadsTo("/app/todo/mcp"), 401},
		{"GET", "/api/todo/mcp", w.withoutScopes(), insufficient + scope("ToDoList.Read") + w.leadsTo("/api/todo/mcp"), 403},
		{"PUT", "/api/todo/other", "", realm + w.leadsTo("/api/todo") + `, scope="api://` + demoMiddleTier + `/ToDoList.ReadWrite"`, 401},
		{"POST", "/app/todo/other", "", realm + w.leadsTo("") + `, scope="api://` + demoMiddleTier + `/.default"`, 401},
	} {
		r := w.call(row.method, row.path, row.token, "")
		if got := r.Header.Get("WWW-Authenticate"); r.StatusCode != row.status || got != row.challenge {
			t.Errorf("%s %s: got  %d %s\nwant %d %s", row.method, row.path, r.StatusCode, got, row.status, row.challenge)
		}
	}
}

// A token whose audience is the endpoint's App ID URI is for us, beside the usual ones.
func TestTheAppIDURIOfAnMCPServerIsAnAudience(t *testing.T) {
	for _, audiences := range [][]string{nil, {demoMiddleTier}} {
		f := demoConfig("https://login.example", "https://todo.example/", "secret")
		f.AzureAd.Audiences = audiences
		withMCP(&f)
		d := f.DownstreamAPIs["todo"]
		d.MCP.AppIDURI = endpointURI
		f.DownstreamAPIs["todo"] = d
		for _, got := range [][]string{f.validateConfig().Audiences, f.effective().AzureAd.Audiences} {
			if !slices.Contains(got, endpointURI) || !slices.Contains(got, demoMiddleTier) ||
				slices.Contains(got, "api://"+demoMiddleTier) != (audiences == nil) {
				t.Errorf("audiences %q: got %q", audiences, got)
			}
		}
	}
}

// GET, POST and DELETE are one endpoint's, whatever methods the rules name; elsewhere the
// rules are what they were.
func TestMethodsOfAnMCPServer(t *testing.T) {
	w := newWorld(t, withMCP)
	for _, row := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/api/todo/mcp", 200, ""},
		{"DELETE", "/api/todo/mcp", 200, ""},
		{"OPTIONS", "/api/todo/mcp", 405, "DELETE, GET, POST, PUT"},
		{"PATCH", "/api/todo/mcp", 405, "DELETE, GET, POST, PUT"},
		{"PUT", "/api/todo/mcp", 403, ""},
		{"GET", "/api/todo/mcp/", 405, "POST, PUT"},
		{"GET", "/api/todo/MCP", 405, "POST, PUT"},
		{"DELETE", "/api/todo/items", 405, "POST, PUT"},
		{"POST", "/api/todo/items", 200, ""},
	} {
		r := w.send(row.method, w.url+row.path, w.bob(), nil)
		if r.StatusCode != row.status || r.Header.Get("Allow") != row.allow {
			t.Errorf("%s %s: got %d, Allow %q, want %d %q", row.method, row.path, r.StatusCode, r.Header.Get("Allow"), row.status, row.allow)
		}
	}
	if r := w.send("GET", w.url+"/app/todo/mcp", w.daemon(), nil); r.StatusCode != 200 {
		t.Errorf("an agent: got %d %s", r.StatusCode, r.body)
	}
}

// Pages of listed origins are clients like others. What others ask for is the server's
// matter: it gets their Origin.
func TestPagesAsClientsOfMCPServers(t *testing.T) {
	w := newWorld(t, withMCP, allowSPA)
	const more = "MCP-Protocol-Version, Mcp-Session-Id, Mcp-Method, Mcp-Name, Last-Event-ID"
	for path, isMCP := range map[string]bool{
		"/api/todo/mcp": true, "/app/todo/mcp": true, "/api/todo/mcp?x": true, "/api/todo/%6dcp": true,
		"/api/todo/items": false, "/api/todo": false, "/app/todo/mcp/x": false, "/api/nothing/mcp": false,
	} {
		r := w.from(spa, "OPTIONS", path, "Access-Control-Request-Method", "DELETE", "Access-Control-Request-Headers", "mcp-session-id")
		got := granted(r)
		if strings.Contains(got["Allow-Headers"], ", "+more+", If-Match") != isMCP ||
			strings.Contains(got["Allow-Methods"], "DELETE, GET, POST") != isMCP {
			t.Errorf("%s: preflight: got %v", path, got)
		}
		r = w.from(spa, "GET", path)
		if got := granted(r)["Expose-Headers"]; strings.Contains(got, "Mcp-Session-Id") != isMCP || !strings.Contains(got, "WWW-Authenticate") {
			t.Errorf("%s: got %s", path, got)
		}
	}
	r := w.message(w.bob(), callOfTool("list"), "Origin: "+stranger)
	if got := w.api.last(t).Header.Get("Origin"); r.StatusCode != 200 || got != stranger || len(granted(r)) > 0 {
		t.Errorf("a page of another origin: got %d %v, the server got Origin %q", r.StatusCode, r.Header, got)
	}
}

func TestMistakesInMCPKeys(t *testing.T) {
	tool := mcp.Rule{Methods: []string{"tools/call"}, Scopes: []string{"ToDoList.Read"}}
	for name, row := range map[string]struct {
		keys mcpKeys
		want []string
	}{
		"good":                {mcpKeys{Path: "/mcp/v1", AppIDURI: endpointURI, Tools: []mcp.Rule{tool}}, nil},
		"an API URI":          {mcpKeys{Path: "/mcp", AppIDURI: "api://todo"}, nil},
		"no path":             {mcpKeys{Tools: []mcp.Rule{tool}}, []string{"mcp.path"}},
		"a URI alone":         {mcpKeys{AppIDURI: endpointURI}, []string{"mcp.path"}},
		"no slash":            {mcpKeys{Path: "mcp"}, []string{"mcp.path"}},
		"a slash at the end":  {mcpKeys{Path: "/mcp/"}, []string{"mcp.path"}},
		"a slash alone":       {mcpKeys{Path: "/"}, []string{"mcp.path"}},
		"a pattern":           {mcpKeys{Path: "/*"}, []string{"mcp.path"}},
		"dots":                {mcpKeys{Path: "/../mcp"}, []string{"mcp.path"}},
		"encoded":             {mcpKeys{Path: "/%6dcp"}, []string{"mcp.path"}},
		"ambiguous":           {mcpKeys{Path: "/mcp."}, []string{"mcp.path"}},
		"parameters":          {mcpKeys{Path: "/mcp;a"}, []string{"mcp.path"}},
		"a URI with a slash":  {mcpKeys{Path: "/mcp", AppIDURI: endpointURI + "/"}, []string{"mcp.appIdUri"}},
		"a URI that is none":  {mcpKeys{Path: "/mcp", AppIDURI: "todo"}, []string{"mcp.appIdUri"}},
		"a URI with a query":  {mcpKeys{Path: "/mcp", AppIDURI: endpointURI + "?a"}, []string{"mcp.appIdUri"}},
		"a URI with a quote":  {mcpKeys{Path: "/mcp", AppIDURI: endpointURI + `"`}, []string{"mcp.appIdUri"}},
		"an entry of nothing": {mcpKeys{Path: "/mcp", Tools: []mcp.Rule{{Methods: []string{"tools/call"}}}}, []string{"mcp.tools[0]"}},
		"a scope of two words": {
			mcpKeys{Path: "/mcp", Tools: []mcp.Rule{tool, {Scopes: []string{"a b"}}}}, []string{"mcp.tools[1].scopes[0]"},
		},
		"a pattern of methods": {
			mcpKeys{Path: "/mcp", Tools: []mcp.Rule{{Methods: []string{"tools/*"}, Scopes: []string{"a"}}}}, []string{"mcp.tools[0].methods[0]"},
		},
	} {
		f := demoConfig("https://login.example", "https://todo.example/", "secret")
		d := f.DownstreamAPIs["todo"]
		d.MCP = row.keys
		f.DownstreamAPIs["todo"] = d
		var got []string
		f.check(func(key, _ string) { got = append(got, strings.TrimPrefix(key, "downstreamApis.todo.")) })
		if !slices.Equal(got, row.want) {
			t.Errorf("%s: got %q, want %q", name, got, row.want)
		}
	}
	f := demoConfig("https://login.example", "https://todo.example/", "secret")
	withMCP(&f)
	d := f.DownstreamAPIs["todo"]
	d.EncodedSlashes, d.Access = true, []validate.Rule{{Scopes: []string{"a"}}}
	f.DownstreamAPIs["todo"] = d
	var got []string
	f.check(func(key, _ string) { got = append(got, key) })
	if !slices.Equal(got, []string{"downstreamApis.todo.mcp.tools"}) {
		t.Errorf("tools and encoded slashes: got %q", got)
	}
	d.EncodedSlashes, d.WebSockets, got = false, true, nil
	f.DownstreamAPIs["todo"] = d
	f.check(func(key, _ string) { got = append(got, key) })
	if !slices.Equal(got, []string{"downstreamApis.todo.mcp.tools"}) {
		t.Errorf("tools and WebSockets: got %q", got)
	}
}

func TestWarningsAboutMCPServers(t *testing.T) {
	tool := mcp.Rule{Methods: []string{"tools/call"}, Scopes: []string{"a"}}
	some := mcp.Rule{Methods: []string{"tools/call"}, Names: []string{"delete_*"}, Scopes: []string{"a"}}
	for name, row := range map[string]struct {
		publicURL string
		keys      mcpKeys
		want      []string
	}{
		"none":                    {"", mcpKeys{}, nil},
		"all is well":             {"https://gateway.example", mcpKeys{Path: "/mcp", AppIDURI: endpointURI, Tools: []mcp.Rule{some, tool}}, nil},
		"on this machine":         {"http://localhost:8080", mcpKeys{Path: "/mcp"}, nil},
		"no URL":                  {"", mcpKeys{Path: "/mcp"}, []string{"path"}},
		"not https":               {"http://gateway.example", mcpKeys{Path: "/mcp"}, []string{"path"}},
		"another URI":             {"https://gateway.example/x", mcpKeys{Path: "/mcp", AppIDURI: endpointURI}, []string{"appIdUri"}},
		"tools that no one names": {"https://gateway.example", mcpKeys{Path: "/mcp", Tools: []mcp.Rule{tool, some}}, []string{"tools"}},
		"another method last": {
			"https://gateway.example",
			mcpKeys{Path: "/mcp", Tools: []mcp.Rule{some, {Methods: []string{"prompts/get"}, Scopes: []string{"a"}}}},
			[]string{"tools"},
		},
	} {
		f := demoConfig("https://login.example", "https://todo.example/", "secret")
		f.Server.PublicURL = row.publicURL
		d := f.DownstreamAPIs["todo"]
		d.MCP = row.keys
		f.DownstreamAPIs["todo"] = d
		var got []string
		f.warn(func(key, _ string) {
			if key, ok := strings.CutPrefix(key, "downstreamApis.todo.mcp."); ok {
				got = append(got, key)
			}
		})
		if !slices.Equal(got, row.want) {
			t.Errorf("%s: got %q, want %q", name, got, row.want)
		}
	}
}
