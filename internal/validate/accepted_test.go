package validate_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/validate"
)

func TestTokensThatAreAccepted(t *testing.T) {
	v1 := func(c *validate.Config) { c.ClientID = legacyID }
	same := func(*draft) {}
	for _, row := range []struct {
		name   string
		draft  func() *draft
		change change
		config func(*validate.Config)
		app    bool
		holds  string // scopes of a user, permissions of an app
	}{
		{"v2.0 user", userDraft, same, nil, false, "Read"},
		{"v2.0 app", appDraft, same, nil, true, "Read.All"},
		{"v1.0 user", userDraftV1, same, v1, false, "Read"},
		{"v1.0 app", appDraftV1, same, v1, true, "Read.All"},
		{"v1.0 user, aud the GUID", userDraftV1, claim("aud", legacyID), v1, false, "Read"},
		{"v2.0 user, aud the URI", userDraft, claim("aud", "api://"+apiID), nil, false, "Read"},
		{"an audience of the configuration", userDraft, claim("aud", "https://api.example/"), func(c *validate.Config) { c.Audiences = []string{"x", "https://api.example/"} }, false, "Read"},
		{"a user without idtyp", userDraft, noClaim("idtyp"), nil, false, "Read"},
		{"an app without idtyp, oid the same as sub", appDraft, noClaim("idtyp"), nil, true, "Read.All"},
		{"an app without idtyp, with a name, oid the same as sub", appDraft, all(noClaim("idtyp"), claim("name", "Daemon")), nil, true, "Read.All"},
		{"an app without idtyp, another sub, no claim of a user", appDraft, all(noClaim("idtyp"), claim("sub", "other")), nil, true, "Read.All"},
		{"v1.0 user without idtyp", userDraftV1, noClaim("idtyp"), v1, false, "Read"},
		{"v1.0 app without idtyp", appDraftV1, noClaim("idtyp"), v1, true, "Read.All"},
		{"a user without ver", userDraft, noClaim("ver"), nil, false, "Read"},
		{"v1.0 user without ver", userDraftV1, noClaim("ver"), v1, false, "Read"},
		{"several scopes", userDraft, claim("scp", "Read Write openid"), nil, false, "Read Write openid"},
		{"scopes with spaces between and around", userDraft, claim("scp", " Read  Write "), nil, false, "Read Write"},
		{"a user with roles too", userDraft, claim("roles", []string{"Admin"}), nil, false, "Read"},
		{"a user with roles too, without idtyp", userDraft, all(claim("roles", []string{"Admin"}), noClaim("idtyp")), nil, false, "Read"},
		{"a user with roles too, without idtyp and any claim of a user", userDraft, all(claim("roles", []string{"Admin"}), noClaim("idtyp", "name", "preferred_username")), nil, false, "Read"},
		{"several roles", appDraft, claim("roles", []string{"Read.All", "Write.All"}), nil, true, "Read.All Write.All"},
		{"a guest", userDraft, all(claim("idp", "https://sts.windows.net/"+fabrikam+"/"), claim("email", "frida@fabrikam.example")), nil, false, "Read"},
		{"a user without oid", userDraft, noClaim("oid"), nil, false, "Read"},
		{"a user without azp", userDraft, noClaim("azp"), nil, false, "Read"},
		{"a tenant named by its domain", userDraft, same, func(c *validate.Config) { c.TenantID = "contoso.example" }, false, "Read"},
		{"a tenant's GUID in upper case", userDraft, same, func(c *validate.Config) { c.TenantID = strings.ToUpper(contoso) }, false, "Read"},
		{"tid in upper case", userDraft, claim("tid", strings.ToUpper(contoso)), nil, false, "Read"},
		{"an instance with a slash", userDraft, same, func(c *validate.Config) { c.Instance += "/" }, false, "Read"},
		{"an allowed client", userDraft, same, func(c *validate.Config) { c.AllowedClients = []string{daemonID, strings.ToUpper(spaID)} }, false, "Read"},
		{"an allowed client of v1.0", appDraftV1, same, func(c *validate.Config) { v1(c); c.AllowedClients = []string{daemonID} }, true, "Read.All"},
		{"an allowed client in other case", userDraft, claim("azp", strings.ToUpper(spaID)), func(c *validate.Config) { c.AllowedClients = []string{spaID} }, false, "Read"},
		{"one second before exp and skew", userDraft, ahead("exp", -59*time.Second), nil, false, "Read"},
		{"a fraction before exp and skew", userDraft, func(d *draft) { d.claims["exp"] = float64(time.Now().Unix()-60) + 0.25 }, nil, false, "Read"},
		{"nbf ahead by the skew", userDraft, ahead("nbf", time.Minute), nil, false, "Read"},
		{"iat ahead by the skew", userDraft, ahead("iat", time.Minute), nil, false, "Read"},
		{"no nbf and iat", userDraft, noClaim("nbf", "iat"), nil, false, "Read"},
		{"exp with a fraction", userDraft, func(d *draft) { d.claims["exp"] = float64(time.Now().Unix()) + 3600.5 }, nil, false, "Read"},
		{"exp as 1e10", userDraft, all(noClaim("exp"), editClaims(behind(`"exp":1e10`))), nil, false, "Read"},
		{"exp at the end of the year 9999", userDraft, claim("exp", 253402300799), nil, false, "Read"},
		{"typ missing", userDraft, noHeader("typ"), nil, false, "Read"},
		{"typ in lower case", userDraft, header("typ", "jwt"), nil, false, "Read"},
		{"typ at+jwt", userDraft, header("typ", "at+jwt"), nil, false, "Read"},
		{"jku, x5u and jwk, which are not looked at", userDraft, all(header("jku", "https://evil.example/"), header("x5u", "https://evil.example/"), header("jwk", 1)), nil, false, "Read"},
		{"white space in the JSON", userDraft, editClaims(func(s string) string { return " \r\n\t" + strings.Replace(s, ",", " ,\n ", 1) + " \n" }), nil, false, "Read"},
		{"members of every type that are not read", userDraft, editClaims(behind(`"x":null,"y":[1,[{"a":{"b":[true,1e999]}}]],"z":{"aud":["x"],"AUD":1}`)), nil, false, "Read"},
		{"the same name in two objects", userDraft, editClaims(behind(`"x":{"a":1},"y":{"a":1}`)), nil, false, "Read"},
		{"nested as deep as can be", userDraft, editClaims(behind(`"x":` + nested(7))), nil, false, "Read"},
		{"of the greatest length", userDraft, tokenLength(validate.MaxTokenSize), nil, false, "Read"},
		{"escaped text", userDraft, all(noClaim("scp"), editClaims(behind(`"\u0073cp":"\u0052ead"`))), nil, false, "Read"},
	} {
		bubble(t, row.name, func(t *testing.T) {
			configure := []func(*validate.Config){}
			if row.config != nil {
				configure = append(configure, row.config)
			}
			d := row.draft()
			token := d.token(row.change)
			caller := accept(t, start(t, configure...), token)
			if caller.IsApp() != row.app {
				t.Errorf("IsApp: got %t, want %t", caller.IsApp(), row.app)
			}
			for _, name := range strings.Fields(row.holds) {
				if asUser, asApp := holds(t, caller, name, "none"), holds(t, caller, "none", name); asUser == row.app || asApp != row.app {
					t.Errorf("holds %s: got %t as a scope and %t as an app permission", name, asUser, asApp)
				}
			}
			if holds(t, caller, "Admin", "Admin") {
				t.Error("holds Admin, which is a role of a user at most")
			}
			if caller.Token() != token || caller.Digest() != sha256.Sum256([]byte(token)) || caller.TenantID() != contoso {
				t.Errorf("caller: got another token, digest or tenant (%s)", caller.TenantID())
			}
		})
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
		both := func(d *draft) { d.claims["azp"], d.claims["appid"] = spaID, daemonID }
		for _, row := range []struct {
			name  string
			v     *validate.Validator
			token string
			want  facts
		}{
			{"v2.0 user", v2, userDraft().token(), facts{spaID, aliceID, "alice", false, true, expires}},
			{"v1.0 user", v1, userDraftV1().token(), facts{spaID, aliceID, "alice", false, true, expires}},
			{"v2.0 app", v2, appDraft().token(), facts{daemonID, daemonSP, "", true, true, expires}},
			{"v1.0 app", v1, appDraftV1().token(), facts{daemonID, daemonSP, "", true, true, expires}},
			{"v2.0 with appid too", v2, userDraft().token(both), facts{spaID, aliceID, "alice", false, true, expires}},
			{"v1.0 with azp too", v1, userDraftV1().token(both), facts{daemonID, aliceID, "alice", false, true, expires}},
			{"no xms_cc", v2, userDraft().token(noClaim("xms_cc")), facts{spaID, aliceID, "alice", false, false, expires}},
			{"xms_cc of others", v2, userDraft().token(claim("xms_cc", []string{"cp2", "protapp"})), facts{spaID, aliceID, "alice", false, false, expires}},
			{"xms_cc among others", v2, userDraft().token(claim("xms_cc", []string{"protapp", "CP1"})), facts{spaID, aliceID, "alice", false, true, expires}},
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
		accept(t, v, appDraft().token())
		for name, token := range map[string]string{
			"another client": userDraft().token(),
			"no client":      userDraft().token(noClaim("azp")),
			"only appid, in v1.0's manner, of another": userDraft().token(noClaim("azp"), claim("appid", spaID)),
		} {
			for range 2 {
				if _, err := v.Validate(context.Background(), token); !errors.Is(err, validate.ErrClientNotAllowed) {
					t.Errorf("%s: got %v, want ErrClientNotAllowed", name, err)
				}
			}
		}
		// Who is not genuine learns nothing of who is allowed.
		refuse(t, v, userDraft().token(flip(0)), validate.BadSig)
	})
}

func TestDomainAsTenantKeepsOtherTenantsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := start(t, func(c *validate.Config) { c.TenantID = "contoso.example" })
		accept(t, v, userDraft().token())
		refuse(t, v, newDraft(platform().UserClaims("frida", "spa", "api", "Read")).token(), validate.WrongIssuer)
		refuse(t, v, userDraft().token(claim("tid", fabrikam)), validate.WrongIssuer)
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
		{"audiences", func(c *validate.Config) { c.Audiences = []string{"a", ""} }},
		{"allowedClients", func(c *validate.Config) { c.AllowedClients = []string{""} }},
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
		token := userDraft().token(ahead("exp", time.Hour))
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
		token := userDraft().token()
		accept(t, v, token)
		for _, spelling := range []string{spareBits(token), token + "=", token + "==", token + "\n", " " + token} {
			refuse(t, v, spelling, validate.Malformed)
		}
		refuse(t, v, token[:len(token)-342]+b64(string(make([]byte, 256))), validate.BadSig)
		accept(t, v, token)
	})
}
