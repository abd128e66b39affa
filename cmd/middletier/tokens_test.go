package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"middletier/internal/mockidp"
)

// Claims that an API and the provider ask for. In base64 the first has letters
// that the two alphabets write differently.
const (
	apiClaims      = `{"access_token":{"nbf":{"essential":true,"value":"1>>>???"}}}`
	providerClaims = `{"access_token":{"acrs":{"essential":true,"value":"c2"}}}`
)

// challengeFor is a WWW-Authenticate header of an API that asks for claims.
func challengeFor(claims string) string {
	return `Bearer realm="", authorization_uri="https://login.example/common/oauth2/authorize", error="insufficient_claims", claims="` +
		base64.StdEncoding.EncodeToString([]byte(claims)) + `"`
}

// challenges lets the API refuse the token of its next request, for as long as
// that one comes, with header values; or every token.
func (w *world) challenges(every bool, headers ...string) {
	refused := ""
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		token := r.Header.Get("Authorization")
		if refused == "" {
			refused = token
		}
		if every || token == refused {
			rw.Header()["Www-Authenticate"] = headers
			rw.WriteHeader(http.StatusUnauthorized)
		}
	})
}

// asked returns the claims of the last request to the token endpoint, without
// what we declare in each.
func (w *world) asked() (claims map[string]map[string]any) {
	w.t.Helper()
	for _, r := range w.idp.Requests() {
		if r.Flow != "on_behalf_of" && r.Flow != "client_credentials" {
			continue
		}
		claims = nil
		if err := json.Unmarshal([]byte(r.Form.Get("claims")), &claims); err != nil {
			w.t.Fatalf("claims of the exchange: %v in %s", err, r.Form.Get("claims"))
		}
	}
	if claims["access_token"]["xms_cc"] == nil {
		w.t.Errorf("claims of the exchange: got %v, want xms_cc in them", claims)
	}
	delete(claims["access_token"], "xms_cc")
	if len(claims["access_token"]) == 0 {
		delete(claims, "access_token")
	}
	return claims
}

func parsed(t *testing.T, claims string) (parsed map[string]map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(claims), &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}

// simple is alice's token without the declaration that her client answers claims
// challenges.
func (w *world) simple() string {
	claims := w.idp.UserClaims("alice", "app", "middletier", "ToDoList.ReadWrite")
	delete(claims, "xms_cc")
	return w.idp.Sign(claims)
}

// If an API requests claims, the exchange is repeated with them, and the call with
// the new token.
func TestClaimsChallengeOfAnAPIIsAnswered(t *testing.T) {
	t.Parallel()
	encoded := base64.StdEncoding.EncodeToString([]byte(apiClaims))
	url := base64.URLEncoding.EncodeToString([]byte(apiClaims))
	bearer := `Bearer error="insufficient_claims", claims="`
	for name, headers := range map[string][]string{
		"as Microsoft writes it":  {challengeFor(apiClaims)},
		"URL alphabet":            {bearer + url + `"`},
		"without padding":         {bearer + strings.TrimRight(encoded, "=") + `"`},
		"URL, without padding":    {bearer + strings.TrimRight(url, "=") + `"`},
		"in other cases":          {strings.NewReplacer("Bearer", "bEARER", "error=", "ERROR=", "claims=", "Claims=").Replace(challengeFor(apiClaims))},
		"spaces":                  {`Bearer   error = "insufficient_claims" ,  claims = "` + encoded + `"`},
		"not quoted":              {`Bearer error=insufficient_claims, claims=` + url},
		"after another, one line": {`Basic realm="a, \"b\", Bearer claims=x", Negotiate abc==, ` + challengeFor(apiClaims)},
		"before another":          {challengeFor(apiClaims) + `, PoP realm="x", error="insufficient_claims", claims="eyJ4Ijp7fX0="`},
		"in the second header":    {`Basic realm="x"`, challengeFor(apiClaims)},
		"after an expired one":    {`Bearer error="invalid_token"`, challengeFor(apiClaims)},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.challenges(false, headers...)
			r := w.call("POST", "/api/todo/items", w.alice(), `{"title":"x"}`)
			if r.StatusCode != 200 || len(w.api.seen()) != 2 || w.exchanges() != 2 {
				t.Fatalf("got %d %s after %d calls and %d exchanges; want 200, 2, 2", r.StatusCode, r.body, len(w.api.seen()), w.exchanges())
			}
			if got := w.asked(); !reflect.DeepEqual(got, parsed(t, apiClaims)) {
				t.Errorf("claims of the exchange: got %v, want the API's", got)
			}
			if r := w.call("GET", "/api/todo/items", w.bob(), ""); r.StatusCode != 200 {
				t.Errorf("another user: got %d", r.StatusCode)
			}
		})
	}
}

// A challenge that cannot be read requests nothing: the token is replaced, and then
// the API has refused two.
func TestChallengesThatAskForNothing(t *testing.T) {
	t.Parallel()
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	with := func(claims string) string { return `Bearer error="insufficient_claims", claims="` + claims + `"` }
	for name, header := range map[string]string{
		"none": "", "no claims": `Bearer error="insufficient_claims"`, "empty": with(""), "not base64": with("%%%"), "spaces": with("e y J"),
		"not JSON": with(encode("hello")), "an array": with(encode("[]")), "an empty object": with(encode("{}")), "null": with(encode("null")),
		"numbers": with(encode(`{"access_token":1}`)), "a null member": with(encode(`{"access_token":null}`)), "two documents": with(encode(`{"a":{}}{"b":{}}`)),
		"not UTF-8": with(encode("{\"a\":{\"\xff\":1}}")), "what the client can do": with(encode(`{"access_token":{"xms_cc":{"values":["cp9"]}}}`)),
		"200 KiB": with(encode(`{"access_token":{"x":"` + strings.Repeat("x", 150<<10) + `"}}`)), "deep": with(encode(strings.Repeat(`{"a":`, 9000))),
		"another scheme": `Bearer, PoP error="insufficient_claims", claims="` + encode(apiClaims) + `"`,
		"unclosed quote": `Bearer error="insufficient_claims", claims="` + encode(apiClaims), "unclosed before": `Bearer realm="x, error="insufficient_claims", claims="` + encode(apiClaims),
		"parameters of nothing": `error="insufficient_claims", claims="` + encode(apiClaims) + `"`, "commas": strings.Repeat(",", 1000), "backslash at the end": `Bearer claims="\`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.challenges(true, header)
			r := w.call("GET", "/api/todo/items", w.alice(), "")
			if r.StatusCode != 502 || r.kind() != "downstream-rejected-token" || w.exchanges() != 2 {
				t.Errorf("got %d %s after %d exchanges, want 502 downstream-rejected-token after 2", r.StatusCode, r.body, w.exchanges())
			}
			if got := w.asked(); len(got) != 0 {
				t.Errorf("claims of the exchange: got %v, want none", got)
			}
		})
	}
}

// wantChallenge checks that an answer passes claims on to the caller.
func (w *world) wantChallenge(r *reply, claims string) {
	w.t.Helper()
	want := `claims="` + base64.StdEncoding.EncodeToString([]byte(claims)) + `"` + w.leadsTo("/api/todo")
	if r.StatusCode != 401 || r.kind() != "claims-challenge" || !strings.HasSuffix(r.Header.Get("WWW-Authenticate"), want) {
		w.t.Errorf("got %d %s, %s; want 401 claims-challenge, %s", r.StatusCode, r.kind(), r.Header.Get("WWW-Authenticate"), want)
	}
}

func TestRefusedClaimsGoUpToTheCaller(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, provider, want string
	}{{"the provider's are newer", providerClaims, providerClaims}, {"the provider has none", "", apiClaims}} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			alice, simple := w.alice(), w.simple()
			for _, token := range []string{alice, simple} {
				if r := w.call("GET", "/api/todo/items", token, ""); r.StatusCode != 200 {
					t.Fatalf("got %d %s, want 200", r.StatusCode, r.body)
				}
			}
			w.challenges(true, challengeFor(apiClaims))
			w.idp.AddFault(mockidp.Fault{Flow: "on_behalf_of", Error: "interaction_required", Claims: row.provider})
			for range 3 { // a client in a loop
				w.wantChallenge(w.call("GET", "/api/todo/items", alice, ""), row.want)
				if r := w.call("GET", "/api/todo/items", simple, ""); r.StatusCode != 401 || r.kind() != "interaction-required" ||
					r.Header.Get("WWW-Authenticate") != `Bearer error="interaction_required"`+w.leadsTo("/api/todo") {
					t.Errorf("without cp1: got %d %s, %s; want 401 interaction-required", r.StatusCode, r.kind(), r.Header.Get("WWW-Authenticate"))
				}
			}
			if got := w.exchanges(); got != 4 {
				t.Errorf("got %d exchanges, want 2 of each token", got)
			}
		})
	}
}

// The provider has issued a token for the claims, and the API requests them again.
func TestSecondChallengeGoesUpToTheCaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	calls := 0
	w.api.handle(func(rw http.ResponseWriter, _ *http.Request) {
		calls++
		rw.Header().Set("WWW-Authenticate", challengeFor(fmt.Sprintf(`{"access_token":{"nbf":{"value":"%d"}}}`, calls)))
		rw.WriteHeader(http.StatusUnauthorized)
	})
	w.wantChallenge(w.call("GET", "/api/todo/items", w.alice(), ""), `{"access_token":{"nbf":{"value":"2"}}}`)
	if calls != 2 || w.exchanges() != 2 {
		t.Errorf("%d calls and %d exchanges, want 2 and 2", calls, w.exchanges())
	}
	if r := w.call("GET", "/api/todo/items", w.simple(), ""); r.StatusCode != 401 || r.kind() != "interaction-required" {
		t.Errorf("without cp1: got %d %s, want 401 interaction-required", r.StatusCode, r.kind())
	}
	daemon := w.idp.AppClaims("daemon", "middletier", "ToDoList.Read.All")
	delete(daemon, "xms_cc")
	if r := w.call("GET", "/app/todo/items", w.idp.Sign(daemon), ""); r.StatusCode != 502 || r.kind() != "downstream-rejected-token" {
		t.Errorf("without a user: got %d %s, want 502 downstream-rejected-token", r.StatusCode, r.kind())
	}
}

func TestSignout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob := w.alice(), w.bob()
	call := func(token string, exchanges int) {
		t.Helper()
		if r := w.call("GET", "/api/todo/items", token, ""); r.StatusCode != 200 || w.exchanges() != exchanges {
			t.Errorf("got %d after %d exchanges, want 200 after %d", r.StatusCode, w.exchanges(), exchanges)
		}
	}
	call(alice, 1)
	call(bob, 2)
	for range 2 { // once more is as good
		if r := w.call("POST", "/signout", alice, ""); r.StatusCode != 204 || r.body != "" {
			t.Errorf("got %d %q, want 204 and nothing", r.StatusCode, r.body)
		}
	}
	call(bob, 2)
	call(alice, 3)
	call(alice, 3)
	for _, row := range []struct {
		method, token string
		status        int
		kind          string
	}{
		{"POST", "", 401, "missing-token"},
		{"POST", "x", 401, "invalid-token"},
		{"POST", w.daemon(), 403, "wrong-token-type"},
		{"GET", alice, 405, "method-not-allowed"},
	} {
		if r := w.call(row.method, "/signout", row.token, ""); r.StatusCode != row.status || r.kind() != row.kind {
			t.Errorf("%s: got %d %s, want %d %s", row.method, r.StatusCode, r.kind(), row.status, row.kind)
		} else if row.status == 405 && r.Header.Get("Allow") != "OPTIONS, POST" {
			t.Errorf("Allow: got %q, want OPTIONS, POST", r.Header.Get("Allow"))
		}
	}
	call(alice, 3)
}
