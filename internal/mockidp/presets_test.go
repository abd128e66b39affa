package mockidp_test

import (
	"math"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"middletier/internal/mockidp"
)

// preset returns the answer for a preset.
func (k kit) preset(nameAndQuery string) (int, string) {
	k.t.Helper()
	status, body := k.do("GET", "/mock/tokens/"+nameAndQuery, "", "")
	return status, string(body)
}

func TestPresetIsATokenAndNothingElse(t *testing.T) {
	k := start(t)
	k.AddPreset("reader", mockidp.Preset{User: "alice", Client: "spa", Resource: "middle", Scopes: []string{"access_as_user"}})
	status, token := k.preset("Reader")
	if status != http.StatusOK || strings.TrimSpace(token) != token {
		t.Fatalf("got %d %q, want a token without a line break", status, token)
	}
	if status, body := k.post(contoso, k.obo("assertion", token)); status != http.StatusOK {
		t.Errorf("exchange of the token: got %d %v, want 200", status, body)
	}
}

// Without a preset, a user has what the first grant that fits gives, and an app its roles.
func TestPresetOfAnyUserAndApp(t *testing.T) {
	directory := testDirectory()
	directory.Grants = append(directory.Grants,
		mockidp.Grant{Client: "spa", Resource: "middle", User: "frida", Scopes: []string{"access_as_user"}},
		mockidp.Grant{Client: "daemon", Resource: "todo", Roles: []string{"Read.All"}})
	k := startWith(t, directory)
	k.AddPreset("preset", mockidp.Preset{User: "alice", Client: "spa", Resource: "middle", Scopes: []string{"access_as_user"}})
	for query, want := range map[string]map[string]any{
		"alice":                              {"oid": aliceID, "azp": middleID, "aud": todoID, "scp": "Read Write", "roles": nil},
		"alice%40contoso.example":            {"oid": aliceID, "azp": middleID, "aud": todoID, "scp": "Read Write"},
		"alice?resource=ledger":              {"appid": middleID, "aud": "api://ledger", "scp": "Read", "ver": "1.0"},
		"alice?client=spa&resource=middle":   {"azp": spaID, "aud": middleID, "scp": "access_as_user"},
		"frida?client=spa&resource=middle":   {"azp": spaID, "aud": middleID, "scp": "access_as_user", "tid": fabrikam},
		"middle":                             {"oid": appID("1"), "azp": middleID, "aud": todoID, "scp": nil, "roles": []any{"Read.All"}},
		"DAEMON":                             {"oid": appID("5"), "azp": daemonID, "aud": todoID, "roles": []any{"Read.All"}},
		daemonID:                             {"oid": appID("5"), "azp": daemonID, "aud": todoID, "roles": []any{"Read.All"}},
		"spa?resource=todo":                  {"oid": appID("3"), "azp": spaID, "aud": todoID, "roles": nil},
		"preset?client=daemon":               {"azp": daemonID, "aud": middleID, "scp": "access_as_user"},
		"preset?resource=todo&client=shared": {"azp": sharedID, "aud": todoID, "scp": "Read Write Admin"},
	} {
		status, token := k.preset(query)
		if status != http.StatusOK {
			t.Errorf("%s: got %d %s", query, status, token)
			continue
		}
		claims := claimsOf(t, token)
		for name, value := range want {
			if !reflect.DeepEqual(claims[name], value) {
				t.Errorf("%s: got %s %v, want %v", query, name, claims[name], value)
			}
		}
	}
	for _, row := range []struct {
		query  string
		status int
		want   string
	}{
		{"nobody", 404, "no preset, user or app has this name"},
		{"spa", 400, "the app is granted no app role: name an API"},
		{"alice?client=nobody", 400, `client: there is no app "nobody"`},
		{"alice?resource=nobody", 400, `resource: there is no app "nobody"`},
		{"alice?resource=foreign", 400, "no app is granted a scope for this user: name both"},
	} {
		if status, body := k.preset(row.query); status != row.status || !strings.HasPrefix(body, row.want) {
			t.Errorf("%s: got %d %s, want %d %s", row.query, status, body, row.status, row.want)
		}
	}
}

func TestPresetWithOverrides(t *testing.T) {
	k := start(t)
	now := float64(time.Now().Unix())
	near := func(seconds float64) func(any) bool {
		return func(value any) bool { return math.Abs(value.(float64)-now-seconds) < 60 }
	}
	is := func(want any) func(any) bool { return func(got any) bool { return reflect.DeepEqual(got, want) } }
	for _, row := range []struct {
		query, claim string
		want         func(any) bool
	}{
		{"exp=-200s", "exp", near(-200)},
		{"exp=-200s", "iat", near(-200 - 75*60)}, // as one that was good before
		{"exp=-200s&iat=-1h", "iat", near(-3600)},
		{"exp=-200s&nbf=5m", "nbf", near(300)},
		{"exp=2h", "iat", near(0)},
		{"exp=+2h", "exp", near(7200)}, // the plus sign is a space
		{"exp=4102444800", "exp", is(4102444800.0)},
		{"exp=", "exp", is(nil)},
		{"exp=%22soon%22", "exp", is("soon")},
		{"nbf=10m", "nbf", near(600)},
		{"scp=", "scp", is(nil)},
		{"scp=Read+Write", "scp", is("Read Write")},
		{"scp=Read%20Write", "scp", is("Read Write")},
		{"aud=api://other", "aud", is("api://other")},
		{"aud=a&aud=b", "aud", is([]any{"a", "b"})},
		{"roles=A,B", "roles", is([]any{"A", "B"})},
		{"roles=A", "roles", is([]any{"A"})},
		{"acrs=c1", "acrs", is([]any{"c1"})},
		{"ver=1.0", "ver", is("1.0")},
		{"aud=%5B%22a%22%5D", "aud", is([]any{"a"})},
		{"invented=%7B%22a%22:1%7D", "invented", is(map[string]any{"a": 1.0})},
		{"oid=&tid=x", "tid", is("x")},
		{"name=%22", "", nil},
		{"name=%7B%7D+1", "", nil},
		{"exp=soon", "", nil},
		{"exp=1e400s", "", nil},
		{"=x", "", nil},
		{"exp=%zz", "", nil},
		{"a;b=c", "", nil},
	} {
		status, body := k.preset("alice?" + row.query)
		if row.want == nil {
			if status != http.StatusBadRequest || len(body) < 20 || strings.Count(body, "\n") != 1 {
				t.Errorf("%s: got %d %q, want 400 and a sentence", row.query, status, body)
			}
			continue
		}
		if status != http.StatusOK {
			t.Errorf("%s: got %d %s", row.query, status, body)
		} else if got := claimsOf(t, body)[row.claim]; !row.want(got) {
			t.Errorf("%s: got %s %v", row.query, row.claim, got)
		}
	}
}
