package mockidp_test

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"middletier/internal/mockidp"
)

func TestOnBehalfOfTradesTheUsersToken(t *testing.T) {
	k := start(t)
	status, body := k.post(contoso, k.obo("scope", "api://todo/.default offline_access", "client_info", "1",
		"claims", `{"access_token":{"xms_cc":{"values":["cp1"]}}}`))
	if status != http.StatusOK {
		t.Fatalf("on behalf of alice: got %d %v, want 200", status, body)
	}
	claims := claimsOf(t, body["access_token"])
	for name, want := range map[string]any{
		"aud": todoID, "iss": k.URL() + "/" + contoso + "/v2.0", "ver": "2.0", "tid": contoso, "oid": aliceID,
		"azp": middleID, "azpacr": "1", "scp": "Read Write", "idtyp": "user", "preferred_username": "alice@contoso.example",
	} {
		if claims[name] != want {
			t.Errorf("claim %s: got %v, want %v", name, claims[name], want)
		}
	}
	if _, found := claims["roles"]; found {
		t.Errorf("an on-behalf-of token carries roles: %v", claims["roles"])
	}
	if got := fmt.Sprint(claims["xms_cc"]); got != "[cp1]" {
		t.Errorf("claim xms_cc: got %v, want [cp1]", got)
	}
	if got, want := body["scope"], "api://todo/Read api://todo/Write api://todo/.default"; got != want {
		t.Errorf("scope: got %v, want %v", got, want)
	}
	if body["refresh_token"] == nil || body["client_info"] == nil {
		t.Errorf("answer lacks refresh_token or client_info: %v", body)
	}
	if body["refresh_in"] != nil || body["expires_in"] != 4500.0 || body["token_type"] != "Bearer" {
		t.Errorf("answer: got %v", body)
	}
}

func TestOnBehalfOfWithOneScopeAndWithoutExtras(t *testing.T) {
	k := start(t)
	status, body := k.post("contoso.example", k.obo("scope", todoID+"/Read"))
	if status != http.StatusOK || body["scope"] != todoID+"/Read" {
		t.Fatalf("on behalf of alice: got %d %v, want 200 and one scope", status, body)
	}
	claims := claimsOf(t, body["access_token"])
	if claims["scp"] != "Read" || claims["xms_cc"] != nil {
		t.Errorf("claims: got %v, want scp Read and no xms_cc", claims)
	}
	if body["refresh_token"] != nil || body["client_info"] != nil || body["id_token"] != nil {
		t.Errorf("answer holds what was not asked for: %v", body)
	}
}

func TestResourceWithVersion1Tokens(t *testing.T) {
	k := start(t)
	_, body := k.post(contoso, k.obo("scope", "api://ledger/Read"))
	claims := claimsOf(t, body["access_token"])
	for name, want := range map[string]any{
		"aud": "api://ledger", "iss": k.URL() + "/" + contoso + "/", "ver": "1.0",
		"appid": middleID, "appidacr": "1", "acr": "1", "upn": "alice@contoso.example",
	} {
		if claims[name] != want {
			t.Errorf("claim %s: got %v, want %v", name, claims[name], want)
		}
	}
	if claims["azp"] != nil || claims["idtyp"] != nil {
		t.Errorf("v1.0 token with azp or an idtyp nobody asked for: %v", claims)
	}
	if body["refresh_in"] != 43200.0 {
		t.Errorf("refresh_in of a day's token: got %v, want 43200", body["refresh_in"])
	}
}

func TestClientCredentials(t *testing.T) {
	k := start(t)
	status, body := k.post(contoso, k.daemon())
	claims := claimsOf(t, body["access_token"])
	if status != http.StatusOK || fmt.Sprint(claims["roles"]) != "[Read.All]" || claims["scp"] != nil || claims["idtyp"] != "app" ||
		claims["sub"] != appID("1") || claims["oid"] != appID("1") {
		t.Errorf("client credentials: got %d %v", status, claims)
	}
	status, body = k.post(contoso, k.daemon("client_id", daemonID, "client_secret", "daemon"))
	claims = claimsOf(t, body["access_token"])
	if _, found := claims["roles"]; status != http.StatusOK || found {
		t.Errorf("without granted roles: got %d %v, want 200 and a token without roles", status, claims)
	}
}

func TestMultiTenantMiddleTier(t *testing.T) {
	directory := testDirectory()
	directory.Apps[0].MultiTenant = true
	directory.Grants = append(directory.Grants, mockidp.Grant{Client: "middle", Resource: "foreign", Scopes: []string{"Read"}})
	k := startWith(t, directory)
	status, body := k.post(fabrikam, k.obo("assertion", k.UserToken("frida", "spa", "middle"), "scope", "api://foreign/Read"))
	if status != http.StatusOK || claimsOf(t, body["access_token"])["tid"] != fabrikam {
		t.Errorf("on behalf of frida in her tenant: got %d %v, want 200", status, body)
	}
	k.wantRefusals([]refusalCase{
		{name: "frida in another tenant", form: k.obo("assertion", k.UserToken("frida", "spa", "middle")), code: "invalid_grant", number: 50013},
	})
}

// refusalCase is a request and the refusal it must meet.
type refusalCase struct {
	name   string
	tenant string // default contoso
	form   url.Values
	status int // default 400
	code   string
	number int
}

func (k kit) wantRefusals(cases []refusalCase) {
	for _, c := range cases {
		if c.tenant == "" {
			c.tenant = contoso
		}
		if c.status == 0 {
			c.status = http.StatusBadRequest
		}
		status, body := k.post(c.tenant, c.form)
		description, _ := body["error_description"].(string)
		if status != c.status || body["error"] != c.code || fmt.Sprint(body["error_codes"]) != fmt.Sprint([]float64{float64(c.number)}) ||
			!strings.HasPrefix(description, fmt.Sprintf("AADSTS%d: ", c.number)) {
			k.t.Errorf("%s: got %d %v, want %d %s AADSTS%d", c.name, status, body, c.status, c.code, c.number)
		}
	}
}

func TestTokenEndpointRefusesBadRequests(t *testing.T) {
	k := start(t)
	k.wantRefusals([]refusalCase{
		{name: "no grant type", form: k.obo("grant_type", ""), code: "invalid_request", number: 900144},
		{name: "another grant type", form: k.obo("grant_type", "implicit"), code: "unsupported_grant_type", number: 70003},
		{name: "unknown tenant", tenant: "nobody.example", form: k.obo(), code: "invalid_request", number: 90002},
		{name: "common", tenant: "common", form: k.obo(), code: "invalid_request", number: 9001023},
		{name: "organizations", tenant: "organizations", form: k.daemon(), code: "invalid_request", number: 50059},
		{name: "repeated parameter", form: url.Values{"grant_type": {"client_credentials", "client_credentials"}}, code: "invalid_request", number: 9000411},
		{name: "resource of other scopes", form: k.daemon("resource", "api://ledger"), code: "invalid_target", number: 9010010},
		{name: "resource by another spelling", form: k.obo("resource", "api://todo/"), code: "invalid_target", number: 9010010},
		{name: "unknown resource", form: k.obo("resource", "https://elsewhere.example/mcp"), code: "invalid_target", number: 9010010},
		{name: "broken claims", form: k.daemon("claims", "{"), code: "invalid_request", number: 90013},
		{name: "no client id", form: k.daemon("client_id", ""), code: "invalid_request", number: 900144},
		{name: "unknown app", form: k.daemon("client_id", aliceID), code: "unauthorized_client", number: 700016},
		{name: "app named by URI", form: k.daemon("client_id", "api://middle"), code: "unauthorized_client", number: 700016},
		{name: "app of another tenant", tenant: fabrikam, form: k.daemon(), code: "unauthorized_client", number: 700016},
		{name: "wrong secret", form: k.daemon("client_secret", "S3cret"), status: 401, code: "invalid_client", number: 7000215},
		{name: "no credential", form: k.daemon("client_secret", ""), status: 401, code: "invalid_client", number: 7000218},
		{name: "two credentials", form: k.daemon("client_assertion_type", byJWT, "client_assertion", k.assertion(nil)), code: "invalid_request", number: 70002},
	})
}

// A resource parameter (RFC 8707), which MCP clients send, must name the app of the scopes.
func TestResourceOfTheScopesIsAccepted(t *testing.T) {
	k := start(t)
	for name, form := range map[string]url.Values{
		"daemon": k.daemon("resource", "api://todo"), "on behalf of": k.obo("resource", "api://todo"), "client id": k.obo("resource", todoID),
	} {
		if status, body := k.post(contoso, form); status != 200 {
			t.Errorf("%s: got %d %v, want 200", name, status, body)
		}
	}
	if a := k.user().open(contoso, asWeb("resource", "https://elsewhere.example/mcp")); a.status != http.StatusFound ||
		!strings.Contains(a.header.Get("Location"), "error=invalid_target") {
		t.Errorf("authorization request for another resource: got %d %v, want invalid_target", a.status, a.header)
	}
}

func TestTokenEndpointRefusesScopes(t *testing.T) {
	k := start(t)
	k.wantRefusals([]refusalCase{
		{name: "no scope", form: k.obo("scope", ""), code: "invalid_request", number: 900144},
		{name: "scope without resource", form: k.obo("scope", "Read"), code: "invalid_scope", number: 70011},
		{name: "two resources", form: k.obo("scope", "api://todo/Read api://ledger/Read"), code: "invalid_scope", number: 28000},
		{name: ".default and another", form: k.obo("scope", "api://todo/.default api://todo/Read"), code: "invalid_scope", number: 70011},
		{name: "unknown resource", form: k.obo("scope", "api://nothing/.default"), code: "invalid_resource", number: 500011},
		{name: "resource of another tenant", form: k.obo("scope", "api://foreign/Read"), code: "invalid_resource", number: 500011},
		{name: "scope that Graph does not have", form: k.obo("scope", "https://graph.microsoft.com/Mail.Read"), code: "invalid_scope", number: 70011},
		{name: "Graph and another resource", form: k.obo("scope", "User.Read api://todo/Read"), code: "invalid_scope", number: 28000},
		{name: "scope not granted", form: k.obo("scope", "api://todo/Read api://todo/Admin"), code: "invalid_grant", number: 65001},
		{name: "nothing granted", form: k.obo("scope", spaID+"/.default"), code: "invalid_grant", number: 65001},
		{name: "daemon, no .default", form: k.daemon("scope", "api://todo/Read.All"), code: "invalid_scope", number: 1002012},
		{name: "daemon, two resources", form: k.daemon("scope", "api://todo/.default api://ledger/.default"), code: "invalid_scope", number: 1002012},
		{name: "daemon, unknown resource", form: k.daemon("scope", "api://nothing/.default"), code: "invalid_resource", number: 500011},
	})
}

func TestOnBehalfOfRefusesAssertions(t *testing.T) {
	k := start(t)
	with := func(name string, value any) url.Values {
		claims := k.UserClaims("alice", "spa", "middle")
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
		return k.obo("assertion", k.Sign(claims))
	}
	idToken := k.UserClaims("alice", "spa", "middle")
	delete(idToken, "scp")
	delete(idToken, "azp")
	good := k.UserToken("alice", "spa", "middle")
	other := start(t)
	k.wantRefusals([]refusalCase{
		{name: "missing", form: k.obo("assertion", ""), code: "invalid_request", number: 900144},
		{name: "no requested_token_use", form: k.obo("requested_token_use", ""), code: "invalid_request", number: 900144},
		{name: "another requested_token_use", form: k.obo("requested_token_use", "something"), code: "invalid_request", number: 90013},
		{name: "SAML asked for", form: k.obo("requested_token_type", "urn:ietf:params:oauth:token-type:saml2"), code: "invalid_request", number: 90013},
		{name: "not a JWT", form: k.obo("assertion", "abc"), code: "invalid_request", number: 50027},
		{name: "line break", form: k.obo("assertion", good+"\n"), code: "invalid_request", number: 50027},
		{name: "tampered", form: k.obo("assertion", tamper(good)), code: "invalid_grant", number: 50013},
		{name: "foreign key", form: k.obo("assertion", other.UserToken("alice", "spa", "middle")), code: "invalid_grant", number: 50013},
		{name: "algorithm none", form: k.obo("assertion", k.SignRaw([]byte(`{"alg":"none","kid":"`+k.KeyID()+`"}`), []byte(`{}`))), code: "invalid_grant", number: 50013},
		{name: "algorithm RS512", form: k.obo("assertion", k.signRS512("alice")), code: "invalid_grant", number: 50013},
		{name: "expired", form: with("exp", time.Now().Add(-time.Second).Unix()), code: "invalid_grant", number: 500133},
		{name: "no expiry", form: with("exp", nil), code: "invalid_grant", number: 500133},
		{name: "not yet valid", form: with("nbf", time.Now().Add(time.Hour).Unix()), code: "invalid_grant", number: 500133},
		{name: "for another app", form: with("aud", todoID), code: "invalid_grant", number: 500131},
		{name: "for two apps", form: with("aud", []string{middleID, todoID}), code: "invalid_grant", number: 500131},
		{name: "of another tenant", form: k.obo("assertion", k.UserToken("frida", "spa", "middle")), code: "invalid_grant", number: 50013},
		{name: "tid of another tenant", form: with("tid", fabrikam), code: "invalid_grant", number: 50013},
		{name: "of another issuer", form: with("iss", "https://elsewhere/"+contoso+"/v2.0"), code: "invalid_grant", number: 50013},
		{name: "v1.0 issuer on a v2.0 token", form: with("iss", k.URL()+"/"+contoso+"/"), code: "invalid_grant", number: 50013},
		{name: "app-only", form: k.obo("assertion", k.AppToken("daemon", "middle")), code: "unauthorized_client", number: 7000114},
		{name: "app-only by idtyp", form: with("idtyp", "app"), code: "unauthorized_client", number: 7000114},
		{name: "ID token", form: k.obo("assertion", k.Sign(idToken)), code: "invalid_grant", number: 240002},
		{name: "unknown user", form: with("oid", appID("9")), code: "invalid_grant", number: 50034},
	})
}

// signRS512 is a good user token but for its algorithm.
func (k kit) signRS512(user string) string {
	k.t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodRS512, jwt.MapClaims(k.UserClaims(user, "spa", "middle")))
	token.Header["kid"] = k.KeyID()
	signed, err := token.SignedString(k.Key())
	if err != nil {
		k.t.Fatalf("sign with RS512: %v", err)
	}
	return signed
}

// tamper flips one bit in the middle of a token's signature.
func tamper(token string) string {
	dot := strings.LastIndexByte(token, '.')
	signature, _ := base64.RawURLEncoding.DecodeString(token[dot+1:])
	signature[len(signature)/2] ^= 1
	return token[:dot+1] + base64.RawURLEncoding.EncodeToString(signature)
}

func TestClientAssertionIsRefused(t *testing.T) {
	k := start(t)
	with := func(assertion string) url.Values {
		return k.daemon("client_secret", "", "client_assertion_type", byJWT, "client_assertion", assertion)
	}
	changed := func(name string, value any) url.Values {
		return with(k.assertion(map[string]any{name: value}))
	}
	bare := signAssertion(t, nil, jwt.MapClaims{"iss": middleID, "exp": time.Now().Add(time.Minute).Unix()})
	unregistered := signAssertion(t, map[string]any{"x5t": "AAAA"}, jwt.MapClaims{"iss": middleID, "exp": time.Now().Add(time.Minute).Unix()})
	used := k.assertion(nil)
	if status, body := k.post(contoso, with(used)); status != http.StatusOK {
		t.Fatalf("a good client assertion: got %d %v, want 200", status, body)
	}
	if status, body := k.post(contoso, changed("nbf", time.Now().Add(4*time.Minute).Unix())); status != http.StatusOK {
		t.Errorf("an issuer whose clock is 4 minutes ahead: got %d %v, want 200", status, body)
	}
	_, certificate := credential()
	sum := sha1.Sum(certificate.Raw)
	named := func(chain any) url.Values {
		header := map[string]any{"x5t": base64.RawURLEncoding.EncodeToString(sum[:])}
		if chain != nil {
			header["x5c"] = chain
		}
		return with(k.assertionWith(header, nil))
	}
	der := base64.StdEncoding.EncodeToString(certificate.Raw)
	for name, chain := range map[string]any{"SHA-1 thumbprint": nil, "SHA-1 thumbprint and chain": []string{der, der}} {
		if status, body := k.post(contoso, named(chain)); status != http.StatusOK {
			t.Errorf("%s: got %d %v, want 200", name, status, body)
		}
	}
	for name, keyID := range map[string]string{
		"key id as the portal shows it": strings.ToUpper(hex.EncodeToString(sum[:])), "key id": base64.RawURLEncoding.EncodeToString(sum[:]),
	} {
		if status, body := k.post(contoso, with(k.assertionWith(map[string]any{"kid": keyID}, nil))); status != http.StatusOK {
			t.Errorf("%s: got %d %v, want 200", name, status, body)
		}
	}
	noType := with(k.assertion(nil))
	noType.Del("client_assertion_type")
	refused := []refusalCase{
		{name: "used", form: with(used), number: 700027},
		{name: "no type", form: noType, number: 7000218},
		{name: "tampered", form: with(tamper(k.assertion(nil))), number: 700027},
		{name: "no thumbprint", form: with(bare), number: 5002723},
		{name: "unregistered certificate", form: with(unregistered), number: 700027},
		{name: "unregistered key id", form: with(k.assertionWith(map[string]any{"kid": "00ff"}, nil)), number: 700027},
		{name: "chain of nothing", form: named([]string{}), number: 700027},
		{name: "chain of another certificate", form: named([]string{base64.StdEncoding.EncodeToString([]byte("another"))}), number: 700027},
		{name: "chain that is no list", form: named(der), number: 700027},
		{name: "expired", form: changed("exp", time.Now().Add(-time.Second).Unix()), number: 700024},
		{name: "no expiry", form: changed("exp", nil), number: 700024},
		{name: "ahead by more", form: changed("nbf", time.Now().Add(6*time.Minute).Unix()), number: 700024},
		{name: "lives too long", form: changed("exp", time.Now().Add(48*time.Hour).Unix()), number: 700024},
		{name: "another subject", form: changed("sub", todoID), number: 700021},
		{name: "another audience", form: changed("aud", "https://elsewhere/token"), number: 700023},
		{name: "another tenant's audience", form: changed("aud", k.URL()+"/"+fabrikam+"/oauth2/v2.0/token"), number: 700023},
		{name: "two audiences", form: changed("aud", []string{"a", "b"}), number: 5002741},
		{name: "no id", form: changed("jti", nil), number: 700027},
		{name: "issuer nobody trusts", form: changed("iss", "https://elsewhere"), number: 700211},
	}
	for i := range refused {
		refused[i].status, refused[i].code = http.StatusUnauthorized, "invalid_client"
	}
	refused = append(refused,
		refusalCase{name: "not a JWT", form: with("abc"), code: "invalid_request", number: 50027},
		refusalCase{name: "line break", form: with(k.assertion(nil) + "\n"), code: "invalid_request", number: 50027})
	k.wantRefusals(refused)
}

func TestFederatedAssertion(t *testing.T) {
	k := start(t)
	with := func(subject, audience string) url.Values {
		claims := jwt.MapClaims{
			"iss": "https://cluster", "sub": subject, "aud": audience,
			"exp": time.Now().Add(time.Hour).Unix(), "jti": rand.Text(),
		}
		return k.daemon("client_secret", "", "client_assertion_type", byJWT, "client_assertion", signAssertion(t, nil, claims))
	}
	good := with("system:pod", "api://AzureADTokenExchange")
	for range 2 { // a pod's token is used until it expires
		status, body := k.post(contoso, good)
		if status != http.StatusOK || claimsOf(t, body["access_token"])["azpacr"] != "2" {
			t.Errorf("federated assertion: got %d %v, want 200", status, body)
		}
	}
	k.wantRefusals([]refusalCase{
		{name: "another subject", form: with("system:other", "api://AzureADTokenExchange"), status: 401, code: "invalid_client", number: 700213},
		{name: "another audience", form: with("system:pod", "api://other"), status: 401, code: "invalid_client", number: 700212},
		{
			name: "app that trusts nobody", form: change(good, []string{"client_id", daemonID}),
			status: 401, code: "invalid_client", number: 700211,
		},
	})
}

func TestTokenEndpointTakesFormsOnly(t *testing.T) {
	k := start(t)
	path := "/" + contoso + "/oauth2/v2.0/token"
	for _, c := range []struct{ method, contentType, body, want string }{
		{"GET", "", "", "AADSTS900561"},
		{"POST", "application/json", `{"grant_type":"client_credentials"}`, "AADSTS900144"},
		{"POST", "application/x-www-form-urlencoded", "grant_type=%zz", "AADSTS9000411"},
		{"POST", "application/x-www-form-urlencoded", "a=" + strings.Repeat("b", 1<<20), "AADSTS9000411"},
	} {
		status, body := k.do(c.method, path, c.contentType, c.body)
		if status != http.StatusBadRequest || !strings.Contains(string(body), c.want) {
			t.Errorf("%s as %q: got %d %s, want 400 %s", c.method, c.contentType, status, body, c.want)
		}
	}
}

// A refusal's error_uri is a page, as at Entra.
func TestErrorURIIsAPage(t *testing.T) {
	k := start(t)
	_, body := k.post(contoso, k.obo("scope", "api://todo/Admin"))
	uri, _ := body["error_uri"].(string)
	path, ours := strings.CutPrefix(uri, k.URL())
	if status, page := k.do("GET", path, "", ""); !ours || status != http.StatusOK ||
		!strings.Contains(string(page), "AADSTS65001") || !strings.Contains(string(page), "invalid_grant") {
		t.Errorf("%s: got %d %s, want a page about AADSTS65001, invalid_grant", uri, status, page)
	}
	k.AddFault(mockidp.Fault{Times: 1, Error: "temporarily_unavailable", ErrorCodes: []int{90033}})
	_, body = k.post(contoso, k.obo())
	path, _ = strings.CutPrefix(body["error_uri"].(string), k.URL())
	if status, page := k.do("GET", path, "", ""); status != http.StatusOK || !strings.Contains(string(page), "AADSTS90033") {
		t.Errorf("a fault's %s: got %d %s, want a page about AADSTS90033", path, status, page)
	}
	for _, code := range []string{"", "-1", "0", "65001x", "%3Cscript%3E", "99999999999"} {
		if status, page := k.do("GET", "/error?code="+code, "", ""); status != http.StatusNotFound || len(page) != 0 {
			t.Errorf("code=%s: got %d %s, want 404", code, status, page)
		}
	}
}

func TestRefusalEchoesTheCorrelationID(t *testing.T) {
	k := start(t)
	request, _ := http.NewRequest("POST", k.URL()+"/"+contoso+"/oauth2/v2.0/token",
		strings.NewReader(k.obo("scope", "api://todo/Admin").Encode()))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("client-request-id", aliceID)
	response, err := k.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body := make([]byte, 4096)
	n, _ := response.Body.Read(body)
	answer := parse(t, body[:n])
	if answer["correlation_id"] != aliceID || answer["suberror"] != "consent_required" || answer["error_uri"] != k.URL()+"/error?code=65001" {
		t.Errorf("refusal: got %v, want correlation id %s and suberror consent_required", answer, aliceID)
	}
	if response.Header.Get("Cache-Control") != "no-store, no-cache" || answer["trace_id"] != response.Header.Get("x-ms-request-id") {
		t.Errorf("headers of a refusal: got %v", response.Header)
	}
}

// What a user consented to counts for that user only.
func TestUserConsentsForThemselves(t *testing.T) {
	directory := testDirectory()
	directory.Users = append(directory.Users, mockidp.User{
		Name: "carol", ObjectID: appID("9"), TenantID: contoso, Username: "carol@contoso.example",
	})
	directory.Grants = append(directory.Grants, mockidp.Grant{
		Client: "middle", Resource: "todo", User: "carol@contoso.example", Scopes: []string{"Admin"},
	})
	k := startWith(t, directory)
	for user, want := range map[string]int{"carol": http.StatusOK, "alice": http.StatusBadRequest} {
		assertion := k.UserToken(user, "spa", "middle")
		if status, body := k.post(contoso, k.obo("assertion", assertion, "scope", "api://todo/Admin")); status != want {
			t.Errorf("%s: got %d %v, want %d", user, status, body, want)
		}
		_, body := k.post(contoso, k.obo("assertion", assertion))
		if got := claimsOf(t, body["access_token"])["scp"]; strings.Contains(got.(string), "Admin") != (want == http.StatusOK) {
			t.Errorf("%s: got scopes %v of .default", user, got)
		}
	}
}
