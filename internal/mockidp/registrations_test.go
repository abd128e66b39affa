package mockidp_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"middletier/internal/testkit/certtest"
)

// register posts an entry, which must be taken, and returns the answer.
func (k kit) register(path, body string) map[string]any {
	k.t.Helper()
	status, answer := k.do("POST", path, "application/json", body)
	switch {
	case status == http.StatusNoContent:
		return nil
	case status != http.StatusOK:
		k.t.Fatalf("POST %s %s: got %d %s, want 200 or 204", path, body, status, answer)
	}
	return parse(k.t, answer)
}

// An app that a test registers gets tokens at once, with what it is granted.
func TestRegisteredAppGetsTokens(t *testing.T) {
	k := start(t)
	const newID = "dddddddd-0000-4000-8000-000000000001"
	daemon := form("grant_type", "client_credentials", "client_id", newID, "client_secret", "s1", "scope", "api://todo/.default")
	if status, _ := k.post(contoso, daemon); status == http.StatusOK {
		t.Fatal("the app gets a token before it is registered")
	}
	app := func(changes string) string {
		return `{"name": "new", "tenantId": "` + contoso + `", "clientId": "` + newID + `", "secrets": ["s1"]` + changes + `}`
	}
	registered := k.register("/mock/apps", app(""))
	if registered["name"] != "new" || registered["clientId"] != newID || len(registered["objectId"].(string)) != 36 {
		t.Errorf("got %v, want its ids", registered)
	}
	roles := func() any {
		status, body := k.post(contoso, daemon)
		if status != http.StatusOK {
			t.Errorf("got %d %v, want a token", status, body)
			return nil
		}
		return claimsOf(t, body["access_token"])["roles"]
	}
	if got := roles(); got != nil {
		t.Errorf("without a grant: got the roles %v", got)
	}
	k.register("/mock/grants", `{"client": "new", "resource": "todo", "roles": ["Read.All"]}`)
	if got := fmt.Sprint(roles()); got != "[Read.All]" {
		t.Errorf("with a grant: got the roles %v", got)
	}
	// A second POST of the same id replaces, under another name too.
	k.register("/mock/apps", strings.Replace(app(`, "idUris": ["api://new"]`), `"new"`, `"newer"`, 1))
	if got := fmt.Sprint(roles()); got != "[Read.All]" {
		t.Errorf("after a new name: got the roles %v, want those of the grant still", got)
	}
	k.register("/mock/grants", `{"client": "`+strings.ToUpper(newID)+`", "resource": "`+todoID+`"}`)
	if got := roles(); got != nil {
		t.Errorf("after a grant of nothing: got the roles %v, want none", got)
	}
	k.register("/mock/apps", strings.Replace(app(""), "s1", "s2", 1))
	if status, body := k.post(contoso, daemon); status != http.StatusUnauthorized {
		t.Errorf("the replaced secret: got %d %v, want 401", status, body)
	}
}

func TestRegisteredUserGetsTokens(t *testing.T) {
	k := start(t)
	carol := k.register("/mock/users", `{"name": "carol", "tenantId": "`+contoso+`"}`)
	if carol["username"] != "carol@contoso.example" {
		t.Errorf("got %v, want a username of name and domain", carol)
	}
	again := k.register("/mock/users", `{"name": "Carol", "tenantId": "`+contoso+`", "username": "c@contoso.example"}`)
	if again["objectId"] != carol["objectId"] || again["username"] != "c@contoso.example" {
		t.Errorf("a second POST: got %v, want the same user with another username", again)
	}
	token := func() string {
		_, token := k.preset("carol?client=spa&resource=middle")
		return token
	}
	exchange := k.obo("assertion", token(), "scope", "api://todo/Admin")
	if status, _ := k.post(contoso, exchange); status == http.StatusOK {
		t.Error("a scope that nobody consented to is issued")
	}
	k.register("/mock/grants", `{"client": "middle", "resource": "todo", "user": "carol", "scopes": ["Admin"]}`)
	if status, body := k.post(contoso, exchange); status != http.StatusOK {
		t.Errorf("after Carol's consent: got %d %v, want 200", status, body)
	}
	if status, _ := k.post(contoso, k.obo("scope", "api://todo/Admin")); status == http.StatusOK {
		t.Error("Carol's consent counts for Alice")
	}
	k.register("/mock/grants", `{"client": "middle", "resource": "todo", "user": "c@contoso.example"}`)
	if status, _ := k.post(contoso, exchange); status == http.StatusOK {
		t.Error("consent that was withdrawn counts")
	}
	alice := k.register("/mock/users", `{"name": "alice", "tenantId": "`+contoso+`"}`)
	if alice["objectId"] != aliceID {
		t.Errorf("alice without an id: got %v, want the user of this name", alice)
	}
}

func TestRegistrationsThatCannotBe(t *testing.T) {
	k := start(t)
	certificate, err := json.Marshal(string(certtest.New("web", certtest.NewEC()).CertificatePEM()))
	if err != nil {
		t.Fatal(err)
	}
	const app = `{"name": "new", "tenantId": "` + contoso + `", "clientId": "dddddddd-0000-4000-8000-000000000001"`
	for _, row := range []struct{ path, body, want string }{
		{"users", "", "it is empty"},
		{"users", " \n", "it is empty"},
		{"users", "{}", "name: must be set"},
		{"users", "{} {}", "body.json:1:4: is not valid JSON"},
		{"users", `{"name": "zoe"`, "is not valid JSON: the file ends too early"},
		{"users", "[]", "expected an object of keys and values, got a list"},
		{"users", `"zoe"`, "expected an object of keys and values, got text"},
		{"users", "name: zoe", "is not valid JSON"},
		{"users", "\x00\xff", "is neither UTF-8, nor UTF-16"},
		{"users", `{"nmae": "zoe"}`, `nmae: unknown key; did you mean "name"?`},
		{"users", `{"name": "zoe", "name": "eve"}`, "name: given twice"},
		{"users", `{"name": ["zoe"]}`, "name: expected a string, got a list"},
		{"users", `{"name": "zoe"}`, `tenantId: there is no tenant ""`},
		{"users", `{"name": "zoe", "tenantId": "` + contoso + `", "objectId": "1"}`, `objectId: must be a GUID, got "1"`},
		{"users", `{"name": "alice", "tenantId": "` + contoso + `", "objectId": "` + appID("9") + `"}`, `name: "alice" appears twice`},
		{"users", `{"name": "zoe", "tenantId": "` + contoso + `", "username": "alice@contoso.example"}`, `username: "alice@contoso.example" appears twice`},
		{"users", `{"name": "` + strings.Repeat("a", 1<<20) + `"}`, "too large"},
		{"users", strings.Repeat("[", 200) + strings.Repeat("]", 200), "is nested more than"},
		{"apps", "{}", "clientId: must be a GUID"},
		{"apps", app + `, "secrets": "my-secret"}`, "secrets: expected a list (the value is not shown"},
		{"apps", app + `, "certificates": ["x"]}`, "certificates[0]: must be one certificate in PEM"},
		{"apps", app + `, "certificates": [` + string(certificate) + `]}`, "certificates[0]: the certificate must have an RSA key"},
		{"apps", app + `, "federated": [{"issuer": "a", "subject": "b"}]}`, "federated[0].key: must be the issuer's public key"},
		{"apps", app + `, "redirectUris": {"spa": ["javascript:a"]}}`, "redirectUris.spa[0]: "},
		{"apps", app + `, "redirectUris": ["http://a"]}`, "redirectUris: expected a mapping"},
		{"apps", app + `, "idUris": ["api://todo"]}`, `idUris[0]: "api://todo" appears twice`},
		{"apps", app + `, "agents": [{"name": "a", "clientId": "` + appID("9") + `", "users": ["zoe"]}]}`, `agents[0].users[0]: no user has the username "zoe"`},
		{"apps", strings.Replace(app, "new", "todo", 1) + "}", `name: "todo" appears twice`},
		{"apps", strings.Replace(app, "dddddddd-0000-4000-8000-000000000001", todoID, 1) + "}", `grants[0].scopes[0]: app "new" exposes no scope "Read"`},
		{"grants", "{}", `client: there is no app ""`},
		{"grants", `{"client": "middle", "resource": "todo", "scopes": ["Fly"]}`, `scopes[0]: app "todo" exposes no scope "Fly"`},
		{"grants", `{"client": "middle", "resource": "todo", "scopes": "Read"}`, `scopes: expected a list, got "Read"`},
		{"grants", `{"client": "middle", "resource": "todo", "user": "zoe"}`, `user: there is no user "zoe"`},
	} {
		status, body := k.do("POST", "/mock/"+row.path, "application/json", row.body)
		if status != http.StatusBadRequest || !strings.Contains(string(body), row.want) || strings.Count(string(body), "\n") != 1 ||
			strings.Contains(string(body), "my-secret") {
			t.Errorf("POST /mock/%s %.80q:\ngot  %d %s\nwant 400 and one line with %s", row.path, row.body, status, body, row.want)
		}
	}
	if status, body := k.post(contoso, k.obo()); status != http.StatusOK {
		t.Errorf("after refused registrations: got %d %v, want 200", status, body)
	}
}

func TestResetReturnsToTheStart(t *testing.T) {
	k := start(t)
	_, body := k.post(contoso, k.obo("scope", "api://todo/.default offline_access"))
	refresh := form("grant_type", "refresh_token", "client_id", middleID, "client_secret", "s3cret",
		"refresh_token", fmt.Sprint(body["refresh_token"]))
	if status, body := k.post(contoso, refresh); status != http.StatusOK {
		t.Fatalf("refresh: got %d %v, want 200", status, body)
	}
	before := k.KeyID()
	k.register("/mock/users", `{"name": "carol", "tenantId": "`+contoso+`"}`)
	k.register("/mock/apps", `{"name": "middle", "tenantId": "`+contoso+`", "clientId": "`+middleID+`", "secrets": ["other"]}`)
	k.register("/mock/grants", `{"client": "middle", "resource": "todo"}`)
	k.register("/mock/keys", `{"publishOnly": true}`)
	k.register("/mock/faults", `{"drop": true}`)
	for range 2 {
		if status, body := k.do("POST", "/mock/reset", "", ""); status != http.StatusNoContent || len(body) > 0 {
			t.Fatalf("POST /mock/reset: got %d %s, want 204", status, body)
		}
		if got := len(k.Requests()); got != 0 {
			t.Errorf("got %d requests, want none", got)
		}
		if status, body := k.post(contoso, k.obo()); status != http.StatusOK {
			t.Errorf("exchange: got %d %v, want 200", status, body)
		}
		if status, body := k.post(contoso, refresh); status != http.StatusBadRequest || body["error"] != "invalid_grant" {
			t.Errorf("the refresh token of before: got %d %v, want invalid_grant", status, body)
		}
		if status, _ := k.preset("carol"); status != http.StatusNotFound {
			t.Errorf("carol: got %d, want 404", status)
		}
		if keys := k.get("/common/discovery/v2.0/keys")["keys"].([]any); len(keys) != 1 || k.KeyID() != before {
			t.Errorf("got %d keys, want the first", len(keys))
		}
	}
}

// A key that is published only signs after the next request for a key.
func TestManagementPublishesKeysBeforeTheySign(t *testing.T) {
	k := start(t)
	first := k.KeyID()
	next, afterNext := k.register("/mock/keys", `{"publishOnly": true}`)["kid"], k.register("/mock/keys", `{"publishOnly": true}`)["kid"]
	published := func() (ids []any) {
		for _, key := range k.get("/common/discovery/v2.0/keys")["keys"].([]any) {
			ids = append(ids, key.(map[string]any)["kid"])
		}
		return ids
	}
	if got := fmt.Sprint(published()); k.KeyID() != first || got != fmt.Sprint([]any{first, next, afterNext}) {
		t.Errorf("the key %s signs, and %s are published; want the first to sign, and all three", k.KeyID(), got)
	}
	if got := k.register("/mock/keys", `{}`)["kid"]; got != next || k.KeyID() != next {
		t.Errorf("got the key %v, and %s signs; want %v", got, k.KeyID(), next)
	}
	got := k.register("/mock/keys", `{"withdraw": true}`)["kid"]
	if got != afterNext || fmt.Sprint(published()) != fmt.Sprint([]any{afterNext}) {
		t.Errorf("got the key %v of %v, want only %v", got, published(), afterNext)
	}
	status, body := k.do("POST", "/mock/keys", "application/json", `{"publishOnly": true, "withdraw": true}`)
	if status != http.StatusBadRequest {
		t.Errorf("both: got %d %s, want 400", status, body)
	}
}

// A page of another origin must not drive the platform: a browser sends such requests
// without asking.
func TestManagementRefusesPagesOfOtherOrigins(t *testing.T) {
	k := start(t)
	for _, row := range []struct {
		name, value string
		want        int
	}{
		{"Sec-Fetch-Site", "cross-site", 403},
		{"Sec-Fetch-Site", "same-site", 403},
		{"Sec-Fetch-Site", "same-origin", 204},
		{"Sec-Fetch-Site", "none", 204},
		{"Origin", "http://localhost:3000", 403},
		{"Origin", "null", 403},
		{"Origin", k.URL(), 204},
		{"User-Agent", "curl", 204},
	} {
		request, err := http.NewRequest("POST", k.URL()+"/mock/reset", strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set(row.name, row.value)
		response, err := k.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != row.want {
			t.Errorf("%s: %s: got %d, want %d", row.name, row.value, response.StatusCode, row.want)
		}
	}
}

// A grant of an API that every tenant has, which is in no list, replaces none of another API.
func TestGrantOfGraphReplacesNoOther(t *testing.T) {
	k := start(t)
	k.register("/mock/grants", `{"client": "middle", "resource": "00000003-0000-0000-c000-000000000000", "scopes": ["User.Read"]}`)
	k.register("/mock/grants", `{"client": "middle", "resource": "`+strings.ToUpper(todoID)+`", "scopes": ["Admin"]}`)
	_, body := k.post(contoso, k.obo())
	if got := claimsOf(t, body["access_token"])["scp"]; got != "Admin" {
		t.Errorf("got the scopes %v, want those of the last grant", got)
	}
	for query, want := range map[string]string{
		"alice?client=middle&resource=00000003-0000-0000-c000-000000000000": "User.Read",
		"alice?client=middle&resource=ledger":                               "Read",
	} {
		if status, token := k.preset(query); status != http.StatusOK || claimsOf(t, token)["scp"] != want {
			t.Errorf("%s: got %d, want the scope %s", query, status, want)
		}
	}
}

// Registrations and tokens at once: each request sees one directory.
func TestRegistrationsDuringRequests(t *testing.T) {
	k := start(t)
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() {
			for n := range 5 {
				k.register("/mock/users", fmt.Sprintf(`{"name": "user-%d-%d", "tenantId": "%s"}`, i, n, contoso))
				k.register("/mock/apps", fmt.Sprintf(
					`{"name": "app-%d", "tenantId": "%s", "clientId": "dddddddd-0000-4000-8000-00000000000%d", "scopes": ["A"]}`, i, contoso, i))
				k.register("/mock/grants", fmt.Sprintf(`{"client": "app-%d", "resource": "todo", "scopes": ["Read"]}`, i))
			}
		})
		clients.Go(func() {
			for n := range 5 {
				k.register("/mock/grants", fmt.Sprintf(`{"client": "middle", "resource": "todo", "user": "alice", "scopes": ["%s"]}`,
					[]string{"Read", "Admin"}[n%2]))
				if status, body := k.post(contoso, k.obo()); status != http.StatusOK {
					t.Errorf("exchange: got %d %v, want 200", status, body)
				}
				k.preset("alice")
			}
		})
	}
	clients.Wait()
	for i := range 4 {
		if status, _ := k.preset(fmt.Sprintf("user-%d-4?client=app-%d&resource=todo", i, i)); status != http.StatusOK {
			t.Errorf("user-%d-4: got %d, want 200", i, status)
		}
	}
}

func TestResetsDuringRequests(t *testing.T) {
	k := start(t)
	var clients sync.WaitGroup
	for range 2 {
		clients.Go(func() {
			for range 5 {
				if status, body := k.do("POST", "/mock/reset", "", ""); status != http.StatusNoContent {
					t.Errorf("reset: got %d %s, want 204", status, body)
				}
			}
		})
		clients.Go(func() {
			for range 5 {
				k.register("/mock/users", `{"name": "carol", "tenantId": "`+contoso+`"}`)
				// Carol may be gone again.
				k.do("POST", "/mock/grants", "application/json", `{"client": "middle", "resource": "todo", "user": "carol", "scopes": ["Admin"]}`)
				if status, body := k.post(contoso, k.obo()); status != http.StatusOK {
					t.Errorf("exchange: got %d %v, want 200", status, body)
				}
			}
		})
	}
	clients.Wait()
}
