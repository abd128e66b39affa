package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"middletier/internal/testkit/tokentest"
	"middletier/internal/validate"
)

// sentences are the details that callers receive for each reason.
var sentences = map[validate.Reason]string{
	validate.Malformed:   "The token is malformed.",
	validate.BadSig:      "The token's signature was not made with a current key of the identity provider.",
	validate.WrongIssuer: "The token was issued by another issuer or tenant.",
	validate.WrongAud: "The token was issued for another audience. " +
		"Request an access token with a scope of this service, which its metadata lists.",
	validate.ForGraph: "The token is for Microsoft Graph. " +
		"Request an access token with a scope of this service, which its metadata lists.",
	validate.IDToken: "The token is an ID token. " +
		"Request an access token with a scope of this service, which its metadata lists.",
	validate.Expired:     "The token has expired.",
	validate.NotYetValid: "The token is not valid yet.",
	validate.NotAccess:   "The token is not an access token with scopes or app permissions.",
}

// tokens makes tokens of Alice's and the daemon's. elsewhere may be "".
func (w *world) tokens(elsewhere string) *tokentest.Source {
	return &tokentest.Source{
		IDP:       w.idp,
		User:      func() map[string]any { return w.idp.UserClaims("alice", "app", "middletier", "ToDoList.Read") },
		App:       func() map[string]any { return w.idp.AppClaims("daemon", "middletier", "ToDoList.Read.All") },
		Elsewhere: elsewhere,
	}
}

// countingServer returns the URL of a server, and how often anyone connected.
func countingServer(t *testing.T) (url string, connections *atomic.Int32) {
	connections = &atomic.Int32{}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, connections
}

// awaitKeysOfV1 waits for the keys of v1.0 too, and returns how often keys were
// fetched so far.
func (w *world) awaitKeysOfV1() int {
	w.t.Helper()
	token := w.tokens("").UserDraft().Token(tokentest.V1)
	deadline := time.Now().Add(10 * time.Second)
	for ; w.call("GET", "/api/nothing/", token, "").StatusCode != 404; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatal("no keys of v1.0")
		}
	}
	return w.idp.Count("keys")
}

// lastError is the error in the newest line of the log.
func (w *world) lastError() string {
	text := strings.TrimSuffix(w.log.String(), "\n")
	var line struct{ Error string }
	if err := json.Unmarshal([]byte(text[strings.LastIndexByte(text, '\n')+1:]), &line); err != nil {
		w.t.Fatal(err)
	}
	return line.Error
}

// Every hostile token is refused for its own fault. It causes no request to the
// token endpoint, to the API or to a server that it names, and at most one fetch of
// keys in 30 seconds.
func TestHostileTokensAreRefused(t *testing.T) { hostileTokensAreRefused(t, func(*file) {}, nil) }

// hostileTokensAreRefused refuses the foreign ones for their tenant. It is nil where
// there is one tenant.
func hostileTokensAreRefused(t *testing.T, configure func(*file), foreign []string) {
	w := newWorld(t, configure)
	elsewhere, connections := countingServer(t)
	source := w.tokens(elsewhere)
	fetched, began := w.awaitKeysOfV1(), time.Now()
	for _, row := range tokentest.Refusals() {
		t.Run(row.Name, func(t *testing.T) {
			status, kind := 401, "invalid-token"
			challenge := fmt.Sprintf(`Bearer error="invalid_token", error_description=%q`, sentences[row.Reason])
			metadata := map[string]string{"/api/todo/items": w.leadsTo("/api/todo"), "/app/todo/items": w.leadsTo("")}
			if row.Reason == validate.TooLong { // another token would be as long
				status, kind, challenge = 431, "headers-too-large", ""
			}
			if slices.Contains(foreign, row.Name) {
				status, kind, challenge = 403, "tenant-not-allowed", ""
			}
			token := source.UserDraft().Token(row.Change)
			for path, metadata := range metadata {
				challenge := challenge
				if status == 401 {
					challenge += metadata
				}
				r := w.call("GET", path, token, "")
				if got := r.Header.Get("WWW-Authenticate"); r.StatusCode != status || r.kind() != kind || got != challenge {
					t.Errorf("%s: got  %d %s %s\nwant %d %s %s", path, r.StatusCode, r.kind(), got, status, kind, challenge)
				}
				if got := w.lastError(); foreign == nil && !strings.Contains(got, row.Says) {
					t.Errorf("%s: the log says %q, want it to say %q", path, got, row.Says)
				}
			}
			if n := w.exchanges() + len(w.api.seen()) + int(connections.Load()); n != 0 {
				t.Fatalf("%d exchanges, %d requests to the API, %d connections to %s; want none",
					w.exchanges(), len(w.api.seen()), connections.Load(), elsewhere)
			}
		})
	}
	if n, most := w.idp.Count("keys")-fetched, 1+int(time.Since(began)/(30*time.Second)); n < 1 || n > most {
		t.Errorf("%d fetches of keys in %s, want one in 30 s at most", n, time.Since(began))
	}
	if r := w.call("GET", "/api/todo/items", source.UserDraft().Token(), ""); r.StatusCode != 200 {
		t.Errorf("a good token: got %d %s", r.StatusCode, r.body)
	}
}

// If tokens are encrypted, callers can change nothing: log and problem page tell
// operators what to change.
func TestEncryptedTokenIsExplainedToOperators(t *testing.T) {
	w := newWorld(t)
	r := w.call("GET", "/api/todo/items", w.alice()+".AAAA.AAAA", "")
	if r.StatusCode != 401 || r.kind() != "invalid-token" || r.problem.Detail != sentences[validate.Malformed] {
		t.Errorf("got %d %s", r.StatusCode, r.body)
	}
	logged := w.lastError()
	page := w.call("GET", "/problems/invalid-token", "", "")
	for where, text := range map[string]string{"log": logged, "problem page": page.body} {
		if !strings.Contains(text, "tokenEncryptionKeyId") || !strings.Contains(text, "encrypted") {
			t.Errorf("%s: got %q, want it to name tokenEncryptionKeyId", where, text)
		}
	}
}

// Every kind of valid token is exchanged, and the call is forwarded.
func TestGoodTokensOfEveryKindAreServed(t *testing.T) {
	t.Parallel()
	goodTokensOfEveryKindAreServed(t, func(*file) {})
}

func goodTokensOfEveryKindAreServed(t *testing.T, configure func(*file)) {
	w := newWorld(t, configure)
	w.awaitKeysOfV1()
	source := w.tokens("https://elsewhere.example")
	for _, row := range tokentest.Acceptances() {
		t.Run(row.Name, func(t *testing.T) {
			mine, other := "/api/todo/items", "/app/todo/items"
			if row.App {
				mine, other = other, mine
			}
			token := source.UserDraft().Token(row.Change)
			if r := w.call("GET", mine, token, ""); r.StatusCode != 200 {
				t.Errorf("%s: got %d %s; the log says %q", mine, r.StatusCode, r.body, w.lastError())
			}
			if r := w.call("GET", other, token, ""); r.StatusCode != 403 || r.kind() != "wrong-token-type" {
				t.Errorf("%s: got %d %s, want 403 wrong-token-type", other, r.StatusCode, r.body)
			}
			if r := w.call("POST", mine, token, "{}"); r.StatusCode != 403 || r.kind() != "insufficient-scope" {
				t.Errorf("a write: got %d %s, want 403 insufficient-scope", r.StatusCode, r.body)
			}
		})
	}
}
