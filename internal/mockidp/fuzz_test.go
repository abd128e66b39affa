package mockidp

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

const fuzzTenant = "11111111-1111-4111-8111-111111111111"

// fuzzPlatform has one app of all platforms, and a user who is signed in.
func fuzzPlatform(f *testing.F) (*Server, *App, browser) {
	f.Helper()
	app := App{
		Name: "app", TenantID: fuzzTenant,
		ClientID: "aaaaaaaa-0000-4000-8000-000000000001", ObjectID: "cccccccc-0000-4000-8000-000000000001",
		IDURIs: []string{"api://app"}, Scopes: []string{"Read"},
		RedirectURIs: RedirectURIs{
			Web: []string{"https://app.example/web"}, SPA: []string{"https://app.example/"}, Native: []string{"http://localhost"},
		},
	}
	user := User{Name: "alice", ObjectID: "bbbbbbbb-0000-4000-8000-000000000001", TenantID: fuzzTenant, Username: "alice@app.example"}
	server, err := New(Directory{
		Tenants: []Tenant{{ID: fuzzTenant}}, Apps: []App{app}, Users: []User{user},
		Grants: []Grant{{Client: "app", Resource: "app", Scopes: []string{"Read"}}},
	})
	if err != nil {
		f.Fatal(err)
	}
	b := browser{id: randomID(sessionIDSize)}
	return server, &app, b
}

// FuzzAuthorizationRequest sends any query to the authorization endpoint, in a browser that is
// signed in. Whoever gets an answer registered for it.
func FuzzAuthorizationRequest(f *testing.F) {
	server, app, b := fuzzPlatform(f)
	good := "client_id=" + app.ClientID + "&redirect_uri=https%3A%2F%2Fapp.example%2F&response_type=code&scope=openid+api%3A%2F%2Fapp%2FRead" +
		"&code_challenge=" + strings.Repeat("a", 43) + "&code_challenge_method=S256"
	for _, more := range []string{
		"", "&state=x&prompt=none", "&response_mode=form_post&prompt=login",
		"&claims=%7B%22id_token%22%3A%7B%22acrs%22%3A%7B%22value%22%3A%22c1%22%7D%7D%7D",
		"&redirect_uri=x", "&login_hint=alice%40app.example", "&sid=1", "&scope=User.Read",
	} {
		f.Add(good + more)
	}
	f.Add(strings.Replace(good, "https%3A%2F%2Fapp.example%2F", "http%3A%2F%2Flocalhost%3A1", 1))
	f.Add("client_id=" + app.ClientID + "&redirect_uri=http://localhost:1@evil.example")
	f.Fuzz(func(t *testing.T, query string) {
		now := newSession(server, b)
		request := httptest.NewRequest(http.MethodGet, "https://localhost/"+fuzzTenant+"/oauth2/v2.0/authorize", nil)
		request.URL.RawQuery = query
		request.Header.Set("Cookie", sessionCookie+"="+now.id)
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, request)
		location, body := recorder.Header().Get("Location"), recorder.Body.String()
		switch recorder.Code {
		case http.StatusFound:
			target, _, _ := strings.Cut(strings.Replace(location, "#", "?", 1), "?")
			if app.platform(target) == "" {
				t.Errorf("%q: sent to %q", query, location)
			}
			if strings.ContainsAny(location, "\r\n ") {
				t.Errorf("%q: Location %q", query, location)
			}
		case http.StatusOK, http.StatusBadRequest, http.StatusUnauthorized:
			if location != "" || strings.Count(body, "<script") > strings.Count(body, "<script>"+submitScript) {
				t.Errorf("%q: got %q %s", query, location, body)
			}
		default:
			t.Errorf("%q: got %d %s", query, recorder.Code, body)
		}
	})
}

// newSession signs the user in anew, so that the runs do not depend on each other.
func newSession(server *Server, b browser) browser {
	server.forgetSignIns()
	server.ResetRequests()
	server.sessions.signIn(b, server.dir().mustUser("alice"), time.Now())
	return b
}

// FuzzClaimsRequest reads any claims parameter. What has to be proved is told in a form that
// asks for the same.
func FuzzClaimsRequest(f *testing.F) {
	for _, text := range []string{
		"", "{}", "[]", `{"access_token":`,
		`{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`,
		`{"id_token":{"acrs":{"values":["c1","c2"]}},"access_token":{"xms_cc":{"values":["cp1"]}}}`,
		`{"id_token":{"acrs":{"value":"c2"}},"access_token":{"acrs":{"value":"c1"}}}`,
		`{"access_token":{"acrs":null}}`, `{"access_token":{"acrs":{"value":"\"}"}}}`, `{"id_token":{"acrs":{"values":[""]}}}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		request, refused := parseClaims(text)
		if refused != nil {
			if refused.code != "invalid_request" {
				t.Errorf("%q: got %v", text, refused)
			}
			return
		}
		unmet := request.unmet(signIn{})
		if len(unmet) == 0 {
			return
		}
		told := mustProve(unmet, newGraph()).claims
		again, refused := parseClaims(told)
		if refused != nil || !slices.Equal(again.unmet(signIn{}), unmet) {
			t.Errorf("%q: told %s, which is read as %v, %v", text, told, again, refused)
		}
		if left := request.unmet(signIn{Contexts: unmet}); len(left) > 0 {
			t.Errorf("%q: %v are not met by %v", text, left, unmet)
		}
		if _, err := url.ParseQuery("claims=" + url.QueryEscape(told)); err != nil {
			t.Errorf("%q: told %s: %v", text, told, err)
		}
	})
}
