package mockidp_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"middletier/internal/mockidp"
)

// At Entra a refresh token that was replaced stays good; with the fault it does not.
func TestRefreshTokensOfSingleUse(t *testing.T) {
	k := startWith(t, deviceDirectory())
	_, first := k.post(contoso, k.byPassword())
	refresh := func(from map[string]any) (int, map[string]any) {
		token, _ := from["refresh_token"].(string)
		return k.post(contoso, form("grant_type", "refresh_token", "client_id", spaID, "refresh_token", token))
	}
	for range 2 {
		if status, body := refresh(first); status != http.StatusOK {
			t.Fatalf("without the fault: got %d %v, want 200", status, body)
		}
	}
	if status, answer := k.do("POST", "/mock/faults", "application/json", `{"flow": "refresh_token", "single_use": true}`); status != 204 {
		t.Fatalf("POST /mock/faults: got %d %s, want 204", status, answer)
	}
	status, next := refresh(first)
	if status != http.StatusOK {
		t.Fatalf("first use: got %d %v, want 200", status, next)
	}
	if status, body := refresh(first); status != 400 || body["error"] != "invalid_grant" || fmt.Sprint(body["error_codes"]) != "[70000]" {
		t.Errorf("second use: got %d %v, want 400 invalid_grant AADSTS70000", status, body)
	}
	if status, body := refresh(next); status != http.StatusOK {
		t.Errorf("its successor: got %d %v, want 200", status, body)
	}
	k.ClearFaults()
	if status, body := refresh(first); status != http.StatusOK {
		t.Errorf("without the fault again: got %d %v, want 200", status, body)
	}
}

// Throttling and outages reach each flow of the token endpoint, the device authorization
// endpoint and the user's realm, and no flow another one's.
func TestFaultsReachEachFlow(t *testing.T) {
	k := startWith(t, agentDirectory())
	token := "/" + contoso + "/oauth2/v2.0/token"
	for flow, c := range map[string]struct {
		method, path string
		form         url.Values
	}{
		"authorization_code": {"POST", token, form("grant_type", "authorization_code")},
		"client_credentials": {"POST", token, k.daemon()},
		"device_code":        {"POST", "/" + contoso + "/oauth2/v2.0/devicecode", form("client_id", spaID)},
		"on_behalf_of":       {"POST", token, k.obo()},
		"password":           {"POST", token, k.byPassword()},
		"refresh_token":      {"POST", token, form("grant_type", "refresh_token")},
		"user_fic":           {"POST", token, form("grant_type", "user_fic")},
		"userrealm":          {"GET", "/common/userrealm/alice@contoso.example", nil},
	} {
		send := func() *http.Response {
			request, _ := http.NewRequest(c.method, k.URL()+c.path, strings.NewReader(c.form.Encode()))
			request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			response, err := k.client.Do(request)
			if err != nil {
				t.Fatalf("%s: %v", flow, err)
			}
			response.Body.Close()
			return response
		}
		k.ResetRequests()
		k.AddFault(mockidp.Fault{Flow: flow, Status: http.StatusTooManyRequests, Header: map[string]string{"Retry-After": "7"}})
		if got := send(); got.StatusCode != http.StatusTooManyRequests || got.Header.Get("Retry-After") != "7" {
			t.Errorf("%s: got %d %v, want 429", flow, got.StatusCode, got.Header)
		}
		if got := k.Count(flow); got != 1 {
			t.Errorf("%s: counted %d requests of the flow, want 1", flow, got)
		}
		k.ClearFaults()
		other := "metadata"
		k.AddFault(mockidp.Fault{Flow: other, Status: http.StatusTooManyRequests})
		if got := send(); got.StatusCode == http.StatusTooManyRequests {
			t.Errorf("%s: got %d for a fault of %s", flow, got.StatusCode, other)
		}
		k.ClearFaults()
	}
}
