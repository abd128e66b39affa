package mockidp_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestManagementSignsTokens(t *testing.T) {
	k := start(t)
	status, body := k.do("POST", "/mock/tokens", "application/json", `{"claims":{"ver":"1.0","exp":1e3},"header":{"typ":null,"crit":["x"]}}`)
	token, _ := parse(t, body)["access_token"].(string)
	if status != http.StatusOK || claimsOf(t, token)["ver"] != "1.0" {
		t.Fatalf("POST /mock/tokens: got %d %s", status, body)
	}
	header := claimsOf(t, "."+token[:strings.IndexByte(token, '.')]+".")
	if header["alg"] != "RS256" || header["kid"] != k.KeyID() || header["x5t"] != k.KeyID() || header["typ"] != nil || header["crit"] == nil {
		t.Errorf("header: got %v", header)
	}
	k.AddPreset("alice", func() string { return k.UserToken("alice", "spa", "middle", "access_as_user") })
	_, preset := k.do("GET", "/mock/tokens/alice", "", "")
	if status, body := k.post(contoso, k.obo("assertion", strings.TrimSpace(string(preset)))); status != http.StatusOK {
		t.Errorf("exchange of a preset token: got %d %v, want 200", status, body)
	}
	if status, _ := k.do("GET", "/mock/tokens/bob", "", ""); status != http.StatusNotFound {
		t.Errorf("unknown preset: got %d, want 404", status)
	}
}

func TestManagementAddsAndClearsFaults(t *testing.T) {
	k := start(t)
	status, body := k.do("POST", "/mock/faults", "application/json", `{"flow":"client_credentials","delay":"1ms","error":"temporarily_unavailable","status":503,"error_codes":[90033]}`)
	if status != http.StatusNoContent {
		t.Fatalf("POST /mock/faults: got %d %s, want 204", status, body)
	}
	if status, body := k.post(contoso, k.daemon()); status != http.StatusServiceUnavailable || body["error"] != "temporarily_unavailable" {
		t.Errorf("faulty request: got %d %v, want 503", status, body)
	}
	k.do("DELETE", "/mock/faults", "", "")
	if status, body := k.post(contoso, k.daemon()); status != http.StatusOK {
		t.Errorf("after DELETE /mock/faults: got %d %v, want 200", status, body)
	}
}

func TestManagementRefusesWhatItDoesNotKnow(t *testing.T) {
	k := start(t)
	for _, c := range []struct{ path, body string }{
		{"/mock/faults", `{"flows":"keys"}`},
		{"/mock/faults", `{"delay":"soon"}`},
		{"/mock/faults", `{"status":99}`},
		{"/mock/faults", `{"error":"a","body":"b"}`},
		{"/mock/faults", `{"claims":"{}"}`},
		{"/mock/faults", `{} {}`},
		{"/mock/faults", `{"body":"` + strings.Repeat("a", 1<<20) + `"}`},
		{"/mock/tokens", `{"claims":[]}`},
		{"/mock/tokens", `{}`},
		{"/mock/tokens", `{"claims":{},"alg":"none"}`},
	} {
		if status, body := k.do("POST", c.path, "application/json", c.body); status != http.StatusBadRequest {
			t.Errorf("POST %s %.40s: got %d %s, want 400", c.path, c.body, status, body)
		}
	}
	if status, _ := k.do("GET", "/mock/else", "", ""); status != http.StatusNotFound {
		t.Errorf("GET /mock/else: got %d, want 404", status)
	}
}

func TestManagementShowsRequestsWithoutSecrets(t *testing.T) {
	k := start(t)
	k.post(contoso, k.daemon())
	_, body := k.do("GET", "/mock/requests", "", "")
	if text := string(body); strings.Contains(text, "s3cret") || !strings.Contains(text, `"client_secret":["***"]`) || !strings.Contains(text, `"flow":"client_credentials"`) {
		t.Errorf("GET /mock/requests: got %s", body)
	}
	if got := k.Requests()[0].Form.Get("client_secret"); got != "s3cret" {
		t.Errorf("the record itself: got %q, want the secret as it came", got)
	}
	k.do("DELETE", "/mock/requests", "", "")
	if _, body := k.do("GET", "/mock/requests", "", ""); strings.TrimSpace(string(body)) != "[]" {
		t.Errorf("after DELETE: got %s, want []", body)
	}
}
