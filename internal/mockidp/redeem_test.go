package mockidp_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/mockidp"
)

// redeemCase is a request to the token endpoint that is refused, perhaps of a page's origin.
type redeemCase struct {
	name   string
	tenant string // "": contoso
	origin string
	form   url.Values
	code   string
	number int
}

func (k kit) wantRedemptionRefused(cases []redeemCase) {
	k.t.Helper()
	for _, c := range cases {
		if c.tenant == "" {
			c.tenant = contoso
		}
		status, body, header := k.redeem(c.tenant, c.origin, c.form)
		numbers, _ := body["error_codes"].([]any)
		if status < 400 || body["error"] != c.code || len(numbers) != 1 || numbers[0] != float64(c.number) {
			k.t.Errorf("%s: got %d %v, want %s AADSTS%d", c.name, status, body, c.code, c.number)
		}
		if allowed := header.Get("Access-Control-Allow-Origin"); allowed != "" && allowed != spaOrigin {
			k.t.Errorf("%s: the origin %s may read the answer", c.name, allowed)
		}
	}
}

// A code is good for its client, its redirect URI, the request that it answered, and once.
func TestCodeIsRefused(t *testing.T) {
	directory := testDirectory()
	// One app with all three platforms, and with a secret.
	directory.Apps[2].Secrets = []string{"s3cret"}
	directory.Apps[2].RedirectURIs.Web = []string{"https://spa.example/server"}
	directory.Apps[2].RedirectURIs.Native = []string{"http://localhost"}
	k := startWith(t, directory)
	u := k.user()
	u.signIn(contoso, asSPA(), aliceID)
	code := func(query url.Values) string {
		_, response := u.open(contoso, query).response(t)
		return response.Get("code")
	}
	web := func(changes ...string) url.Values { return codeForm(code(asWeb()), changes...) }
	spa := func(changes ...string) url.Values { return spaCodeForm(code(asSPA()), changes...) }
	native := func(changes ...string) url.Values { return nativeCodeForm(code(asNative()), changes...) }
	withPKCE := code(asWeb("code_challenge", challenge(), "code_challenge_method", "S256"))
	mixed := code(asSPA("redirect_uri", "https://spa.example/server", "response_mode", "query"))
	used, good := code(asWeb()), code(asWeb())
	sum := sha256.Sum256([]byte("weak"))
	weak := code(asSPA("code_challenge", base64.RawURLEncoding.EncodeToString(sum[:])))
	elsewhere := start(t).user().signIn(contoso, asWeb(), aliceID).Get("code")
	c1c2 := `{"access_token":{"acrs":{"values":["c1","c2"]}}}`
	for range 2 {
		k.redeem(contoso, "", codeForm(used))
	}
	refresh := func() string {
		_, body, _ := k.redeem(contoso, "", web())
		return body["refresh_token"].(string)
	}()
	k.wantRedemptionRefused([]redeemCase{
		{name: "no code", form: web("code", ""), code: "invalid_request", number: 900144},
		{name: "not a code", form: web("code", "abc"), code: "invalid_grant", number: 9002313},
		{name: "changed", form: web("code", changed(good, 40)), code: "invalid_grant", number: 9002313},
		{name: "with a line break", form: web("code", good[:40]+"\n"+good[40:]), code: "invalid_grant", number: 9002313},
		{name: "a refresh token", form: web("code", refresh), code: "invalid_grant", number: 9002313},
		{name: "another platform's", form: web("code", elsewhere), code: "invalid_grant", number: 9002313},
		{name: "used", form: codeForm(used), code: "invalid_grant", number: 54005},
		{name: "another client's", form: web("client_id", daemonID, "client_secret", "daemon"), code: "invalid_grant", number: 70000},
		{name: "another public client's", form: native("client_id", spaID), code: "invalid_grant", number: 70000},
		{name: "unknown client", form: web("client_id", aliceID), code: "unauthorized_client", number: 700016},
		{name: "no client", form: web("client_id", ""), code: "invalid_request", number: 900144},
		{name: "another tenant", tenant: fabrikam, form: web(), code: "invalid_grant", number: 700005},
		{name: "no redirect URI", form: web("redirect_uri", ""), code: "invalid_request", number: 900144},
		{name: "another redirect URI", form: web("redirect_uri", "https://web.example/back?kept=1"), code: "invalid_grant", number: 500112},
		{name: "another port", form: native("redirect_uri", "http://localhost:1"), code: "invalid_grant", number: 500112},
		{name: "no secret", form: web("client_secret", ""), code: "invalid_client", number: 7000218},
		{name: "wrong secret", form: web("client_secret", "daemon"), code: "invalid_client", number: 7000215},
		{name: "secret of a public client", form: native("client_secret", "native"), code: "invalid_client", number: 700025},
		{name: "secret with a code of a page", origin: spaOrigin, form: spa("client_secret", "s3cret"), code: "invalid_client", number: 700025},
		{name: "code of a page without an origin", form: spa(), code: "invalid_request", number: 9002327},
		{name: "code of a page and another origin", origin: "https://evil.example", form: spa(), code: "invalid_request", number: 9002326},
		{name: "code of a page and no origin to speak of", origin: "null", form: spa(), code: "invalid_request", number: 9002326},
		{name: "code of a server in a page", origin: spaOrigin, form: web(), code: "invalid_request", number: 9002326},
		{name: "code of a server in its app's page", origin: spaOrigin, form: spaCodeForm(mixed, "redirect_uri", "https://spa.example/server",
			"client_secret", "s3cret"), code: "invalid_request", number: 9002326},
		{name: "code of a native app in a page", origin: spaOrigin, form: native(), code: "invalid_request", number: 9002326},
		{name: "no verifier", origin: spaOrigin, form: spa("code_verifier", ""), code: "invalid_grant", number: 50148},
		{name: "another verifier", origin: spaOrigin, form: spa("code_verifier", proof+"x"), code: "invalid_grant", number: 501481},
		{name: "the challenge as verifier", origin: spaOrigin, form: spa("code_verifier", challenge()), code: "invalid_grant", number: 501481},
		{name: "weak verifier", origin: spaOrigin, form: spaCodeForm(weak, "code_verifier", "weak"), code: "invalid_grant", number: 501481},
		{name: "code of another app's page", origin: "https://shared.example", form: spa(), code: "invalid_request", number: 9002326},
		{name: "short verifier", origin: spaOrigin, form: spa("code_verifier", "x"), code: "invalid_grant", number: 501481},
		{name: "a server's verifier left out", form: codeForm(withPKCE), code: "invalid_grant", number: 50148},
		{name: "a verifier without a challenge", form: web("code_verifier", proof), code: "invalid_grant", number: 50148},
		{name: "scope not granted", form: web("scope", "api://todo/Admin"), code: "invalid_grant", number: 65001},
		{name: "two resources", form: web("scope", "api://todo/Read api://ledger/Read"), code: "invalid_scope", number: 28000},
		{name: "stronger proof than the user's", form: web("claims", c1c2), code: "interaction_required", number: 50076},
		{
			name: "code twice", form: url.Values{"grant_type": {"authorization_code"}, "code": {good, good}},
			code: "invalid_request", number: 9000411,
		},
	})
	if status, body, _ := k.redeem(contoso, "", codeForm(good)); status != http.StatusOK {
		t.Errorf("a code after all these: got %d %v, want 200", status, body)
	}
	if status, body, _ := k.redeem(contoso, "", codeForm(withPKCE, "code_verifier", proof)); status != http.StatusOK {
		t.Errorf("a server's code with PKCE: got %d %v, want 200", status, body)
	}
}

// A refresh token is good for its client, in its tenant and from where it was got, until the
// user's sign-ins are revoked; what was replaced stays good.
func TestRefreshTokenIsRefused(t *testing.T) {
	k := start(t)
	u := k.user()
	u.signIn(contoso, asSPA(), aliceID)
	tokens := func(query url.Values, origin string, redeem func(string, ...string) url.Values) string {
		_, response := u.open(contoso, query).response(t)
		status, body, _ := k.redeem(contoso, origin, redeem(response.Get("code")))
		if status != http.StatusOK {
			t.Fatalf("code: got %d %v", status, body)
		}
		return body["refresh_token"].(string)
	}
	web, spa, native := tokens(asWeb(), "", codeForm), tokens(asSPA(), spaOrigin, spaCodeForm), tokens(asNative(), "", nativeCodeForm)
	refresh := func(token, client, secret string, changes ...string) url.Values {
		good := form("grant_type", "refresh_token", "refresh_token", token, "client_id", client)
		return change(good, append(changes, "client_secret", secret))
	}
	for name, row := range map[string]struct {
		origin string
		form   url.Values
	}{
		"web": {"", refresh(web, middleID, "s3cret")}, "spa": {spaOrigin, refresh(spa, spaID, "")}, "native": {"", refresh(native, nativeID, "")},
	} {
		for range 2 {
			status, body, _ := k.redeem("organizations", row.origin, row.form)
			if status != http.StatusOK || body["refresh_token"] == row.form.Get("refresh_token") ||
				claimsOf(t, body["access_token"])["scp"] != "Read" {
				t.Fatalf("%s: got %d %v, want tokens of the same scope", name, status, body)
			}
			row.form.Set("refresh_token", body["refresh_token"].(string))
		}
	}
	status, body, _ := k.redeem(contoso, "", refresh(web, middleID, "s3cret", "scope", "api://ledger/.default"))
	if status != http.StatusOK ||
		claimsOf(t, body["access_token"])["aud"] != "api://ledger" || body["id_token"] != nil {
		t.Errorf("another resource: got %d %v, want its token", status, body)
	}
	k.wantRedemptionRefused([]redeemCase{
		{name: "none", form: refresh("", middleID, "s3cret", "refresh_token", ""), code: "invalid_request", number: 900144},
		{name: "changed", form: refresh(changed(web, 50), middleID, "s3cret"), code: "invalid_grant", number: 9002313},
		{name: "another client's", form: refresh(web, daemonID, "daemon"), code: "invalid_grant", number: 70000},
		{name: "another public client's", form: refresh(native, spaID, ""), code: "invalid_grant", number: 70000},
		{name: "a page's, by another client", origin: spaOrigin, form: refresh(spa, nativeID, ""), code: "invalid_grant", number: 70000},
		{name: "without the secret", form: refresh(web, middleID, ""), code: "invalid_client", number: 7000218},
		{name: "with a secret of a public client", form: refresh(native, nativeID, "native"), code: "invalid_client", number: 700025},
		{name: "a page's, without an origin", form: refresh(spa, spaID, ""), code: "invalid_request", number: 9002327},
		{
			name: "a page's, of another origin", origin: "https://evil.example", form: refresh(spa, spaID, ""),
			code: "invalid_request", number: 9002326,
		},
		{name: "a server's, in a page", origin: spaOrigin, form: refresh(web, middleID, "s3cret"), code: "invalid_request", number: 9002326},
		{name: "another tenant", tenant: fabrikam, form: refresh(web, middleID, "s3cret"), code: "invalid_grant", number: 700005},
		{name: "not granted", form: refresh(web, middleID, "s3cret", "scope", "api://todo/Admin"), code: "invalid_grant", number: 65001},
	})
	k.RevokeSignIns("alice")
	k.wantRedemptionRefused([]redeemCase{
		{name: "revoked", form: refresh(web, middleID, "s3cret"), code: "invalid_grant", number: 50173},
		{name: "a page's, revoked", origin: spaOrigin, form: refresh(spa, spaID, ""), code: "invalid_grant", number: 50173},
	})
	if _, response := u.open(contoso, asSPA("prompt", "none")).response(t); response.Get("error") != "login_required" {
		t.Errorf("session of the revoked user: got %v, want login_required", response)
	}
	fresh := u.signIn(contoso, asWeb(), aliceID)
	if status, body, _ := k.redeem(contoso, "", codeForm(fresh.Get("code"))); status != http.StatusOK {
		t.Errorf("signed in once more: got %d %v, want 200", status, body)
	}
}

// A code lives for ten minutes, a refresh token for 90 days after its last use, and in a
// page's application for a day after the sign-in.
func TestCodesAndRefreshTokensExpire(t *testing.T) {
	directory := testDirectory() // not in the bubble: other tests use its certificate
	synctest.Test(t, func(t *testing.T) {
		server, err := mockidp.New(directory)
		if err != nil {
			t.Fatal(err)
		}
		send := func(method, path, origin, cookie string, body url.Values) (*httptest.ResponseRecorder, string) {
			request := httptest.NewRequest(method, "https://localhost"+path, strings.NewReader(body.Encode()))
			request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			request.Header.Set("Origin", origin)
			request.Header.Set("Cookie", cookie)
			recorder := httptest.NewRecorder()
			server.ServeHTTP(recorder, request)
			if set := recorder.Header().Get("Set-Cookie"); set != "" {
				cookie, _, _ = strings.Cut(set, ";")
			}
			return recorder, cookie
		}
		code := func(query url.Values) string {
			page, cookie := send("GET", "/"+contoso+"/oauth2/v2.0/authorize?"+query.Encode(), "", "", nil)
			flow := flowOf.FindStringSubmatch(page.Body.String())[1]
			answer, _ := send("POST", "/"+contoso+"/login", "https://localhost", cookie, form("action", "choose", "user", aliceID, "flow", flow))
			_, response := seen{answer.Code, answer.Header(), ""}.response(t)
			return response.Get("code")
		}
		redeem := func(origin string, body url.Values) map[string]any {
			answer, _ := send("POST", "/"+contoso+"/oauth2/v2.0/token", origin, "", body)
			return parse(t, answer.Body.Bytes())
		}
		refresh := func(origin, client string, old map[string]any) map[string]any {
			t.Helper()
			token, _ := old["refresh_token"].(string)
			if token == "" {
				t.Fatalf("no refresh token in %v", old)
			}
			return redeem(origin, form("grant_type", "refresh_token", "client_id", client, "refresh_token", token))
		}
		wantRefused := func(body map[string]any, prefix string) {
			t.Helper()
			if text, _ := body["error_description"].(string); !strings.HasPrefix(text, prefix) {
				t.Errorf("got %v, want %s", body, prefix)
			}
		}
		late, intime := code(asNative()), code(asNative())
		page := redeem(spaOrigin, spaCodeForm(code(asSPA())))
		time.Sleep(9 * time.Minute)
		device := redeem("", nativeCodeForm(intime))
		time.Sleep(2 * time.Minute)
		wantRefused(redeem("", nativeCodeForm(late)), "AADSTS70008")

		time.Sleep(22 * time.Hour)
		replaced := refresh(spaOrigin, spaID, page)
		if left, _ := replaced["refresh_token_expires_in"].(float64); left > 2*3600 || left < 3600 {
			t.Errorf("refresh_token_expires_in: got %v, want what is left of the day", left)
		}
		time.Sleep(2 * time.Hour)
		wantRefused(refresh(spaOrigin, spaID, replaced), "AADSTS700084")

		time.Sleep(80 * 24 * time.Hour)
		device = refresh("", nativeID, device)
		time.Sleep(80 * 24 * time.Hour)
		device = refresh("", nativeID, device)
		time.Sleep(91 * 24 * time.Hour)
		wantRefused(refresh("", nativeID, device), "AADSTS700082")
	})
}
