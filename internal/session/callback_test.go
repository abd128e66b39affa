package session_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/mockidp"
	"middletier/internal/records"
	"middletier/internal/session"
	"middletier/internal/testkit/tokentest"
	"middletier/internal/validate"
)

// newKitOf returns a kit with a directory of the test's own.
func newKitOf(t *testing.T, change func(*mockidp.Directory)) *kit {
	t.Helper()
	d := directory()
	change(&d)
	idp, err := mockidp.New(d)
	if err != nil {
		t.Fatal(err)
	}
	return &kit{t, idp, &inMemory{idp}, &syncBuffer{}}
}

// web changes the web app of a directory.
func web(change func(*mockidp.App)) func(*mockidp.Directory) {
	return func(d *mockidp.Directory) {
		for i := range d.Apps {
			if d.Apps[i].Name == "web" {
				change(&d.Apps[i])
			}
		}
	}
}

var asJSON = map[string]string{"Content-Type": "application/json"}

// signInWith signs alice in with an answer of the provider to her code that change has changed:
// the answer's members, and the claims of its ID token.
func (b *browser) signInWith(change func(answer, claims map[string]any)) answer {
	b.t.Helper()
	location := b.begin("")
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": b.idp.URL() + "/" + tenant + "/v2.0", "aud": webID, "tid": tenant, "sub": "a-subject", "oid": aliceID, "ver": "2.0",
		"nonce": queryOf(b.t, location).Get("nonce"), "iat": now, "nbf": now, "exp": now + 3600,
	}
	answer := map[string]any{
		"token_type": "Bearer", "expires_in": 3600, "scope": readScope, "refresh_token": "a-refresh-token",
		"access_token": b.idp.UserToken("alice", "web", "middle", "Read"),
	}
	change(answer, claims)
	answer["id_token"] = b.idp.Sign(claims)
	body, err := json.Marshal(answer)
	if err != nil {
		b.t.Fatal(err)
	}
	defer b.idp.AddFault(mockidp.Fault{Flow: "authorization_code", Body: string(body), Header: asJSON})()
	return b.send("GET", strings.TrimPrefix(b.atPlatform(location, aliceID), public), true)
}

// An ID token that is not for this sign-in begins no session, and is the provider's fault, not the
// user's.
func TestIDTokensThatBeginNoSession(t *testing.T) {
	for name, row := range map[string]struct {
		change func(answer, claims map[string]any)
		want   string
	}{
		"a good one":             {func(_, _ map[string]any) {}, "200 "},
		"of another sign-in":     {func(_, claims map[string]any) { claims["nonce"] = "another" }, "502 identity-provider-error"},
		"without a nonce":        {func(_, claims map[string]any) { delete(claims, "nonce") }, "502 identity-provider-error"},
		"for the service itself": {func(_, claims map[string]any) { claims["aud"] = middleID }, "502 identity-provider-error"},
		"of another issuer":      {func(_, claims map[string]any) { claims["iss"] = "https://evil.example" }, "502 identity-provider-error"},
		"that has expired": {func(_, claims map[string]any) {
			claims["exp"] = time.Now().Add(-time.Hour).Unix()
		}, "502 identity-provider-error"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newKit(t).start(nil, nil).browser()
				a := b.signInWith(row.change)
				if got := fmt.Sprint(a.status, " ", a.problem()); got != row.want || (b.sessionCookie() != "") != (a.status == 200) {
					t.Errorf("the callback: got %d %s, want %s; log:\n%s", a.status, a.body, row.want, b.log)
				}
			})
		})
	}
}

// The session's name at the provider is that of the ID token, or one of ours where it has none of
// a length that is kept: no two sessions share it.
func TestNameOfASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newKit(t).start(nil, nil)
		seen := map[string]bool{}
		for _, sid := range []string{"a &+b", strings.Repeat("x", 256), strings.Repeat("x", 257), "", ""} {
			b := r.browser()
			if a := b.signInWith(func(_, claims map[string]any) { claims["sid"] = sid }); a.status != http.StatusOK {
				t.Fatalf("the callback: got %d %s; log:\n%s", a.status, a.body, b.log)
			}
			logout, _ := b.user()["bff:logout_url"].(string)
			got := queryOf(t, logout).Get("sid")
			if isKept := sid != "" && len(sid) <= 256; isKept != (got == sid) || len(got) > 256 || got == "" || seen[got] {
				t.Errorf("a sid of %d bytes: got %q", len(sid), got)
			}
			seen[got] = true
			if a := b.get(strings.TrimPrefix(logout, "/mt")); a.status != http.StatusFound || b.sessionCookie() != "" {
				t.Errorf("GET %s: got %d %s, want a sign-out", logout, a.status, a.body)
			}
		}
	})
}

// A user without an object ID, as at some providers, is known by their subject.
func TestUserWithoutAnObjectID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newKit(t).start(nil, nil)
		one, other := r.browser(), r.browser()
		for subject, b := range map[string]*browser{"one": one, "other": other} {
			b.signInWith(func(_, claims map[string]any) {
				delete(claims, "oid")
				claims["sub"] = subject
			})
		}
		if err := r.EndUser(t.Context(), tenant, "one"); err != nil {
			t.Fatal(err)
		}
		if one.user() != nil || other.user()["sub"] != "other" {
			t.Errorf("after the end of one's sessions: got %v and %v", one.user(), other.user())
		}
	})
}

// The provider is told who signs out by the name that it gave for that, else by the ID token,
// which is kept for nothing else and has to fit into a URL.
func TestSignOutNamesTheAccount(t *testing.T) {
	for name, row := range map[string]struct {
		change    func(claims map[string]any)
		hint      string
		idTokenIs bool
	}{
		"an ID token with a login hint": {func(claims map[string]any) { claims["login_hint"] = "O.the-hint" }, "O.the-hint", false},
		"an ID token without one":       {func(map[string]any) {}, "", true},
		"a long ID token":               {func(claims map[string]any) { claims["x"] = strings.Repeat("x", 4096) }, "", false},
		"a long ID token with a login hint": {func(claims map[string]any) {
			claims["login_hint"], claims["x"] = "h", strings.Repeat("x", 4096)
		}, "h", false},
	} {
		synctest.Test(t, func(t *testing.T) {
			store := records.NewMemory(records.DefaultMemory)
			b := newKit(t).start(store, nil).browser()
			b.signInWith(func(_, claims map[string]any) { row.change(claims) })
			key, _ := records.ParseKey(b.sessionCookie())
			if record, err := store.Get(t.Context(), key); err != nil || strings.Contains(string(record.Value), `"idToken"`) != row.idTokenIs {
				t.Errorf("%s: the record: got %s %v, want the ID token in it: %t", name, record.Value, err, row.idTokenIs)
			}
			if claims := b.user(); claims == nil || claims["login_hint"] != nil {
				t.Errorf("%s: /bff/user: got %v, want a user without the hint", name, claims)
			}
			logout, _ := b.user()["bff:logout_url"].(string)
			query := queryOf(t, b.get(strings.TrimPrefix(logout, "/mt")).header.Get("Location"))
			if query.Get("logout_hint") != row.hint || query.Has("logout_hint") != (row.hint != "") || query.Has("id_token_hint") != row.idTokenIs {
				t.Errorf("%s: got %v, want logout_hint %q and an id_token_hint: %t", name, query, row.hint, row.idTokenIs)
			}
		})
	}
}

// A further sign-in names the session's account by the provider's own hint, where there is one.
func TestFurtherSignInsNameTheAccount(t *testing.T) {
	for _, hinted := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newKitOf(t, web(func(app *mockidp.App) {
				if hinted {
					app.OptionalClaims = []string{"login_hint"}
				}
			})).start(nil, nil).browser()
			b.signIn(aliceID, "")
			isName := func(hint string) bool { return hint != "" && (hint == "alice@contoso.example") != hinted }
			for _, query := range []string{"?claims=eyJhY2Nlc3NfdG9rZW4iOnt9fQ", "?scope=" + todoScope} {
				if hint := queryOf(t, b.begin(query)).Get("login_hint"); !isName(hint) {
					t.Errorf("%s with a login_hint in the ID token: %t: got %q", query, hinted, hint)
				}
			}
		})
	}
}

// An authorization response says who issued it: that has to be the issuer of the ID token, also
// where several are allowed (RFC 9207, section 2.4).
func TestIssuerOfTheAuthorizationResponse(t *testing.T) {
	for name, row := range map[string]struct {
		iss  string
		want int
	}{
		"the user's tenant": {"/" + tenant + "/v2.0", 200}, "another allowed tenant": {"/" + fabrikam + "/v2.0", 502}, "nothing": {"", 502},
	} {
		synctest.Test(t, func(t *testing.T) {
			k := newKit(t)
			b := k.start(nil, func(c *session.Config) {
				c.Validator = k.validatorOfAll()
				c.Authority = k.idp.URL() + "/organizations"
			}).browser()
			iss := row.iss
			if iss != "" {
				iss = k.idp.URL() + iss
			}
			before := k.idp.Count("authorization_code")
			a := b.send("GET", b.callbackOf(aliceID, "")+"&iss="+url.QueryEscape(iss), true)
			if a.status != row.want || (b.sessionCookie() != "") != (row.want == 200) {
				t.Errorf("%s: got %d %s, want %d; log:\n%s", name, a.status, a.body, row.want, k.log)
			}
			if got := k.idp.Count("authorization_code") - before; row.iss == "" && got != 0 {
				t.Errorf("%s: got %d codes redeemed, want none", name, got)
			}
		})
	}
}

// validatorOfAll accepts the users of both tenants.
func (k *kit) validatorOfAll() *validate.Validator {
	k.t.Helper()
	v := validate.New(validate.Config{
		Instance: k.idp.URL(), TenantID: "organizations", AllowedTenants: []string{tenant, fabrikam}, ClientID: middleID,
		ClockSkew: time.Minute, Client: &http.Client{Transport: k.way},
	})
	go v.Run(k.t.Context())
	if err := v.AwaitKeys(k.t.Context()); err != nil {
		k.t.Fatal(err)
	}
	return v
}

// A response that has an error begins no session, whatever else it has.
func TestErrorBesideACode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		b := k.start(nil, nil).browser()
		a := b.send("GET", b.callbackOf(aliceID, "")+"&error=access_denied", true)
		if a.status != http.StatusForbidden || a.problem() != "consent-required" || k.idp.Count("authorization_code") != 0 {
			t.Errorf("got %d %s, want 403 and no exchange", a.status, a.body)
		}
	})
}

// What a challenge asks for is asked for at both ends of a sign-in: Entra takes the claims of the
// access token from the request for it.
func TestClaimsAreAskedForWithTheCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		b := k.start(nil, nil).browser()
		b.signIn(aliceID, "?claims=eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19")
		for _, r := range k.idp.Requests() {
			if r.Flow == "authorization_code" && !strings.Contains(r.Form.Get("claims"), `"acrs"`) {
				t.Errorf("the exchange of the code: got the claims %q, want those of the challenge", r.Form.Get("claims"))
			}
		}
	})
}

// The scopes of a sign-in are checked as a whole, and are not those of the next one.
func TestScopesOfASignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		const all = "api://middle/.default"
		usual := append(make([]string, 0, 4), writeScope) // with room for more
		b := k.start(nil, func(c *session.Config) { c.Scopes = usual }).browser()
		whole := k.start(nil, func(c *session.Config) { c.Scopes = []string{all} }).browser()
		for _, row := range []struct {
			b           *browser
			scope, want string // "": refused
		}{
			{b, "Read", readScope + " " + writeScope},
			{b, "", writeScope},
			{b, "offline_access email", writeScope},
			{b, readScope, readScope + " " + writeScope},
			{b, "ead", ""},
			{b, "middle/Read", ""},
			{b, "api://middle/read", ""},
			{b, "api://nothing/Read", ""},
			{whole, "Read", all}, // which holds it, and stands alone
			{whole, "", all},
		} {
			a := row.b.get("/bff/login?scope=" + url.QueryEscape(row.scope))
			got, _ := strings.CutPrefix(queryOf(t, a.header.Get("Location")).Get("scope"), "openid profile offline_access ")
			if got != row.want || (row.want == "") != (a.status == 400) {
				t.Errorf("scope=%s: got %d and %q, want %q", row.scope, a.status, got, row.want)
			}
		}
	})
}

// A session keeps the scopes that it began with: its next tokens have them too.
func TestSessionKeepsItsScopes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKit(t).start(nil, func(c *session.Config) { c.IdleTimeout = 8 * time.Hour }).browser()
		b.signIn(aliceID, "?scope=Write")
		first := b.wantToken()
		time.Sleep(2 * time.Hour)
		next := b.wantToken()
		scopes := strings.Fields(fmt.Sprint(tokentest.Read(t, next)["scp"]))
		if slices.Sort(scopes); next == first || !slices.Equal(scopes, []string{"Read", "Write"}) {
			t.Errorf("the next token: got the scopes %q, want Read and Write", scopes)
		}
	})
}
