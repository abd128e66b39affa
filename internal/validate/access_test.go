package validate_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"middletier/internal/validate"
)

// callers are a user with scopes and roles, and an app with roles.
func callers(t *testing.T) (user, app *validate.Caller) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		v := start(t)
		user = accept(t, v, userDraft().Token(claim("scp", "Read Tasks.Read"), claim("roles", []string{"Write.All", "Write"})))
		app = accept(t, v, appDraft().Token())
	})
	return user, app
}

func newAccess(t testing.TB, rules ...validate.Rule) *validate.Access {
	t.Helper()
	return validate.NewAccess(rules, func(key, problem string) { t.Fatalf("rule %s: %s", key, problem) })
}

// holds reports whether a rule for the scope and the app permission lets caller in.
func holds(t testing.TB, caller *validate.Caller, scope, appPermission string) bool {
	t.Helper()
	access := newAccess(t, validate.Rule{Scopes: []string{scope}, AppPermissions: []string{appPermission}})
	return access.Check(caller, "GET", "/") == nil
}

func TestAccessRules(t *testing.T) {
	user, app := callers(t)
	usual := []validate.Rule{
		{Methods: []string{"GET", "HEAD"}, Scopes: []string{"Read", "ReadWrite"}, AppPermissions: []string{"Read.All"}},
		{Methods: []string{"post", "DELETE"}, Scopes: []string{"Write", "ReadWrite"}, AppPermissions: []string{"Write.All"}},
	}
	paths := []validate.Rule{
		{Paths: []string{"/admin/**", "/v*/admin"}, Scopes: []string{"Admin"}},
		{Paths: []string{"/tasks/*/notes"}, Methods: []string{"GET"}, Scopes: []string{"Tasks.Read"}},
		{Paths: []string{"/tasks/**"}, Scopes: []string{"Tasks.Write"}},
		{Methods: []string{"GET"}, Paths: []string{"/**/public", "/files/*.txt", "/"}, Scopes: []string{"Read"}},
	}
	fallback := []validate.Rule{
		{Paths: []string{"/admin/**"}, Scopes: []string{"Admin"}},
		{Scopes: []string{"Read"}},
	}
	type row struct {
		rules        []validate.Rule
		caller       *validate.Caller
		method, path string
		want         string
	}
	const ok, none = "", "none"
	var rows []row
	add := func(rules []validate.Rule, caller *validate.Caller, method, want string, paths ...string) {
		for _, path := range paths {
			rows = append(rows, row{rules, caller, method, path, want})
		}
	}
	add(usual, user, "GET", ok, "", "/", "/a", "/a/b/")
	add(usual, user, "HEAD", ok, "/")
	add(usual, user, "POST", "needs Write ReadWrite", "/") // roles of a user are no scopes
	add(usual, app, "GET", ok, "/")
	add(usual, app, "POST", "needs Write.All", "/")
	add(usual, user, "PUT", "allow DELETE GET HEAD POST", "/")
	add(usual, app, "PUT", "allow DELETE GET HEAD POST", "/")
	add(usual, user, "get", "allow DELETE GET HEAD POST", "/")
	add(usual, user, "OPTIONS", "allow DELETE GET HEAD POST", "/")
	add([]validate.Rule{{AppPermissions: []string{"Write.All", "Write"}}}, user, "GET", none, "/") // roles of a user
	add([]validate.Rule{{Scopes: []string{"Write.All", "Write"}}}, user, "GET", "needs Write.All Write", "/")
	add([]validate.Rule{{Scopes: []string{"Read.All"}}}, app, "GET", none, "/") // permissions of an app are no scopes
	add(nil, user, "GET", none, "/", "/a")
	add(nil, app, "DELETE", none, "/")
	add(nil, user, "TRACE", none, "/") // there are no methods that Allow could name

	add(paths, user, "GET", "needs Admin", "/admin", "/admin/", "/admin/x", "/admin/x/y", "/v1/admin", "/v1/admin/", "/v/admin")
	add(paths, user, "GET", none, "/adminx", "/x/admin", "/v1/admin/x", "/Admin")
	add(paths, app, "GET", none, "/admin") // a rule without app permissions
	add(paths, user, "GET", ok,
		"/tasks/1/notes", "/tasks/1/notes/", "/public", "/a/public", "/a/b/c/public/", "/files/a.txt", "/files/.txt", "/", "")
	add(paths, user, "POST", "needs Tasks.Write", "/tasks/1/notes", "/tasks", "/tasks/")
	add(paths, user, "GET", "needs Tasks.Write", "/tasks/1", "/tasks/1/2/notes", "/tasks/notes")
	add(paths, user, "GET", none, "/files/a.txt/b", "/files/a.text", "/files", "/public/x")
	add(paths, user, "PURGE", none, "/x") // some rule is for all methods

	// A path with parameters must be allowed with and without them.
	add(fallback, user, "GET", ok, "/users", "/users;v=1", "/users;v=1/a;b", "/administrator")
	add(fallback, user, "GET", "needs Admin",
		"/admin", "/admin/", "/admin;x", "/admin;x/y", "/admin;/y", "/;x/admin", "/;/admin/y", "/;a;b/;c/admin", "/admin/;x", "/admin;a;b")
	add([]validate.Rule{{Paths: []string{"/a;x"}, Scopes: []string{"Admin"}}, {Scopes: []string{"Read"}}}, user, "GET", "needs Admin", "/a;x")
	add([]validate.Rule{{Paths: []string{"/public"}, Scopes: []string{"Read"}}}, user, "GET", none, "/public;x", "/;x/public")

	// So must one that differs from another in case only, or is composed otherwise.
	add(fallback, user, "GET", "needs Admin", "/Admin", "/ADMIN/x", "/aDMIN;x", "/ａdmin", "/；x/admin", "/adᵐin/x")
	add(fallback, user, "GET", ok, "/Users/Alice", "/caf\u00e9", "/cafe\u0301", "/½", "/a…b", "/①.txt")
	add([]validate.Rule{{Paths: []string{"/Caf\u00e9/**", "/\u017fecret"}, Scopes: []string{"Admin"}}, {Scopes: []string{"Read"}}},
		user, "GET", "needs Admin",
		"/Caf\u00e9", "/cafe\u0301", "/CAF\u00c9/x", "/secret", "/SECRET")
	// One that some server changes before it looks for what it names is none that
	// rules for paths can decide on.
	add(fallback, user, "GET", "ambiguous", "/%61dmin", "/x/%2561", "/%u0061dmin", "/%U0061dmin", "/100%de",
		"/admin.", "/admin..", "/admin./x", "/admin.;x", "/...", "/x.", "/admin ",
		"/ admin", "/admin /x", "/x /admin", "/admin ;x", "/admin . .", "/admin\u00a0", "/\u3000admin", "/admin\u2003/x", "/admin\ufeff", "/admin\u200b", "/admin::$DATA",
		"/admin::$data/x", "/admin:$i30:$INDEX_ALLOCATION", "/x／..／admin", "/admin．", "/admin…", "/x＼admin", "/％61dmin", "/x/℀")
	add(fallback, user, "GET", ok, "/50%", "/50%off", "/%u00zz", "/a.b", "/.well-known/x", "/..a/b..c", "/a b",
		"/items/1:cancel", "/$metadata", "/a+b", "/x;. ", "/x;v=1./y")
	add([]validate.Rule{{Paths: []string{"/**"}, Scopes: []string{"Read"}}, {Scopes: []string{"Admin"}}},
		user, "GET", ok, "/%20", "/admin.", "/ x", "/a::$DATA") // names no path
	add(usual, user, "GET", ok, "/%20", "/admin.", "/ x ", "/a::$DATA", "/％61")

	for _, r := range rows {
		if got := verdict(newAccess(t, r.rules...).Check(r.caller, r.method, r.path)); got != r.want {
			t.Errorf("app %t, %s %q: got %q, want %q", r.caller.IsApp(), r.method, r.path, got, r.want)
		}
	}
}

func verdict(err error) string {
	var refused *validate.AccessError
	switch {
	case err == nil:
		return ""
	case errors.Is(err, validate.ErrPath):
		return "ambiguous"
	case !errors.As(err, &refused):
		return err.Error()
	case refused.Allow != nil:
		return "allow " + strings.Join(refused.Allow, " ")
	case refused.Needed != nil:
		return "needs " + strings.Join(refused.Needed, " ")
	}
	return "none"
}

func TestPathPatterns(t *testing.T) {
	user, _ := callers(t)
	for _, row := range []struct{ pattern, matches, others string }{
		{"/", "/", "/a /a/b"},
		{"/**", "/ /a /a/ /a/b/c", ""},
		{"/*", "/a /a/ /*", "/ /a/b"},
		{"/a", "/a /a/", "/ /A /ab /a/b /b/a"},
		{"/a/**", "/a /a/ /a/b /a/b/c", "/ /b /b/a"},
		{"/**/z", "/z /a/z /a/b/z /z/z /a/z/z", "/ /z/a /az"},
		{"/a/**/z", "/a/z /a/b/z /a/b/c/z /a/z/z", "/a /z /a/b /b/z"},
		{"/a/**/m/**/z", "/a/m/z /a/x/m/y/z /a/m/m/z /a/z/m/z", "/a/z /a/m /m/z"},
		{"/**/**", "/ /a /a/b", ""},
		{"/a*c", "/ac /abc /abbc /acc", "/ab /bc /a/c /acb"},
		{"/a*b*c", "/abc /axbxc /abbcc /abcbc", "/ac /acb /abcb"},
		{"/*b*", "/b /abc /ab /bc", "/ /a /ac"},
		{"/aa*aa", "/aaaa /aaxaa", "/aa /aaa"},
		{"/a.b", "/a.b", "/axb"},
		{"/a[b]", "/a[b]", "/ab"},
	} {
		access := newAccess(t, validate.Rule{Paths: []string{row.pattern}, Scopes: []string{"Read"}})
		for _, path := range strings.Fields(row.matches) {
			if err := access.Check(user, "GET", path); err != nil {
				t.Errorf("%s does not match %s", row.pattern, path)
			}
		}
		for _, path := range strings.Fields(row.others) {
			if err := access.Check(user, "GET", path); err == nil {
				t.Errorf("%s matches %s", row.pattern, path)
			}
		}
	}
}

// With exponential or cubic time this test would not end.
func TestHostilePathCostsLittle(t *testing.T) {
	user, _ := callers(t)
	segments := strings.Repeat("/a", 20_000)
	letters := strings.Repeat("a", 40_000)
	for _, row := range []struct{ pattern, path string }{
		{strings.Repeat("/**/a", 40) + "/b", segments},
		{strings.Repeat("/**/a", 40) + "/b", segments + "/b"},
		{strings.Repeat("/**/a", 20) + "/**/b/**" + strings.Repeat("/a/**", 20), segments},
		{"/" + strings.Repeat("*a", 100) + "*b", "/" + letters},
		{"/" + strings.Repeat("*a", 100) + "*b*", "/" + letters},
		{"/**/*a*a*a*a*b*/c", strings.Repeat("/"+letters[:100], 400)},
	} {
		access := newAccess(t, validate.Rule{Paths: []string{row.pattern}, Scopes: []string{"Read"}})
		if matched, want := access.Check(user, "GET", row.path) == nil, strings.HasSuffix(row.path, "/b"); matched != want {
			t.Errorf("%.20s… on a path of %d bytes: got %t, want %t", row.pattern, len(row.path), matched, want)
		}
		_ = access.Check(user, "GET", strings.ReplaceAll(row.path, "/", "/;/"))
	}
}

func TestRuleMistakesAreReportedByKey(t *testing.T) {
	read := []string{"Read"}
	for _, row := range []struct {
		rule validate.Rule
		want string
	}{
		{validate.Rule{Paths: []string{"/a", "b"}, Scopes: read}, "[0].paths[1]"},
		{validate.Rule{Paths: []string{""}, Scopes: read}, "[0].paths[0]"},
		{validate.Rule{Paths: []string{"/a//b"}, Scopes: read}, "[0].paths[0]"},
		{validate.Rule{Paths: []string{"/a**"}, Scopes: read}, "[0].paths[0]"},
		{validate.Rule{Paths: []string{"/***"}, Scopes: read}, "[0].paths[0]"},
		{validate.Rule{Paths: []string{"/a?b"}, Scopes: read}, "[0].paths[0]"},
		{validate.Rule{Paths: []string{"/a%2Fb"}, Scopes: read}, "[0].paths[0]"},
		{validate.Rule{Paths: []string{`/a\b`}, Scopes: read}, "[0].paths[0]"},
		{validate.Rule{Paths: []string{"/a/", "/b./c"}, Scopes: read}, "[0].paths[1]"},
		{validate.Rule{Paths: []string{"/a b", "/*.", "/ a", "/x::$DATA"}, Scopes: read}, "[0].paths[1] [0].paths[2] [0].paths[3]"},
		{validate.Rule{Methods: []string{"GET"}}, "[0]"},
		{validate.Rule{Methods: []string{"GET", "trace"}, Scopes: read}, "[0].methods[1]"},
		{validate.Rule{Methods: []string{"Track"}, Scopes: read}, "[0].methods[0]"},
		{validate.Rule{Methods: []string{"GET "}, Scopes: read}, "[0].methods[0]"},
		{validate.Rule{Methods: []string{"GET", "get,post"}, Scopes: read}, "[0].methods[1]"},
		{validate.Rule{Scopes: []string{"Read", `a" b`}}, "[0].scopes[1]"},
		{validate.Rule{AppPermissions: []string{"a b"}}, "[0].appPermissions[0]"},
		{validate.Rule{Paths: []string{"/", "/a/", "/**"}, Scopes: read}, ""},
	} {
		var got []string
		validate.NewAccess([]validate.Rule{row.rule}, func(key, _ string) { got = append(got, key) })
		if strings.Join(got, " ") != row.want {
			t.Errorf("%+v: got mistakes at %q, want %q", row.rule, got, row.want)
		}
	}
}

func TestAccessNamesAllItsScopes(t *testing.T) {
	access := newAccess(t,
		validate.Rule{Methods: []string{"GET"}, Scopes: []string{"Read", "ReadWrite"}},
		validate.Rule{Scopes: []string{"Write"}, AppPermissions: []string{"Write.All"}},
	)
	if got, want := access.Scopes(), []string{"Read", "ReadWrite", "Write"}; !slices.Equal(got, want) {
		t.Errorf("Scopes: got %s, want %s", fmt.Sprint(got), fmt.Sprint(want))
	}
}

// An API would answer TRACE with the request it got, and our token in it.
func TestTraceIsNeverAllowed(t *testing.T) {
	user, _ := callers(t)
	for _, rule := range []validate.Rule{{Scopes: []string{"Read"}}, {Methods: []string{"GET"}, Scopes: []string{"Read"}}} {
		access := newAccess(t, rule)
		for _, method := range []string{"TRACE", "TRACK", "CONNECT"} {
			var refused *validate.AccessError
			if err := access.Check(user, method, "/"); !errors.As(err, &refused) || !slices.Contains(refused.Allow, "GET") {
				t.Errorf("%s under %v: got %v, want a refusal that names GET", method, rule.Methods, err)
			}
		}
	}
}
