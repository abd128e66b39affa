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
}

func TestManagementAddsAndClearsFaults(t *testing.T) {
	k := start(t)
	status, body := k.do("POST", "/mock/faults", "application/json",
		`{"flow":"client_credentials","delay":"1ms","error":"temporarily_unavailable","status":503,"error_codes":[90033]}`)
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

func TestManagementRotatesKeys(t *testing.T) {
	k := start(t)
	for i, row := range []struct {
		body      string
		published int
		old       int // status of an exchange for a token that the last key signed
	}{
		{"", 2, 200},
		{"{}", 3, 200},
		{`{"withdraw":false}`, 4, 200},
		{`{"withdraw":true}`, 1, 400},
	} {
		last, old := k.KeyID(), k.obo()
		status, body := k.do("POST", "/mock/keys", "application/json", row.body)
		if kid := parse(t, body)["kid"]; status != http.StatusOK || kid != k.KeyID() || kid == last {
			t.Errorf("%d: POST /mock/keys: got %d %s, want 200 and the id of a new key", i, status, body)
		}
		if keys := k.get("/common/discovery/v2.0/keys")["keys"].([]any); len(keys) != row.published {
			t.Errorf("%d: got %d published keys, want %d", i, len(keys), row.published)
		}
		if status, body := k.post(contoso, old); status != row.old {
			t.Errorf("%d: assertion of the old key: got %d %v, want %d", i, status, body, row.old)
		}
		if status, body := k.post(contoso, k.obo()); status != http.StatusOK {
			t.Errorf("%d: assertion of the new key: got %d %v, want 200", i, status, body)
		}
	}
}

func TestManagementRefusesWhatItDoesNotKnow(t *testing.T) {
	k := start(t)
	for _, c := range []struct{ path, body, want string }{
		{"/mock/faults", `{"flows":"keys"}`, `unknown field "flows"`},
		{"/mock/faults", `{"flow":"obo","drop":true}`, `flow "obo" is unknown: it must be on_behalf_of, client_credentials,`},
		{"/mock/faults", `{"flow":"On_Behalf_Of","drop":true}`, `flow "On_Behalf_Of" is unknown`},
		{"/mock/faults", `{"times":-1,"drop":true}`, "times is negative"},
		{"/mock/faults", `{"delay":"soon"}`, "delay is not a duration"},
		{"/mock/faults", `{"delay":"-1s"}`, "delay is negative"},
		{"/mock/faults", `{"status":99}`, "status 99"},
		{"/mock/faults", `{"error":"a","body":"b"}`, "exclude each other"},
		{"/mock/faults", `{"claims":"{}"}`, "belong to an error"},
		{"/mock/faults", `{"drop":true,"status":503}`, "drop leaves no answer"},
		{"/mock/faults", `{"flow":"keys"}`, "it does nothing"},
		{"/mock/faults", `{"header":{"Retry After":"7"}}`, `header "Retry After"`},
		{"/mock/faults", `{"header":{"Retry-After":"7\n"}}`, `header "Retry-After"`},
		{"/mock/faults", `{"single_use":true,"times":1}`, "single_use"},
		{"/mock/faults", `{"single_use":true,"flow":"on_behalf_of"}`, "single_use"},
		{"/mock/faults", `{} {}`, "more than one value"},
		{"/mock/faults", `{"body":"` + strings.Repeat("a", 1<<20) + `"}`, "too large"},
		{"/mock/faults", "", "it does nothing"},
		{"/mock/keys", `{"withdraw":"all"}`, "the body cannot be used"},
		{"/mock/keys", `{"keep":false}`, `unknown field "keep"`},
		{"/mock/tokens", "", "claims must be an object"},
		{"/mock/tokens", `{"claims":[]}`, "claims must be an object"},
		{"/mock/tokens", `{}`, "claims must be an object"},
		{"/mock/tokens", `{"claims":{},"alg":"none"}`, `unknown field "alg"`},
	} {
		if status, body := k.do("POST", c.path, "application/json", c.body); status != http.StatusBadRequest ||
			!strings.Contains(string(body), c.want) {
			t.Errorf("POST %s %.40s: got %d %s, want 400 and %q", c.path, c.body, status, body, c.want)
		}
	}
	if status, body := k.post(contoso, k.daemon()); status != http.StatusOK {
		t.Errorf("after faults that were refused: got %d %v, want 200", status, body)
	}
	if status, _ := k.do("GET", "/mock/else", "", ""); status != http.StatusNotFound {
		t.Errorf("GET /mock/else: got %d, want 404", status)
	}
}

// A fault without effect lets requests pass before the next one.
func TestManagementSparesRequestsAFault(t *testing.T) {
	k := start(t)
	for _, fault := range []string{
		`{"flow":"client_credentials","times":1}`,
		`{"flow":"client_credentials","error":"temporarily_unavailable","status":503}`,
	} {
		if status, body := k.do("POST", "/mock/faults", "application/json", fault); status != http.StatusNoContent {
			t.Fatalf("POST /mock/faults %s: got %d %s, want 204", fault, status, body)
		}
	}
	for i, want := range []int{200, 503, 503} {
		if status, body := k.post(contoso, k.daemon()); status != want {
			t.Errorf("request %d: got %d %v, want %d", i+1, status, body, want)
		}
	}
}

func TestManagementShowsRequestsWithoutSecrets(t *testing.T) {
	k := start(t)
	k.post(contoso, k.daemon())
	k.post(contoso, k.byPassword("password", "a-real-one"))
	_, body := k.do("GET", "/mock/requests", "", "")
	if text := string(body); strings.Contains(text, "a-real-one") || strings.Contains(text, "s3cret") ||
		!strings.Contains(text, `"client_secret":["***"]`) ||
		!strings.Contains(text, `"flow":"client_credentials"`) {
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
