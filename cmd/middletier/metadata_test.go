package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"middletier/internal/validate"
)

// notesScopes are of the first rule of notes. The service never has clients request
// offline_access: whether they need a refresh token is their own matter.
var notesScopes = []string{"Notes.ReadWrite", "Notes.Read", "offline_access"}

// notes adds an API whose rules name other scopes, and no user's on one path.
func notes(f *file) {
	api := f.DownstreamAPIs["todo"]
	api.Access = []validate.Rule{
		{Methods: []string{"GET"}, Paths: []string{"/notes/**"}, Scopes: notesScopes, AppPermissions: []string{"Notes.All"}},
		{Methods: []string{"GET"}, Paths: []string{"/reports"}, AppPermissions: []string{"Reports.All"}},
		{Methods: []string{"POST"}, Scopes: []string{"Notes.Write", "Notes.ReadWrite"}, AppPermissions: []string{"Notes.All"}},
	}
	f.DownstreamAPIs["notes"] = api
	api.Access = []validate.Rule{{AppPermissions: []string{"Jobs.All"}}}
	f.DownstreamAPIs["jobs"] = api
}

// metadataDocument is a metadata document as clients read it.
type metadataDocument struct {
	Resource string
	Servers  []string `json:"authorization_servers"`
	Scopes   []string `json:"scopes_supported"`
	Methods  []string `json:"bearer_methods_supported"`
}

// metadataAt reads the document at a path.
func (w *world) metadataAt(path string, lines ...string) metadataDocument {
	w.t.Helper()
	r := w.say(path, "", lines...)
	var got metadataDocument
	if err := json.Unmarshal([]byte(r.body), &got); r.StatusCode != 200 || err != nil || r.Header.Get("Content-Type") != "application/json" {
		w.t.Errorf("GET %s: got %d %s, %v", path, r.StatusCode, r.body, err)
	}
	return got
}

func TestEveryAPIHasMetadata(t *testing.T) {
	w := newWorld(t, notes)
	in := func(names ...string) []string {
		var full []string
		for _, name := range names {
			full = append(full, "api://"+demoMiddleTier+"/"+name)
		}
		return full
	}
	issuer := []string{w.idp.URL() + "/" + demoTenant + "/v2.0"}
	all := in("Notes.Read", "Notes.ReadWrite", "Notes.Write", "ToDoList.Read", "ToDoList.ReadWrite")
	for path, want := range map[string]metadataDocument{
		"":            {w.url, issuer, all, []string{"header"}},
		"/":           {w.url, issuer, all, []string{"header"}},
		"/api/todo":   {w.url + "/api/todo", issuer, in("ToDoList.Read", "ToDoList.ReadWrite"), []string{"header"}},
		"/api/todo/":  {w.url + "/api/todo", issuer, in("ToDoList.Read", "ToDoList.ReadWrite"), []string{"header"}},
		"/api/notes":  {w.url + "/api/notes", issuer, in("Notes.Read", "Notes.ReadWrite", "Notes.Write"), []string{"header"}},
		"/api/jobs":   {w.url + "/api/jobs", issuer, nil, []string{"header"}},
		"/api/jobs?x": {w.url + "/api/jobs", issuer, nil, []string{"header"}},
	} {
		path = "/.well-known/oauth-protected-resource" + path
		if got := w.metadataAt(path); !equalMetadata(got, want) {
			t.Errorf("GET %s: got  %+v\nwant %+v", path, got, want)
		}
		if r := w.call("HEAD", path, "", ""); r.StatusCode != 200 || r.body != "" {
			t.Errorf("HEAD %s: got %d %q", path, r.StatusCode, r.body)
		}
		if r := w.call("POST", path, "", ""); r.StatusCode != 405 || !strings.Contains(r.Header.Get("Allow"), "GET, HEAD") {
			t.Errorf("POST %s: got %d, Allow %q", path, r.StatusCode, r.Header.Get("Allow"))
		}
	}
	// An empty list is left out (RFC 9728, section 3.2).
	if r := w.call("GET", "/.well-known/oauth-protected-resource/api/jobs", "", ""); strings.Contains(r.body, "scopes_supported") {
		t.Errorf("an API for applications: got %s", r.body)
	}
	for path, kind := range map[string]string{
		"/api/nothing": "unknown-api", "/api/ToDo": "unknown-api", "/api/%74odo": "unknown-api", "/api/": "not-found", "/api": "not-found",
		"/api/todo/items": "not-found", "/app/todo": "not-found", "/middle": "not-found", "x": "not-found", "/api/todo//": "not-found",
	} {
		r := w.call("GET", "/.well-known/oauth-protected-resource"+path, "", "")
		if r.StatusCode != 404 || r.kind() != kind || r.Header.Get("Access-Control-Allow-Origin") != "*" && path != "x" {
			t.Errorf("GET %s: got %d %s %v, want 404 %s", path, r.StatusCode, r.body, r.Header, kind)
		}
	}
}

func equalMetadata(a, b metadataDocument) bool {
	return a.Resource == b.Resource && slices.Equal(a.Servers, b.Servers) &&
		slices.Equal(a.Scopes, b.Scopes) && slices.Equal(a.Methods, b.Methods)
}

// Which URL a resource has, and where its metadata is, depends on the gateway. Whatever
// that does to the path of a metadata request, the answer is about the same URL.
func TestMetadataBehindGateways(t *testing.T) {
	forwarded := []string{"X-Forwarded-Host: gateway.example", "X-Forwarded-Proto: https"}
	prefixed := append(slices.Clone(forwarded), "X-Forwarded-Prefix: /gw/")
	for _, row := range []struct {
		name, publicURL, basePath string
		lines                     []string
		base                      string   // of resources; "": the service's own address
		paths                     []string // between the well-known path and that of the API
		root                      []string // where the document of the service itself is
		none                      []string // where nothing is
	}{
		{
			"public", "https://gateway.example", "", nil, "https://gateway.example",
			[]string{""},
			[]string{"/.well-known/oauth-protected-resource"},
			[]string{"/.well-known/oauth-protected-resource/middle", "/middle/.well-known/oauth-protected-resource"},
		},
		{
			"public with a path", "https://gateway.example/public/middle/", "", nil, "https://gateway.example/public/middle",
			[]string{"/public/middle", ""},
			[]string{"/.well-known/oauth-protected-resource/public/middle", "/.well-known/oauth-protected-resource"},
			[]string{"/.well-known/oauth-protected-resource/public", "/public/middle/.well-known/oauth-protected-resource"},
		},
		{
			"kept", "", "/middle", nil, "/middle",
			[]string{"/middle", ""},
			[]string{"/.well-known/oauth-protected-resource/middle", "/middle/.well-known/oauth-protected-resource"},
			[]string{"/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/middlee"},
		},
		{
			"kept and public", "https://gateway.example", "/middle", nil, "https://gateway.example/middle",
			[]string{"/middle", ""},
			[]string{"/.well-known/oauth-protected-resource/middle", "/middle/.well-known/oauth-protected-resource"},
			[]string{"/.well-known/oauth-protected-resource"},
		},
		{
			"kept, and another in public", "https://gateway.example/public/middle", "/middle", nil, "https://gateway.example/public/middle",
			[]string{"/public/middle", "/middle", ""},
			[]string{"/.well-known/oauth-protected-resource/public/middle", "/middle/.well-known/oauth-protected-resource"},
			[]string{"/.well-known/oauth-protected-resource"},
		},
		{
			"a proxy that names host and scheme", "", "", forwarded, "https://gateway.example",
			[]string{""},
			[]string{"/.well-known/oauth-protected-resource"},
			[]string{"/.well-known/oauth-protected-resource/gw"},
		},
		{
			"a proxy that names its prefix", "", "", prefixed, "https://gateway.example/gw",
			[]string{"/gw", ""},
			[]string{"/.well-known/oauth-protected-resource/gw", "/.well-known/oauth-protected-resource"},
			[]string{"/.well-known/oauth-protected-resource/other"},
		},
		{
			"a proxy that names its prefix and keeps another", "", "/middle", prefixed, "https://gateway.example/gw/middle",
			[]string{"/gw/middle", "/middle", ""},
			[]string{"/.well-known/oauth-protected-resource/gw/middle", "/middle/.well-known/oauth-protected-resource"},
			[]string{"/.well-known/oauth-protected-resource/gw", "/.well-known/oauth-protected-resource"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := withProxies(t, []string{"127.0.0.1/32"}, func(f *file) { f.Server.PublicURL, f.Server.BasePath = row.publicURL, row.basePath })
			base := row.base
			if strings.HasPrefix(base, "/") {
				base = w.url + base
			}
			for _, between := range row.paths {
				path := "/.well-known/oauth-protected-resource" + between + "/api/todo"
				if got := w.metadataAt(path, row.lines...).Resource; got != base+"/api/todo" {
					t.Errorf("GET %s: got resource %s, want %s/api/todo", path, got, base)
				}
				if r := w.say(path+"x", "", row.lines...); r.StatusCode != 404 || r.kind() != "unknown-api" {
					t.Errorf("GET %sx: got %d %s", path, r.StatusCode, r.body)
				}
			}
			for _, path := range row.root {
				if got := w.metadataAt(path, row.lines...).Resource; got != base {
					t.Errorf("GET %s: got resource %s, want %s", path, got, base)
				}
			}
			for _, path := range row.none {
				if r := w.say(path, "", row.lines...); r.StatusCode != 404 {
					t.Errorf("GET %s: got %d %s, want 404", path, r.StatusCode, r.body)
				}
			}
			if r := w.say(row.root[0], "", row.lines...); (r.Header.Get("Cache-Control") == "no-store") != (row.publicURL == "") {
				t.Errorf("Cache-Control: got %q", r.Header.Get("Cache-Control"))
			}
			// The challenge leads to the first form, which is RFC 9728's.
			if r := w.say(row.basePath+"/api/todo/items", "", row.lines...); !strings.Contains(r.Header.Get("WWW-Authenticate"),
				`resource_metadata="`+strings.TrimSuffix(base, row.paths[0])+"/.well-known/oauth-protected-resource"+row.paths[0]+`/api/todo"`) {
				t.Errorf("WWW-Authenticate: got %s", r.Header.Get("WWW-Authenticate"))
			}
			if r := w.say(row.basePath+"/app/todo/items", "", row.lines...); !strings.Contains(r.Header.Get("WWW-Authenticate"),
				`resource_metadata="`+strings.TrimSuffix(base, row.paths[0])+"/.well-known/oauth-protected-resource"+row.paths[0]+`"`) {
				t.Errorf("WWW-Authenticate on /app: got %s", r.Header.Get("WWW-Authenticate"))
			}
		})
	}
}

// A proxy that is not trusted changes nothing.
func TestMetadataIgnoresStrangersHeaders(t *testing.T) {
	w := newWorld(t)
	got := w.metadataAt("/.well-known/oauth-protected-resource/api/todo",
		"X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "X-Forwarded-Prefix: /evil")
	if got.Resource != w.url+"/api/todo" {
		t.Errorf("resource: got %s", got.Resource)
	}
}

// A client compares the issuer with the one in the provider's metadata, which it fetches
// from there.
func TestMetadataNamesTheIssuerOfTheProvider(t *testing.T) {
	for _, row := range []struct {
		tenant  string
		allowed []string
		want    string // tenant in the issuer
		known   bool   // the provider's metadata names the same issuer
	}{
		{demoTenant, nil, demoTenant, true},
		{"contoso.example", nil, demoTenant, true},
		{"organizations", []string{fabrikam}, fabrikam, true},
		{"common", []string{demoTenant}, demoTenant, true},
		{"organizations", []string{demoTenant, fabrikam}, "organizations", false},
		{"common", []string{"*"}, "common", false},
	} {
		t.Run(row.tenant+" "+strings.Join(row.allowed, " "), func(t *testing.T) {
			w := newWorld(t, multiTenant(row.tenant, row.allowed...))
			issuer := w.idp.URL() + "/" + row.want + "/v2.0"
			for _, path := range []string{"", "/api/todo"} {
				if got := w.metadataAt("/.well-known/oauth-protected-resource" + path).Servers; !slices.Equal(got, []string{issuer}) {
					t.Errorf("authorization_servers of %q: got %q, want %s", path, got, issuer)
				}
			}
			resp, err := (&http.Client{Transport: w.transport()}).Get(issuer + "/.well-known/openid-configuration")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var provider struct{ Issuer string }
			if err := json.NewDecoder(resp.Body).Decode(&provider); err != nil || (provider.Issuer == issuer) != row.known {
				t.Errorf("the provider names %s, %v", provider.Issuer, err)
			}
		})
	}
}

// Before the provider's metadata has been fetched, nothing is said of it, and a client is
// told when to ask again.
func TestMetadataIsUnavailableUntilTheIssuerIsKnown(t *testing.T) {
	w := newStoppedWorld(t)
	w.idp.Stop()
	p := w.start()
	for _, path := range []string{"", "/api/todo"} {
		r := w.call("GET", "/.well-known/oauth-protected-resource"+path, "", "")
		if r.StatusCode != 503 || r.kind() != "identity-provider-unavailable" || r.Header.Get("Retry-After") == "" ||
			r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%q: got %d %v %s, want 503 with Retry-After", path, r.StatusCode, r.Header, r.body)
		}
	}
	r := w.call("GET", "/api/todo/items", "", "")
	if got := r.Header.Get("WWW-Authenticate"); r.StatusCode != 401 || !strings.Contains(got, w.leadsTo("/api/todo")) {
		t.Errorf("the challenge does not depend on it: got %d %s", r.StatusCode, got)
	}
	if err := w.idp.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := p.validator.AwaitKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.metadataAt("/.well-known/oauth-protected-resource").Servers; len(got) != 1 {
		t.Errorf("authorization_servers: got %q", got)
	}
}

// Pages of any origin read where to sign in, whichever origins may call.
func TestMetadataCanBeReadByPagesOfAnyOrigin(t *testing.T) {
	for name, change := range map[string]func(*file){"no origin is listed": func(*file) {}, "one is": allowSPA} {
		w := newWorld(t, change, func(f *file) { f.Server.BasePath = "/middle" })
		for _, path := range []string{
			"/middle/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/middle",
			"/.well-known/oauth-protected-resource/middle/api/todo", "/.well-known/oauth-protected-resource/api/todo",
			"/.well-known/oauth-protected-resource/api/nothing",
		} {
			for _, origin := range []string{spa, stranger, "null"} {
				r := w.from(origin, "GET", path)
				if got := granted(r); len(got) != 2 || got["Allow-Origin"] != "*" ||
					got["Expose-Headers"] != "*" || r.Header.Get("Vary") != "" {
					t.Errorf("%s: %s from %s: got %v", name, path, origin, r.Header)
				}
				r = w.from(origin, "OPTIONS", path, "Access-Control-Request-Method", "GET",
					"Access-Control-Request-Headers", "mcp-protocol-version")
				got := granted(r)
				if r.StatusCode != 204 || len(got) != 4 || got["Allow-Origin"] != "*" || got["Allow-Methods"] != "GET, HEAD" ||
					got["Allow-Headers"] != "*, Authorization" {
					t.Errorf("%s: preflight of %s from %s: got %d %v", name, path, origin, r.StatusCode, r.Header)
				}
			}
			if r := w.call("GET", path, "", ""); r.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("%s: %s without an origin, for caches: got %v", name, path, r.Header)
			}
		}
		if log := w.log.String(); strings.Contains(log, "was refused") {
			t.Errorf("%s: a page was refused, says the log: %s", name, log)
		}
	}
}

// Challenges name the least that is enough, in full, as the provider wants it asked for.
func TestChallengesNameScopeAndMetadata(t *testing.T) {
	for _, uri := range []struct {
		name, full string
		change     func(*file)
	}{
		{"by default", "api://" + demoMiddleTier, func(*file) {}},
		{"by the first audience that is a URI", "https://api.contoso.example/notes", func(f *file) {
			f.AzureAd.Audiences = []string{demoMiddleTier, "https://api.contoso.example/notes/", "api://" + demoMiddleTier}
		}},
		{"as configured", "api://contoso.example", func(f *file) { f.AzureAd.AppIDURI = "api://contoso.example/" }},
	} {
		w := newWorld(t, notes, uri.change)
		realm := `Bearer realm="` + demoMiddleTier + `"`
		scope := func(name string) string { return `, scope="` + uri.full + "/" + name + `"` }
		const malformed = `Bearer error="invalid_token", error_description="The token is malformed."`
		const insufficient = `Bearer error="insufficient_scope"`
		for _, row := range []struct {
			method, path, token string
			status              int
			challenge           string
			scopes              []string // of the body
		}{
			{"GET", "/api/notes/notes/1", "", 401, realm + w.leadsTo("/api/notes") + scope("Notes.ReadWrite"), nil},
			{"POST", "/api/notes/reports", "", 401, realm + w.leadsTo("/api/notes") + scope("Notes.Write"), nil},
			{"GET", "/api/notes/reports", "", 401, realm + w.leadsTo("/api/notes"), nil},
			{"GET", "/api/notes/else", "", 401, realm + w.leadsTo("/api/notes"), nil},
			{"DELETE", "/api/notes/notes", "", 401, realm + w.leadsTo("/api/notes"), nil},
			{"GET", "/api/notes/notes%2f1", "", 401, realm + w.leadsTo("/api/notes"), nil},
			{"GET", "/api/todo", "", 401, realm + w.leadsTo("/api/todo") + scope("ToDoList.Read"), nil},
			{"GET", "/app/notes/reports", "", 401, realm + w.leadsTo("") + scope(".default"), nil},
			{"POST", "/signout", "", 401, realm + w.leadsTo(""), nil},
			{"GET", "/api/nothing", "", 401, realm + w.leadsTo(""), nil},
			{"POST", "/signout", "nonsense", 401, malformed + w.leadsTo(""), nil},
			{"GET", "/app/notes/x", "nonsense", 401, malformed + w.leadsTo(""), nil},
			{"GET", "/api/notes/x", "nonsense", 401, malformed + w.leadsTo("/api/notes"), nil},
			{"GET", "/api/notes/notes", w.bob(), 403, insufficient + scope("Notes.ReadWrite") + w.leadsTo("/api/notes"), notesScopes},
			{
				"POST", "/api/notes/x", w.bob(), 403, insufficient + scope("Notes.Write") + w.leadsTo("/api/notes"),
				[]string{"Notes.Write", "Notes.ReadWrite"},
			},
			{"GET", "/app/notes/notes", w.daemon(), 403, insufficient + scope(".default") + w.leadsTo(""), []string{"Notes.All"}},
			{"GET", "/app/notes/reports", w.daemon(), 403, insufficient + scope(".default") + w.leadsTo(""), []string{"Reports.All"}},
			{"GET", "/app/notes/reports", w.bob(), 403, "", nil},
		} {
			r := w.call(row.method, row.path, row.token, "")
			got := r.Header.Get("WWW-Authenticate")
			if r.StatusCode != row.status || got != row.challenge || !slices.Equal(r.problem.Scopes, row.scopes) {
				t.Errorf("%s: %s %s: got  %d %s %q\nwant %d %s %q",
					uri.name, row.method, row.path, r.StatusCode, got, r.problem.Scopes, row.status, row.challenge, row.scopes)
			}
		}
	}
}
