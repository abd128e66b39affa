package validate_test

import (
	"errors"
	"slices"
	"testing"

	"middletier/internal/validate"
)

// The methods of one endpoint belong together: the rule for POST decides about all.
func TestOneMethodsRuleDecidesForAnEndpoint(t *testing.T) {
	user, app := callers(t) // scopes Read and Tasks.Read; an app permission
	get := validate.Rule{Methods: []string{"GET"}, Scopes: []string{"Read"}, AppPermissions: []string{"None"}}
	post := validate.Rule{Methods: []string{"POST"}, Paths: []string{"/mcp"}, Scopes: []string{"Write"}, AppPermissions: []string{"Jobs"}}
	other := validate.Rule{Methods: []string{"POST"}, Paths: []string{"/items"}, Scopes: []string{"Write"}}
	admin := validate.Rule{Paths: []string{"/MCP"}, Scopes: []string{"Admin"}}
	for name, row := range map[string]struct {
		rules []validate.Rule
		need  []string // of the user; nil: the call is allowed
	}{
		"the rule for POST, not an earlier one for GET": {[]validate.Rule{get, post}, []string{"Write"}},
		"a rule for all methods":                        {[]validate.Rule{{Scopes: []string{"Read"}}, post}, nil},
		"the first for the path, if none is for POST":   {[]validate.Rule{get}, nil},
		"the first for the path, if POST is elsewhere":  {[]validate.Rule{other, get}, nil},
		"a server that ignores case":                    {[]validate.Rule{{Paths: []string{"/mcp"}, Scopes: []string{"Read"}}, admin}, nil},
		"a rule for the path in another case":           {[]validate.Rule{admin, {Scopes: []string{"Read"}}}, []string{"Admin"}},
		"no rule for the path":                          {[]validate.Rule{other}, []string{}},
		"no rule":                                       {nil, []string{}},
	} {
		access := newAccess(t, row.rules...).DecidedBy("POST")
		for _, method := range []string{"GET", "POST", "DELETE"} {
			err := access.Check(user, method, "/mcp")
			var refusal *validate.AccessError
			if errors.As(err, &refusal) && refusal.Allow == nil && row.need != nil && slices.Equal(refusal.Needed, row.need) {
				continue
			}
			if err != nil || row.need != nil {
				t.Errorf("%s: %s: got %v, want %q needed", name, method, err, row.need)
			}
		}
	}
	access := newAccess(t, get, post)
	joined := access.DecidedBy("POST")
	if err := access.Check(user, "GET", "/mcp"); err != nil {
		t.Errorf("the rules themselves are another matter: got %v", err)
	}
	if got := joined.UserScopes("DELETE", "/mcp"); !slices.Equal(got, []string{"Write"}) {
		t.Errorf("scopes: got %q", got)
	}
	if err := joined.Check(app, "GET", "/mcp"); err == nil {
		t.Error("an application without the permission was allowed")
	}
}

// What frameworks ignore in a path does not lead past what is decided for it.
func TestPathsThatMayBeReadAsAnother(t *testing.T) {
	for path, want := range map[string]bool{
		"/mcp": true, "/mcp/": true, "/MCP": true, "/Mcp/": true, "/mcp;a=b": true, "/mcp;/;": true, "/ｍcp": true, "/;x/mcp": true, "mcp": true,
		"/mcp.json": true, "/MCP.Json/": true, "/mcp.a.b": true, "/mcp;a=b.json": true, "/mcp.json;a": true,
		"/mcp-json": false, "/.mcp": false, "/x.mcp": false, "/x/mcp.json": false, "/mcp.json/x": false,
		"/": false, "": false, "/mcp/x": false, "/mc": false, "/mcpp": false, "/x/mcp": false, "/x;/mcp": false, "/mcp;/x": false,
	} {
		if got, err := validate.MayBeReadAs(path, "/mcp"); got != want || err != nil {
			t.Errorf("%s: got %v %v, want %v", path, got, err, want)
		}
	}
	for _, path := range []string{
		"/mcp ", "/mcp.", "/%6dcp", "/mcp%20", "/ mcp", "/mcp::$DATA", "/a\\mcp", "/m%u0063p", "/\u200bmcp", "/．/mcp",
	} {
		if got, err := validate.MayBeReadAs(path, "/mcp"); !errors.Is(err, validate.ErrPath) {
			t.Errorf("%s: got %v %v, want ErrPath", path, got, err)
		}
	}
	if got, err := validate.MayBeReadAs("/A/b", "/a/B/"); !got || err != nil {
		t.Errorf("case of the other path: got %v %v", got, err)
	}
}

func TestPermissionsOfOneEntry(t *testing.T) {
	user, app := callers(t)
	if err := user.CheckHolds([]string{"Other", "Tasks.Read"}, nil); err != nil {
		t.Errorf("one of two scopes: got %v", err)
	}
	for name, err := range map[string]error{
		"roles of a user":    user.CheckHolds(nil, []string{"Write.All"}),
		"another scope":      user.CheckHolds([]string{"Tasks"}, []string{"Write.All"}),
		"scopes of an app":   app.CheckHolds([]string{"Read"}, nil),
		"another permission": app.CheckHolds([]string{"Read"}, []string{"Nothing.All"}),
		"nothing":            app.CheckHolds(nil, nil),
	} {
		var refusal *validate.AccessError
		if !errors.As(err, &refusal) {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
	var mistakes []string
	validate.CheckPermissions([]string{"Read", "a b"}, []string{""}, func(key, _ string) { mistakes = append(mistakes, key) })
	if slices.Sort(mistakes); !slices.Equal(mistakes, []string{"appPermissions[0]", "scopes[1]"}) {
		t.Errorf("mistakes: got %q", mistakes)
	}
}
