package main

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// validated is the answer of /Validate.
type validated struct {
	Protocol, Token string
	Claims          map[string]any
}

func (w *world) validate(t *testing.T, token string) validated {
	t.Helper()
	r := w.beside("GET", "/Validate?AgentIdentity=x&optionsOverride.Nope=y", token)
	var answer validated
	if err := json.Unmarshal([]byte(r.body), &answer); err != nil || r.StatusCode != 200 {
		t.Fatalf("got %d %s, want 200", r.StatusCode, r.body)
	}
	return answer
}

// The claims are the payload as it came; what the query says does not matter.
func TestSidecarValidates(t *testing.T) {
	w := newSidecar(t)
	for name, token := range map[string]string{"a user": w.alice(), "an application": w.daemon()} {
		got := w.validate(t, token)
		claims := jwt.MapClaims{}
		if _, _, err := jwt.NewParser().ParseUnverified(token, claims); err != nil {
			t.Fatal(err)
		}
		if got.Protocol != "Bearer" || got.Token != token || !reflect.DeepEqual(got.Claims, map[string]any(claims)) {
			t.Errorf("%s: got %+v, want %v", name, got, claims)
		}
	}
	if n := w.exchanges(); n != 0 {
		t.Errorf("validation cost %d exchanges", n)
	}
}

// A claim with characters that JSON may escape, and a number beyond a float's precision,
// stay what they are.
func TestSidecarValidateKeepsClaims(t *testing.T) {
	w := newSidecar(t)
	const name = "<b>&\"'é\u2028"
	claims := w.idp.UserClaims("alice", "app", "middletier")
	claims["name"], claims["extra"] = name, json.Number("12345678901234567890")
	r := w.beside("GET", "/Validate", w.idp.Sign(claims))
	var answer struct {
		Claims struct {
			Name  string
			Extra json.Number
		}
	}
	err := json.Unmarshal([]byte(r.body), &answer)
	if err != nil || answer.Claims.Name != name || answer.Claims.Extra != "12345678901234567890" {
		t.Errorf("got %+v, %v from %s", answer, err, r.body)
	}
}

// sidecar.scopes are what a user needs on /Validate, any one; applications have none.
func TestSidecarValidateScopes(t *testing.T) {
	w := newSidecar(t, func(f *file) { f.Sidecar.Scopes = []string{"Other.Read", "ToDoList.ReadWrite"} })
	w.validate(t, w.alice())
	r := w.beside("GET", "/Validate", w.bob())
	if r.StatusCode != 403 || r.kind() != "insufficient-scope" || len(r.problem.Scopes) != 2 || r.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("a user without the scope: got %d %s", r.StatusCode, r.body)
	}
	if r := w.beside("GET", "/Validate", w.daemon()); r.StatusCode != 403 || r.kind() != "wrong-token-type" {
		t.Errorf("an application: got %d %s, want 403", r.StatusCode, r.body)
	}
	for _, token := range []string{w.bob(), w.alice()} { // the other routes do not ask
		if r := w.beside("GET", headerPath("todo"), token); r.StatusCode != 200 {
			t.Errorf("got %d %s, want 200", r.StatusCode, r.body)
		}
	}
}

// An application that is listed needs no roles here, as with Microsoft's key of that name;
// others do, and so does everybody on the public listener.
func TestSidecarListedApplicationsNeedNoRoles(t *testing.T) {
	listed := func(f *file) { f.AzureAd.AllowACL, f.AzureAd.AllowedClients = true, []string{demoDaemon, demoApp} }
	w := newSidecar(t, listed, withOpenGates)
	roleFree := w.idp.AppToken("daemon", "middletier")
	w.validate(t, roleFree)
	if r := w.beside("GET", headerPath("todo", option("RequestAppToken", "true")), roleFree); r.StatusCode != 200 {
		t.Errorf("a token of ours: got %d %s, want 200", r.StatusCode, r.body)
	}
	if r := w.beside("GET", headerPath("todo"), roleFree); r.StatusCode != 403 || r.kind() != "wrong-token-type" {
		t.Errorf("a user's: got %d %s, want 403", r.StatusCode, r.body)
	}
	if r := w.call("GET", "/app/todo/items", roleFree, ""); r.StatusCode != 401 {
		t.Errorf("/app: got %d %s, want 401", r.StatusCode, r.body)
	}
	if r := w.beside("GET", "/Validate", w.idp.AppToken("other", "middletier")); r.StatusCode != 401 {
		t.Errorf("an application that is not listed, without roles: got %d %s, want 401", r.StatusCode, r.body)
	}
	unlisted := w.idp.AppToken("other", "middletier", "ToDoList.Read.All")
	if r := w.beside("GET", "/Validate", unlisted); r.StatusCode != 403 || r.kind() != "caller-not-allowed" {
		t.Errorf("an application that is not listed: got %d %s, want 403", r.StatusCode, r.body)
	}
	w.validate(t, w.alice())
	usual := newSidecar(t)
	if r := usual.beside("GET", "/Validate", usual.idp.AppToken("daemon", "middletier")); r.StatusCode != 401 {
		t.Errorf("without the key: got %d %s, want 401", r.StatusCode, r.body)
	}
}
