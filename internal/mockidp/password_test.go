package mockidp_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"
)

// byPassword is a good password grant of a public client with some parameters changed.
func (k kit) byPassword(changes ...string) url.Values {
	return change(form(
		"grant_type", "password", "client_id", spaID, "scope", "api://middle/access_as_user openid offline_access",
		"username", "alice@contoso.example", "password", "anything",
	), changes)
}

func TestPasswordSignsIn(t *testing.T) {
	k := startWith(t, deviceDirectory())
	for _, tenant := range []string{contoso, "contoso.example", "organizations"} {
		status, body := k.post(tenant, k.byPassword("username", "Alice@contoso.example"))
		if status != http.StatusOK {
			t.Fatalf("%s: got %d %v, want 200", tenant, status, body)
		}
		access, id := claimsOf(t, body["access_token"]), claimsOf(t, body["id_token"])
		if access["oid"] != aliceID || access["tid"] != contoso || access["scp"] != "access_as_user" ||
			id["aud"] != spaID || body["refresh_token"] == nil {
			t.Errorf("%s: got %v, with the tokens %v and %v", tenant, body, access, id)
		}
	}
	withSecret := k.byPassword("client_id", middleID, "client_secret", "s3cret", "scope", "api://todo/Read")
	if status, body := k.post(contoso, withSecret); status != 200 {
		t.Errorf("confidential client: got %d %v, want 200", status, body)
	}
	k.wantRefusals([]refusalCase{
		{name: "no user", form: k.byPassword("username", ""), code: "invalid_request", number: 900144},
		{name: "no password", form: k.byPassword("password", ""), code: "invalid_request", number: 900144},
		{name: "wrong password", form: k.byPassword("password", "wrong"), code: "invalid_grant", number: 50126},
		{name: "unknown user", form: k.byPassword("username", "x@contoso.example"), code: "invalid_grant", number: 50034},
		{name: "name without a domain", form: k.byPassword("username", "alice"), code: "invalid_grant", number: 50034},
		{name: "user of another tenant", tenant: fabrikam, form: k.byPassword(), code: "invalid_grant", number: 50034},
		{name: "common", tenant: "common", form: k.byPassword(), code: "invalid_request", number: 9001023},
		{name: "scope not granted", form: k.byPassword("scope", "api://todo/Admin"), code: "invalid_grant", number: 65001},
		{name: "no scope", form: k.byPassword("scope", ""), code: "invalid_request", number: 900144},
		{
			name: "no secret of a confidential client", form: k.byPassword("client_id", middleID),
			status: 401, code: "invalid_client", number: 7000218,
		},
	})
	if got := k.Count("password"); got != 14 {
		t.Errorf("requests of the flow: got %d, want 14", got)
	}
}

func TestUserRealm(t *testing.T) {
	k := start(t)
	for _, path := range []string{"/common/userrealm/alice@contoso.example?api-version=1.0", "/common/UserRealm/nobody%40contoso.example"} {
		realm := k.get(path)
		if realm["account_type"] != "Managed" || realm["domain_name"] != "contoso.example" || realm["ver"] != "1.0" ||
			realm["cloud_audience_urn"] != "urn:federation:MicrosoftOnline" || realm["cloud_instance_name"] == nil {
			t.Errorf("%s: got %v, want a managed domain", path, realm)
		}
	}
	for _, domain := range []string{"elsewhere.example", contoso} {
		if realm := k.get("/common/userrealm/x@" + domain); realm["account_type"] != "Unknown" || realm["domain_name"] != nil {
			t.Errorf("%s: got %v, want an unknown domain", domain, realm)
		}
	}
	if status, body := k.do("GET", "/common/userrealm/alice", "", ""); status != 400 || !strings.Contains(string(body), "AADSTS90023") {
		t.Errorf("no domain: got %d %s, want 400", status, body)
	}
	if got := k.Count("userrealm"); got != 5 {
		t.Errorf("requests of the flow: got %d, want 5", got)
	}
}

// MSAL asks for the user's realm first.
func TestMSALPassword(t *testing.T) {
	k := startWith(t, deviceDirectory())
	client, err := public.New(spaID, public.WithAuthority(k.URL()+"/"+contoso),
		public.WithHTTPClient(k.client), public.WithInstanceDiscovery(false))
	if err != nil {
		t.Fatal(err)
	}
	scopes := []string{"api://middle/access_as_user"}
	//lint:ignore SA1019 no real app should use it, but tests do
	result, err := client.AcquireTokenByUsernamePassword(t.Context(), scopes, "alice@contoso.example", "anything")
	if err != nil {
		t.Fatal(err)
	}
	if claims := claimsOf(t, result.AccessToken); claims["oid"] != aliceID || k.Count("userrealm") != 1 {
		t.Errorf("got %v after %+v", claims, k.Requests())
	}
}
