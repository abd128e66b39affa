package mockidp_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// What the metadata lists works: no endpoint is unknown, and every response type arrives in
// every mode that fits it.
func TestMetadataListsWhatWorks(t *testing.T) {
	k := start(t)
	document := k.get("/" + contoso + "/v2.0/.well-known/openid-configuration")
	for name, value := range document {
		address, _ := value.(string)
		if !strings.HasSuffix(name, "_endpoint") && name != "jwks_uri" {
			continue
		}
		if status, body := k.do("GET", strings.TrimPrefix(address, k.URL()), "", ""); status == http.StatusNotFound {
			t.Errorf("%s %s: got %d %s", name, address, status, body)
		}
	}
	u := k.user()
	u.signIn(contoso, asSPA(), aliceID)
	for _, types := range document["response_types_supported"].([]any) {
		for _, mode := range document["response_modes_supported"].([]any) {
			answer := u.open(contoso, asSPA("response_type", types.(string), "response_mode", mode.(string)))
			_, response := answer.response(t)
			wantCode, wantID := strings.Contains(types.(string), "code"), strings.Contains(types.(string), "id_token")
			if mode == "query" && wantID {
				if response.Get("error") != "invalid_request" {
					t.Errorf("%s by query: got %v, want a refusal", types, response)
				}
				continue
			}
			if response.Has("code") != wantCode || response.Has("id_token") != wantID || response.Get("state") != "a state" {
				t.Errorf("%s by %s: got %v", types, mode, response)
			}
			if wantID {
				claims := claimsOf(t, response.Get("id_token"))
				if claims["nonce"] != "a nonce" || (claims["c_hash"] != nil) != wantCode {
					t.Errorf("%s by %s: ID token: got %v", types, mode, claims)
				}
			}
		}
	}
	for _, scope := range document["scopes_supported"].([]any) {
		if _, response := u.open(contoso, asSPA("scope", "openid "+scope.(string))).response(t); !response.Has("code") {
			t.Errorf("scope %s: got %v", scope, response)
		}
	}
	old := k.get("/" + contoso + "/.well-known/openid-configuration")
	if old["authorization_endpoint"] != nil || old["token_endpoint"] != nil {
		t.Errorf("version 1: got %v, want no endpoint that does not exist", old)
	}
}

// A client may also send its secret as HTTP Basic, form-encoded.
func TestSecretByBasicAuthentication(t *testing.T) {
	directory := testDirectory()
	directory.Apps[0].Secrets = []string{"a:b %+ü"}
	k := startWith(t, directory)
	basic := func(id, secret string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
	}
	for name, row := range map[string]struct {
		authorization string
		form          url.Values
		want          string // "": it works
	}{
		"alone":            {basic(middleID, "a:b %+ü"), k.daemon("client_id", "", "client_secret", ""), ""},
		"with the same id": {basic(middleID, "a:b %+ü"), k.daemon("client_secret", ""), ""},
		"wrong":            {basic(middleID, "x"), k.daemon("client_secret", ""), "AADSTS7000215"},
		"in both places":   {basic(middleID, "a:b %+ü"), k.daemon(), "AADSTS70002"},
		"another id":       {basic(daemonID, "daemon"), k.daemon("client_secret", ""), "AADSTS70002"},
		"badly encoded":    {"Basic " + base64.StdEncoding.EncodeToString([]byte("%zz:x")), k.daemon("client_secret", ""), "AADSTS9000411"},
		"another scheme":   {"Bearer abc", k.daemon("client_secret", ""), "AADSTS7000218"},
	} {
		got := k.user().send("POST", "/"+contoso+"/oauth2/v2.0/token", row.form, "Authorization", row.authorization)
		if (got.status == http.StatusOK) != (row.want == "") || !strings.Contains(got.body, row.want) {
			t.Errorf("%s: got %d %s, want %s", name, got.status, got.body, row.want)
		}
	}
}
