package validate_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/testkit/tokentest"
	"middletier/internal/validate"
)

func TestTokensThatAreAccepted(t *testing.T) {
	for _, row := range append(tokentest.Acceptances(), exactAcceptances...) {
		bubble(t, row.Name, func(t *testing.T) {
			checkAccepted(t, start(t), userDraft().Token(row.Change), row.App)
		})
	}
}

// exactAcceptances depend on a clock that stands still, or could not be traded: a
// provider allows less than we do.
var exactAcceptances = []tokentest.Acceptance{
	{Name: "one second before exp and skew", Change: ahead("exp", -59*time.Second)},
	{Name: "a fraction before exp and skew", Change: func(d *draft) { d.Claims["exp"] = float64(time.Now().Unix()-60) + 0.25 }},
	{Name: "nbf ahead by the skew", Change: ahead("nbf", time.Minute)},
	{Name: "v1.0 user without ver", Change: all(tokentest.V1, noClaim("ver"))},
	{Name: "a user without oid", Change: noClaim("oid")},
}

func TestTokensThatAConfigurationAccepts(t *testing.T) {
	same := func(*draft) {}
	v1 := func(c *validate.Config) { c.ClientID = legacyID }
	for _, row := range []struct {
		name   string
		draft  func() *draft
		change change
		config func(*validate.Config)
		app    bool
	}{
		{"an API of v1.0, user", userDraftV1, same, v1, false},
		{"an API of v1.0, app", appDraftV1, same, v1, true},
		{"an API of v1.0, aud the GUID", userDraftV1, claim("aud", legacyID), v1, false},
		{"an audience of the configuration", userDraft, claim("aud", "https://api.example/"), func(c *validate.Config) { c.Audiences = []string{"x", "https://api.example/"} }, false},
		{"a URI with a slash more than configured", userDraft, claim("aud", "api://"+apiID+"/"), func(*validate.Config) {}, false},
		{"a URI with a slash less than configured", userDraft, claim("aud", "https://api.example"), func(c *validate.Config) { c.Audiences = []string{"https://api.example/"} }, false},
		{"a URI of a path with a slash more than configured", userDraft, claim("aud", "https://api.example/v1/"), func(c *validate.Config) { c.Audiences = []string{"https://api.example/v1"} }, false},
		{"a URI with two slashes, as configured", userDraft, claim("aud", "https://api.example//"), func(c *validate.Config) { c.Audiences = []string{"https://api.example//"} }, false},
		{"a tenant named by its domain", userDraft, same, func(c *validate.Config) { c.TenantID = "contoso.example" }, false},
		{"a tenant's GUID in upper case", userDraft, same, func(c *validate.Config) { c.TenantID = strings.ToUpper(contoso) }, false},
		{"an instance with a slash", userDraft, same, func(c *validate.Config) { c.Instance += "/" }, false},
		{"an allowed client", userDraft, same, func(c *validate.Config) { c.AllowedClients = []string{daemonID, strings.ToUpper(spaID)} }, false},
		{"an allowed client of v1.0", appDraftV1, same, func(c *validate.Config) { v1(c); c.AllowedClients = []string{daemonID} }, true},
		{"an allowed client in other case", userDraft, claim("azp", strings.ToUpper(spaID)), func(c *validate.Config) { c.AllowedClients = []string{spaID} }, false},
	} {
		bubble(t, row.name, func(t *testing.T) {
			checkAccepted(t, start(t, row.config), row.draft().Token(row.change), row.app)
		})
	}
}

// checkAccepted fails unless v takes token for one of a user with Read, or of an
// application with Read.All.
func checkAccepted(t *testing.T, v *validate.Validator, token string, app bool) {
	t.Helper()
	caller := accept(t, v, token)
	if caller.IsApp() != app {
		t.Errorf("IsApp: got %t, want %t", caller.IsApp(), app)
	}
	if asUser, asApp := holds(t, caller, "Read", "none"), holds(t, caller, "none", "Read.All"); asUser == app || asApp != app {
		t.Errorf("got %t for Read as a scope and %t for Read.All as an app permission", asUser, asApp)
	}
	if holds(t, caller, "Admin", "Admin") {
		t.Error("holds Admin, which is a role of a user at most")
	}
	if caller.Token() != token || caller.Digest() != sha256.Sum256([]byte(token)) || caller.TenantID() != contoso {
		t.Errorf("caller: got another token, digest or tenant (%s)", caller.TenantID())
	}
}

func TestCallerSaysWhatItsTokenSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type facts struct {
			client, object, name string
			app, cp1             bool
			expires              int64
		}
		read := func(c *validate.Caller) facts {
			return facts{c.ClientID(), c.ObjectID(), c.Name(), c.IsApp(), c.HandlesClaims(), c.Expires().Unix()}
		}
		v2, v1 := start(t), start(t, func(c *validate.Config) { c.ClientID = legacyID })
		expires := time.Now().Add(75 * time.Minute).Unix()
		both := func(d *draft) { d.Claims["azp"], d.Claims["appid"] = spaID, daemonID }
		for _, row := range []struct {
			name  string
			v     *validate.Validator
			token string
			want  facts
		}{
			{"v2.0 user", v2, userDraft().Token(), facts{spaID, aliceID, "alice", false, true, expires}},
			{"v1.0 user", v1, userDraftV1().Token(), facts{spaID, aliceID, "alice", false, true, expires}},
			{"v2.0 app", v2, appDraft().Token(), facts{daemonID, daemonSP, "", true, true, expires}},
			{"v1.0 app", v1, appDraftV1().Token(), facts{daemonID, daemonSP, "", true, true, expires}},
			{"v2.0 with appid too", v2, userDraft().Token(both), facts{spaID, aliceID, "alice", false, true, expires}},
			{"v1.0 with azp too", v1, userDraftV1().Token(both), facts{daemonID, aliceID, "alice", false, true, expires}},
			{"no xms_cc", v2, userDraft().Token(noClaim("xms_cc")), facts{spaID, aliceID, "alice", false, false, expires}},
			{"xms_cc of another type", v2, userDraft().Token(claim("xms_cc", "cp1")), facts{spaID, aliceID, "alice", false, false, expires}},
			{"name of another type", v2, userDraft().Token(claim("name", []string{"alice"})), facts{spaID, aliceID, "", false, true, expires}},
			{"xms_cc of others", v2, userDraft().Token(claim("xms_cc", []string{"cp2", "protapp"})), facts{spaID, aliceID, "alice", false, false, expires}},
			{"xms_cc among others", v2, userDraft().Token(claim("xms_cc", []string{"protapp", "CP1"})), facts{spaID, aliceID, "alice", false, true, expires}},
		} {
			if got := read(accept(t, row.v, row.token)); got != row.want {
				t.Errorf("%s: got %+v, want %+v", row.name, got, row.want)
			}
		}
	})
}

func TestOnlyAllowedClientsAreLetIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := start(t, func(c *validate.Config) { c.AllowedClients = []string{daemonID} })
		accept(t, v, appDraft().Token())
		for name, token := range map[string]string{
			"another client": userDraft().Token(),
			"no client":      userDraft().Token(noClaim("azp")),
			"only appid, in v1.0's manner, of another": userDraft().Token(noClaim("azp"), claim("appid", spaID)),
		} {
			for range 2 {
				if _, err := v.Validate(context.Background(), token); !errors.Is(err, validate.ErrClientNotAllowed) {
					t.Errorf("%s: got %v, want ErrClientNotAllowed", name, err)
				}
			}
		}
		// Who is not genuine learns nothing of who is allowed.
		refuse(t, v, userDraft().Token(flip(0)), validate.BadSig)
	})
}

func TestDomainAsTenantKeepsOtherTenantsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := start(t, func(c *validate.Config) { c.TenantID = "contoso.example" })
		accept(t, v, userDraft().Token())
		refuse(t, v, source().Draft(platform().UserClaims("frida", "spa", "api", "Read")).Token(), validate.WrongIssuer)
		refuse(t, v, userDraft().Token(claim("tid", fabrikam)), validate.WrongIssuer)
	})
}

func TestConfigMistakesAreReportedByKey(t *testing.T) {
	good := validate.Config{Instance: "https://login.example/", TenantID: contoso, ClientID: apiID, ClockSkew: time.Minute}
	for _, row := range []struct {
		key    string
		change func(*validate.Config)
	}{
		{"", func(*validate.Config) {}},
		{"", func(c *validate.Config) { c.TenantID = "contoso.example" }},
		{"instance", func(c *validate.Config) { c.Instance = "http://login.example/" }},
		{"instance", func(c *validate.Config) { c.Instance = "" }},
		{"instance", func(c *validate.Config) { c.Instance = "https://user@login.example/" }},
		{"instance", func(c *validate.Config) { c.Instance = "https://login.example/?x" }},
		{"tenantId", func(c *validate.Config) { c.TenantID = "" }},
		{"instance", func(c *validate.Config) { c.Instance = "https://fs.contoso.example/adfs/" }},
		{"tenantId", func(c *validate.Config) { c.TenantID = contoso + "/../" + fabrikam }},
		{"clientId", func(c *validate.Config) { c.ClientID = "" }},
		{"", func(c *validate.Config) {
			c.Audiences = []string{apiID, "api://api", "https://api.example/", "urn:api"}
		}},
		{"audiences[1]", func(c *validate.Config) { c.Audiences = []string{"a", ""} }},
		{"audiences[0] audiences[2]", func(c *validate.Config) { c.Audiences = []string{"api://a api://b", "a", " api://b"} }},
		{"audiences[0] audiences[1]", func(c *validate.Config) { c.Audiences = []string{"api://a\n", "api://a\u00a0", "api://ä"} }},
		{"audiences[0]", func(c *validate.Config) { c.Audiences = []string{"api://a\x00"} }},
		{"", func(c *validate.Config) { c.AllowedClients = []string{spaID, strings.ToUpper(daemonID)} }},
		{"allowedClients[0]", func(c *validate.Config) { c.AllowedClients = []string{""} }},
		{"allowedClients[1] allowedClients[2]", func(c *validate.Config) { c.AllowedClients = []string{spaID, "spa", spaID + " "} }},
		{"allowedClients[0] allowedClients[1]", func(c *validate.Config) { c.AllowedClients = []string{"{" + spaID + "}", "/* the page */"} }},
		{"allowedClients[0]", func(c *validate.Config) { c.AllowedClients = []string{"api://" + spaID} }},
		{"allowedTenants[1]", func(c *validate.Config) { c.AllowedTenants = []string{contoso, "contoso.example"} }},
		{"clockSkew", func(c *validate.Config) { c.ClockSkew = time.Hour }},
		{"clockSkew", func(c *validate.Config) { c.ClockSkew = -time.Second }},
	} {
		c, got := good, []string{}
		row.change(&c)
		c.Check(func(key, _ string) { got = append(got, key) })
		if strings.Join(got, " ") != row.key {
			t.Errorf("Check(%+v): got %q, want %q", c, got, row.key)
		}
	}
}

func TestTokenIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := start(t)
		token := userDraft().Token(ahead("exp", time.Hour))
		accept(t, v, token)
		end := accept(t, v, token).Expires().Add(time.Minute) // the skew
		for _, left := range []time.Duration{time.Hour, time.Nanosecond} {
			time.Sleep(time.Until(end) - left)
			// A check of the signature allocates far more than this.
			if n := testing.AllocsPerRun(100, func() { accept(t, v, token) }); n > 2 {
				t.Errorf("%s before the end: %v allocations, want 2 at most", left, n)
			}
		}
		time.Sleep(time.Nanosecond)
		refuse(t, v, token, validate.Expired)
	})
}

func TestRememberedTokenHasOneSpelling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := start(t)
		token := userDraft().Token()
		accept(t, v, token)
		for _, spelling := range []string{tokentest.SpareBits(token), token + "=", token + "==", token + "\n", " " + token} {
			refuse(t, v, spelling, validate.Malformed)
		}
		refuse(t, v, token[:len(token)-342]+b64(string(make([]byte, 256))), validate.BadSig)
		accept(t, v, token)
	})
}
