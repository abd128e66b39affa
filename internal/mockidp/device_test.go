package mockidp_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"middletier/internal/mockidp"
)

const deviceCode = "urn:ietf:params:oauth:grant-type:device_code"

// deviceDirectory has a public client that may use the middle tier, in every tenant.
func deviceDirectory() mockidp.Directory {
	directory := testDirectory()
	directory.Apps[2].MultiTenant = true
	directory.Grants = append(directory.Grants, mockidp.Grant{Client: "spa", Resource: "middle", Scopes: []string{"access_as_user"}})
	return directory
}

// beginDevice asks for a device code and returns the answer.
func (k kit) beginDevice(tenant string, changes ...string) (int, map[string]any) {
	k.t.Helper()
	asked := change(form("client_id", spaID, "scope", "api://middle/access_as_user openid offline_access"), changes)
	status, data := k.do("POST", "/"+tenant+"/oauth2/v2.0/devicecode", "application/x-www-form-urlencoded", asked.Encode())
	return status, parse(k.t, data)
}

// newDevice returns a device code and its user code.
func (k kit) newDevice(tenant string, changes ...string) (string, string) {
	k.t.Helper()
	status, body := k.beginDevice(tenant, changes...)
	code, _ := body["device_code"].(string)
	typed, _ := body["user_code"].(string)
	if status != http.StatusOK || code == "" || typed == "" {
		k.t.Fatalf("device code: got %d %v, want 200", status, body)
	}
	return code, typed
}

// onDevicePage posts to the page as a browser there does.
func (k kit) onDevicePage(pairs ...string) (int, string) {
	k.t.Helper()
	status, body := k.do("POST", "/common/oauth2/deviceauth", "application/x-www-form-urlencoded", form(pairs...).Encode())
	return status, string(body)
}

// poll is the device's question for its tokens, with some parameters changed.
func (k kit) poll(code string, changes ...string) url.Values {
	return change(form("grant_type", deviceCode, "client_id", spaID, "device_code", code), changes)
}

func TestDeviceSignsIn(t *testing.T) {
	k := startWith(t, deviceDirectory())
	status, begun := k.beginDevice(contoso)
	typed, _ := begun["user_code"].(string)
	if status != http.StatusOK || begun["expires_in"] != 900.0 || begun["interval"] != 5.0 ||
		begun["verification_uri"] != k.URL()+"/common/oauth2/deviceauth" ||
		!regexp.MustCompile(`^[B-DF-HJ-NP-TV-XZ]{9}$`).MatchString(typed) ||
		!strings.Contains(fmt.Sprint(begun["message"]), typed) || begun["verification_uri_complete"] != nil {
		t.Errorf("device authorization: got %d %v", status, begun)
	}
	code, _ := begun["device_code"].(string)
	k.wantRefusals([]refusalCase{{name: "before the user came", form: k.poll(code), code: "authorization_pending", number: 70016}})

	if status, page := k.do("GET", "/common/oauth2/deviceauth", "", ""); status != 200 ||
		!strings.Contains(string(page), "This is not a real sign-in") {
		t.Errorf("page: got %d %s", status, page)
	}
	spelt := strings.ToLower(typed[:4]) + "-" + typed[4:] + " "
	if status, page := k.onDevicePage("otc", spelt); status != 200 || !strings.Contains(page, `value="`+aliceID+`"`) ||
		strings.Contains(page, "frida") || !strings.Contains(page, "spa asks who you are") || !strings.Contains(page, typed) {
		t.Errorf("code typed as %q: got %d %s, want the users of the tenant", spelt, status, page)
	}
	if status, page := k.onDevicePage("otc", typed, "user", aliceID); status != 200 || !strings.Contains(page, "spa has your sign-in") {
		t.Errorf("alice chosen: got %d %s", status, page)
	}
	status, body := k.post(contoso, k.poll(code, "client_info", "1"))
	if status != http.StatusOK {
		t.Fatalf("after alice signed in: got %d %v, want 200", status, body)
	}
	access, id := claimsOf(t, body["access_token"]), claimsOf(t, body["id_token"])
	if access["oid"] != aliceID || access["azp"] != spaID || access["azpacr"] != "0" ||
		access["scp"] != "access_as_user" || id["aud"] != spaID {
		t.Errorf("tokens: got %v and %v", access, id)
	}
	if body["refresh_token"] == nil || body["client_info"] == nil ||
		body["scope"] != "api://middle/access_as_user" {
		t.Errorf("answer: got %v", body)
	}
	k.wantRefusals([]refusalCase{{name: "twice", form: k.poll(code), code: "invalid_grant", number: 7000014}})
	if status, page := k.onDevicePage("otc", typed); status != http.StatusBadRequest || !strings.Contains(page, "no device waits") {
		t.Errorf("used code typed again: got %d %s, want 400", status, page)
	}
	if got := k.Count("device_code"); got != 4 {
		t.Errorf("requests of the flow: got %d, want 4, as those to the page are the browser's", got)
	}
}

func TestDeviceGrantIsRefused(t *testing.T) {
	k := startWith(t, deviceDirectory())
	pending, _ := k.newDevice(contoso)
	declined, typed := k.newDevice(contoso)
	k.onDevicePage("otc", typed, "cancel", "1")
	approved, typed := k.newDevice(contoso)
	k.onDevicePage("otc", typed, "user", "alice")
	secret, typed := k.newDevice(contoso, "client_id", middleID, "scope", "api://todo/Read")
	k.onDevicePage("otc", typed, "user", "alice")
	k.wantRefusals([]refusalCase{
		{name: "no code", form: k.poll(""), code: "invalid_request", number: 900144},
		{name: "unknown code", form: k.poll("x"), code: "invalid_grant", number: 7000014},
		{name: "user code", form: k.poll(typed), code: "invalid_grant", number: 7000014},
		{
			name: "pending, spelt as MSAL for .NET does", form: k.poll(pending, "grant_type", "device_code"),
			code: "authorization_pending", number: 70016,
		},
		{name: "declined", form: k.poll(declined), code: "authorization_declined", number: 70018},
		{
			name: "another client's", form: k.poll(approved, "client_id", daemonID, "client_secret", "daemon"),
			code: "invalid_grant", number: 7000014,
		},
		{name: "another tenant", tenant: fabrikam, form: k.poll(approved), code: "invalid_grant", number: 7000014},
		{name: "common instead of the tenant", tenant: "common", form: k.poll(approved), code: "invalid_grant", number: 7000014},
		{name: "secret of a public client", form: k.poll(approved, "client_secret", "x"), status: 401, code: "invalid_client", number: 700025},
		{
			name: "no secret of a confidential client", form: k.poll(secret, "client_id", middleID),
			status: 401, code: "invalid_client", number: 7000218,
		},
	})
	if status, body := k.post(contoso, k.poll(secret, "client_id", middleID, "client_secret", "s3cret")); status != 200 {
		t.Errorf("confidential client with its secret: got %d %v, want 200", status, body)
	}
	if status, body := k.post(contoso, k.poll(approved)); status != 200 {
		t.Errorf("the client itself, after all the others: got %d %v, want 200", status, body)
	}
}

func TestDeviceAuthorizationIsRefused(t *testing.T) {
	k := startWith(t, deviceDirectory())
	for _, c := range []struct {
		name, tenant string
		changes      []string
		code         string
		number       float64
	}{
		{"no client", contoso, []string{"client_id", ""}, "invalid_request", 900144},
		{"unknown client", contoso, []string{"client_id", aliceID}, "unauthorized_client", 700016},
		{"unknown client on common", "common", []string{"client_id", aliceID}, "unauthorized_client", 700016},
		{"client of one tenant on common", "common", []string{"client_id", todoID}, "invalid_request", 50059},
		{"no scope", contoso, []string{"scope", ""}, "invalid_request", 900144},
		{"unknown resource", contoso, []string{"scope", "api://nothing/Read"}, "invalid_resource", 500011},
		{"the client itself by URI", contoso, []string{"client_id", sharedID, "scope", "api://shared/Read"}, "invalid_request", 90009},
		{"unknown tenant", "nobody", nil, "invalid_request", 90002},
		{"broken claims", contoso, []string{"claims", "{"}, "invalid_request", 90013},
	} {
		status, body := k.beginDevice(c.tenant, c.changes...)
		if status != http.StatusBadRequest || body["error"] != c.code ||
			fmt.Sprint(body["error_codes"]) != fmt.Sprint([]float64{c.number}) {
			t.Errorf("%s: got %d %v, want 400 %s AADSTS%.0f", c.name, status, body, c.code, c.number)
		}
	}
	if status, body := k.do("GET", "/"+contoso+"/oauth2/v2.0/devicecode", "", ""); status != 400 ||
		!strings.Contains(string(body), "AADSTS900561") {
		t.Errorf("GET: got %d %s, want 400 AADSTS900561", status, body)
	}
}

// typeCode types a code on the page.
func (u user) typeCode(code string) seen {
	u.t.Helper()
	return u.send("POST", "/common/oauth2/deviceauth", form("otc", code), "Origin", u.URL(), "Sec-Fetch-Site", "same-origin")
}

// A device's sign-in asks for consent and for proof as any other, and is part of single sign-on; but
// the user always sees which app asks, and chooses.
func TestDeviceSignInInABrowser(t *testing.T) {
	k := startWith(t, deviceDirectory())
	alice := k.user()
	sign := func(typed string) seen {
		page := alice.choose(alice.typeCode(typed), aliceID)
		for _, action := range []string{"consent", "prove"} {
			if strings.Contains(page.body, `value="`+action+`"`) {
				page = alice.press(page, "action", action)
			}
		}
		return page
	}
	asks := `{"access_token":{"acrs":{"essential":true,"value":"c1"},"xms_cc":{"values":["cp1"]}}}`
	code, typed := k.newDevice(contoso, "scope", "api://todo/Write offline_access", "claims", asks)
	page := alice.choose(alice.typeCode(typed), aliceID)
	if !strings.Contains(page.body, "asks for a stronger proof") {
		t.Fatalf("claims to meet: got %d %s", page.status, page.body)
	}
	page = alice.press(page, "action", "prove")
	if !strings.Contains(page.body, "wants to use") || !strings.Contains(page.body, "Write") {
		t.Fatalf("scope to consent to: got %d %s", page.status, page.body)
	}
	k.wantRefusals([]refusalCase{{name: "before consent", form: k.poll(code), code: "authorization_pending", number: 70016}})
	page = alice.press(page, "action", "consent")
	if page.status != 200 || !strings.Contains(page.body, "spa has your sign-in") {
		t.Fatalf("consent: got %d %s", page.status, page.body)
	}
	_, body := k.post(contoso, k.poll(code))
	wantClaims(t, "first", body["access_token"], map[string]any{"oid": aliceID, "scp": "Write", "acrs": "[c1]", "xms_cc": "[cp1]"})
	sid := claimsOf(t, body["access_token"])["sid"]

	code, typed = k.newDevice(contoso, "scope", "api://todo/Write openid")
	if page := alice.typeCode(typed); !strings.Contains(page.body, "signed in") || !strings.Contains(page.body, "spa asks who you are") {
		t.Errorf("who is signed in already: got %d %s, want the page that names the app", page.status, page.body)
	}
	sign(typed)
	_, body = k.post(contoso, k.poll(code))
	wantClaims(t, "second", body["id_token"], map[string]any{"sid": sid})

	code, typed = k.newDevice(contoso, "scope", "api://todo/Admin")
	page = alice.choose(alice.typeCode(typed), aliceID)
	if page := k.user().press(page, "action", "consent"); page.status == 200 {
		t.Errorf("consent in another browser: got %d %s, want a refusal", page.status, page.body)
	}
	if page := alice.press(page, "action", "cancel"); !strings.Contains(page.body, "does not get your sign-in") {
		t.Errorf("cancel: got %d %s", page.status, page.body)
	}
	k.wantRefusals([]refusalCase{{name: "after cancel", form: k.poll(code), code: "authorization_declined", number: 70018}})

	code, typed = k.newDevice(contoso)
	sign(typed)
	k.RevokeSignIns("alice")
	k.wantRefusals([]refusalCase{{name: "revoked", form: k.poll(code), code: "invalid_grant", number: 50173}})
}

// On common and organizations the tenant is that of the user.
func TestDeviceSignsInOfAnyTenant(t *testing.T) {
	directory := deviceDirectory()
	directory.Apps[0].MultiTenant = true
	k := startWith(t, directory)
	for _, path := range []string{"common", "organizations"} {
		code, typed := k.newDevice(path)
		if status, page := k.onDevicePage("otc", typed); status != 200 || !strings.Contains(page, "frida") || !strings.Contains(page, "alice") {
			t.Errorf("%s: got %d %s, want the users of all tenants", path, status, page)
		}
		k.onDevicePage("otc", typed, "user", "frida")
		status, body := k.post(path, k.poll(code))
		if status != 200 {
			t.Fatalf("%s: got %d %v, want 200", path, status, body)
		}
		if claims := claimsOf(t, body["access_token"]); claims["tid"] != fabrikam || claims["iss"] != k.URL()+"/"+fabrikam+"/v2.0" {
			t.Errorf("%s: got %v, want a token of frida's tenant", path, claims)
		}
	}
}

func TestDevicePageRefuses(t *testing.T) {
	k := startWith(t, deviceDirectory())
	code, typed := k.newDevice(contoso)
	send := func(header http.Header, body string) int {
		request, _ := http.NewRequest("POST", k.URL()+"/common/oauth2/deviceauth", strings.NewReader(body))
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for name := range header {
			request.Header.Set(name, header.Get(name))
		}
		response, err := k.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	good := form("otc", typed, "user", aliceID).Encode()
	for name, c := range map[string]struct {
		header http.Header
		body   string
		want   int
	}{
		"from another site":     {http.Header{"Sec-Fetch-Site": {"cross-site"}}, good, 403},
		"from a sibling site":   {http.Header{"Sec-Fetch-Site": {"same-site"}}, good, 403},
		"from another origin":   {http.Header{"Origin": {"https://evil.example"}}, good, 403},
		"from a sandbox":        {http.Header{"Origin": {"null"}}, good, 403},
		"not a form":            {http.Header{"Content-Type": {"text/plain"}}, good, 403},
		"code twice":            {nil, good + "&otc=x", 403},
		"no code":               {nil, "user=alice", 400},
		"unknown code":          {nil, "user=alice&otc=BBBBBBBBB", 400},
		"unknown user":          {nil, "user=nobody&otc=" + typed, 400},
		"user of other tenants": {nil, "user=frida&otc=" + typed, 400},
	} {
		if got := send(c.header, c.body); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
	if status, _ := k.do("PUT", "/common/oauth2/deviceauth", "", ""); status != http.StatusMethodNotAllowed {
		t.Errorf("PUT: got %d, want 405", status)
	}
	k.wantRefusals([]refusalCase{{name: "after all that", form: k.poll(code), code: "authorization_pending", number: 70016}})
	if got := send(http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {k.URL()}}, good); got != 200 {
		t.Errorf("from the page itself: got %d, want 200", got)
	}
}

// What the page shows is text, whatever somebody puts into its address or names an app.
func TestDevicePageShowsText(t *testing.T) {
	directory := deviceDirectory()
	directory.Apps[2].Name = `<script>alert(1)</script>`
	directory.Grants = nil
	k := startWith(t, directory)
	_, typed := k.newDevice(contoso)
	_, choice := k.onDevicePage("otc", typed)
	_, linked := k.do("GET", "/common/oauth2/deviceauth?otc="+url.QueryEscape(`"><script>alert(1)</script>bcd`), "", "")
	for name, page := range map[string]string{"app's name": choice, "code in the address": string(linked)} {
		if strings.Contains(page, "<script") {
			t.Errorf("%s: got %s", name, page)
		}
	}
	if !strings.Contains(string(linked), `value="SCRPTLRTSCRPTBCD"`) {
		t.Errorf("code in the address: got %s, want only letters that a code can have", linked)
	}
}

// serve posts a form to the platform without a network.
func serve(server *mockidp.Server, path string, body url.Values) (int, string) {
	request := httptest.NewRequest("POST", path, strings.NewReader(body.Encode()))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, request)
	return recorder.Code, recorder.Body.String()
}

// A code ends after 15 minutes for the user and for the device.
func TestDeviceCodeExpires(t *testing.T) {
	directory := deviceDirectory() // not in the bubble: other tests use its certificate
	synctest.Test(t, func(t *testing.T) {
		server, err := mockidp.New(directory)
		if err != nil {
			t.Fatal(err)
		}
		send := func(path string, body url.Values) (int, string) { return serve(server, path, body) }
		begin := func() map[string]any {
			_, body := send("/"+contoso+"/oauth2/v2.0/devicecode", form("client_id", spaID, "scope", "api://middle/access_as_user"))
			return parse(t, []byte(body))
		}
		poll := func(begun map[string]any) (int, string) {
			code, _ := begun["device_code"].(string)
			return send("/"+contoso+"/oauth2/v2.0/token", form("grant_type", deviceCode, "client_id", spaID, "device_code", code))
		}
		choose := func(begun map[string]any) int {
			typed, _ := begun["user_code"].(string)
			status, _ := send("/common/oauth2/deviceauth", form("otc", typed, "user", "alice"))
			return status
		}
		late, inTime := begin(), begin()
		time.Sleep(15*time.Minute - time.Second)
		if status := choose(inTime); status != 200 {
			t.Errorf("user a second before: got %d, want 200", status)
		}
		if status, body := poll(inTime); status != 200 {
			t.Errorf("device a second before: got %d %s, want 200", status, body)
		}
		time.Sleep(time.Second)
		if status := choose(late); status != 400 {
			t.Errorf("user on the second: got %d, want 400", status)
		}
		if status, body := poll(late); status != 400 || !strings.Contains(body, `"expired_token"`) || !strings.Contains(body, "AADSTS70020") {
			t.Errorf("device on the second: got %d %s, want 400 expired_token", status, body)
		}
	})
}

func TestDeviceCodesAreBoundedAndSingleUse(t *testing.T) {
	k := startWith(t, deviceDirectory())
	oldest, _ := k.newDevice(contoso)
	for range 1000 {
		k.newDevice(contoso)
	}
	k.wantRefusals([]refusalCase{{name: "the oldest of 1,001", form: k.poll(oldest), code: "invalid_grant", number: 7000014}})
	code, typed := k.newDevice(contoso)
	k.onDevicePage("otc", typed, "user", "alice")
	var clients sync.WaitGroup
	var redeemed atomic.Int32
	for range 8 {
		clients.Go(func() {
			response, err := k.client.PostForm(k.URL()+"/"+contoso+"/oauth2/v2.0/token", k.poll(code))
			if err != nil {
				t.Error(err)
				return
			}
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				redeemed.Add(1)
			}
		})
	}
	clients.Wait()
	if got := redeemed.Load(); got != 1 {
		t.Errorf("redeemed by 8 requests at once: got %d times, want 1", got)
	}
}

func TestMSALDeviceCode(t *testing.T) {
	k := startWith(t, deviceDirectory())
	client, err := public.New(spaID, public.WithAuthority(k.URL()+"/organizations"),
		public.WithHTTPClient(k.client), public.WithInstanceDiscovery(false))
	if err != nil {
		t.Fatal(err)
	}
	begun, err := client.AcquireTokenByDeviceCode(t.Context(), []string{"api://middle/access_as_user"})
	if err != nil {
		t.Fatal(err)
	}
	if status, page := k.onDevicePage("otc", begun.Result.UserCode, "user", "alice"); status != 200 {
		t.Fatalf("page: got %d %s", status, page)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	result, err := begun.AuthenticationResult(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if claims := claimsOf(t, result.AccessToken); claims["oid"] != aliceID || result.Account.PreferredUsername != "alice@contoso.example" {
		t.Errorf("got %v for %+v", claims, result.Account)
	}
}

// Nothing but the code that was issued opens a sign-in, however it is typed.
func FuzzUserCode(f *testing.F) {
	server, err := mockidp.New(deviceDirectory())
	if err != nil {
		f.Fatal(err)
	}
	f.Add("BCDFGHJKL", "alice")
	f.Add("bcdf-ghjkl\x00", "")
	f.Add("<script>", "\xff")
	f.Fuzz(func(t *testing.T, typed, user string) {
		status, page := serve(server, "/common/oauth2/deviceauth", form("otc", typed, "user", user))
		if status != http.StatusBadRequest || strings.Contains(page, "<script") {
			t.Errorf("%q, %q: got %d %s, want 400", typed, user, status, page)
		}
	})
}
