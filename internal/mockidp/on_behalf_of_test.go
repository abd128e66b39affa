package mockidp_test

import (
	"net/http"
	"strings"
	"testing"
)

// The refresh token of an exchange is the client's, and gets tokens of the user for its other
// resources too.
func TestOnBehalfOfRefreshes(t *testing.T) {
	k := start(t)
	_, body := k.post(contoso, k.obo("scope", "api://todo/Read openid offline_access", "client_info", "1"))
	token, _ := body["refresh_token"].(string)
	refresh := func(changes ...string) (int, map[string]any) {
		return k.post(contoso, change(form("grant_type", "refresh_token", "client_id", middleID, "client_secret", "s3cret",
			"refresh_token", token, "scope", "api://ledger/Read openid"), changes))
	}
	status, body := refresh()
	if status != http.StatusOK || body["refresh_token"] == nil || body["refresh_token"] == token {
		t.Fatalf("refresh: got %d %v, want 200 and a new refresh token", status, body)
	}
	wantClaims(t, "for the ledger", body["access_token"], map[string]any{
		"aud": "api://ledger", "upn": "alice@contoso.example", "appid": middleID,
	})
	wantClaims(t, "ID token", body["id_token"], map[string]any{"aud": middleID, "oid": aliceID, "tid": contoso})
	signed := k.assertion(map[string]any{"aud": k.URL() + "/organizations/oauth2/v2.0/token"})
	common := form("grant_type", "refresh_token", "client_id", middleID, "refresh_token", token, "scope", "api://todo/Read",
		"client_assertion_type", byJWT, "client_assertion", signed)
	if status, body := k.post("organizations", common); status != http.StatusOK {
		t.Errorf("on organizations, by certificate: got %d %v, want 200", status, body)
	}
	for name, changes := range map[string][]string{
		"another client": {"client_id", daemonID, "client_secret", "daemon"},
		"not granted":    {"scope", "api://todo/Admin"},
		"no secret":      {"client_secret", ""},
	} {
		if status, body := refresh(changes...); status == http.StatusOK {
			t.Errorf("%s: got %v, want a refusal", name, body)
		}
	}
}

// An exchange cannot meet an authentication context: the user's client must step up, and the
// answer says to what. With a token that has met it the exchange works, and its refresh token
// remembers.
func TestOnBehalfOfAsksToStepUp(t *testing.T) {
	k := start(t)
	asks := `{"access_token":{"acrs":{"essential":true,"value":"c1"},"xms_cc":{"values":["cp1"]}}}`
	status, body := k.post(contoso, k.obo("claims", asks))
	claims, _ := body["claims"].(string)
	if status != http.StatusBadRequest || body["error"] != "interaction_required" || body["suberror"] != "basic_action" ||
		!strings.Contains(claims, `"acrs":{"essential":true,"value":"c1"}`) {
		t.Errorf("context not met: got %d %v, want 400 interaction_required and the claims", status, body)
	}
	steppedUp := k.UserClaims("alice", "spa", "middle")
	steppedUp["acrs"] = []string{"c1", "c2"}
	status, body = k.post(contoso, k.obo("claims", asks, "assertion", k.Sign(steppedUp), "scope", "api://todo/Read offline_access"))
	if status != http.StatusOK {
		t.Fatalf("context met: got %d %v, want 200", status, body)
	}
	wantClaims(t, "stepped up", body["access_token"], map[string]any{"acrs": "[c1 c2]", "xms_cc": "[cp1]"})
	token, _ := body["refresh_token"].(string)
	again := form("grant_type", "refresh_token", "client_id", middleID, "client_secret", "s3cret",
		"refresh_token", token, "scope", "api://todo/Read", "claims", asks)
	if status, body := k.post(contoso, again); status != http.StatusOK {
		t.Errorf("refresh: got %d %v, want 200", status, body)
	}
	again.Set("claims", strings.ReplaceAll(asks, "c1", "c3"))
	if status, body := k.post(contoso, again); status != http.StatusBadRequest || body["error"] != "interaction_required" {
		t.Errorf("refresh for another context: got %d %v, want 400 interaction_required", status, body)
	}
}
