package validate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"middletier/internal/testkit/tokentest"
	"middletier/internal/validate"
)

// noRoles is the token of an application that was given no app permission.
var noRoles = noClaim("roles")

// A rule that names clients lets their app-only tokens in without roles, and nothing
// else that has neither scopes nor roles.
func TestListedClientsNeedNoRoles(t *testing.T) {
	listed := newAccess(t, validate.Rule{Clients: []string{strings.ToUpper(daemonID)}})
	unnamed := newAccess(t, validate.Rule{Scopes: []string{"Read"}, AppPermissions: []string{"Read.All"}})
	idToken := all(noRoles, noClaim("azpacr", "xms_cc", "idtyp"),
		claim("sub", "pairwise"), claim("name", "Alice"), claim("preferred_username", "a@b"))
	for _, row := range []struct {
		name   string
		draft  func() *draft
		change change
		want   validate.Reason // "": accepted
	}{
		{"idtyp app", appDraft, noRoles, ""},
		{"idtyp app, another sub", appDraft, all(noRoles, claim("sub", "other")), ""},
		{"no idtyp, oid the same as sub", appDraft, all(noRoles, noClaim("idtyp")), ""},
		{"v1.0", appDraft, all(noRoles, tokentest.V1), ""},
		{"v1.0 without idtyp", appDraft, all(noRoles, tokentest.V1, noClaim("idtyp")), ""},
		{"empty roles", appDraft, claim("roles", []string{}), ""},
		{"the client in upper case", appDraft, all(noRoles, claim("azp", strings.ToUpper(daemonID))), ""},

		{"another client", appDraft, all(noRoles, claim("azp", spaID)), validate.NotAccess},
		{"the client in braces", appDraft, all(noRoles, claim("azp", "{"+daemonID+"}")), validate.NotAccess},
		{"the client without hyphens", appDraft, all(noRoles, claim("azp", strings.ReplaceAll(daemonID, "-", ""))), validate.NotAccess},
		{"the client with a blank", appDraft, all(noRoles, claim("azp", daemonID+" ")), validate.NotAccess},
		{"the client as a URI", appDraft, all(noRoles, claim("azp", "api://"+daemonID)), validate.NotAccess},
		{"the client in appid, another in azp", appDraft, all(noRoles, claim("azp", spaID), claim("appid", daemonID)), validate.NotAccess},
		{"no client", appDraft, all(noRoles, noClaim("azp")), validate.NotAccess},
		{"the client in client_id only", appDraft, all(noRoles, noClaim("azp"), claim("client_id", daemonID)), validate.NotAccess},
		{"client of another type", appDraft, all(noRoles, claim("azp", []string{daemonID})), validate.Malformed},
		{"roles of another type", appDraft, claim("roles", "Read.All"), validate.Malformed},
		{"roles with a number", appDraft, claim("roles", []any{1}), validate.Malformed},
		{"with scp", appDraft, all(noRoles, claim("scp", "Read")), validate.NotAccess},
		{"with scp, no idtyp", appDraft, all(noRoles, noClaim("idtyp", "scp"), claim("scp", " "), claim("sub", "pairwise")), validate.NotAccess},
		{"idtyp user", appDraft, all(noRoles, claim("idtyp", "user")), validate.NotAccess},
		{"idtyp device", appDraft, all(noRoles, claim("idtyp", "device")), validate.NotAccess},
		{"idtyp in upper case", appDraft, all(noRoles, claim("idtyp", "APP")), validate.NotAccess},
		{"idtyp of another type", appDraft, all(noRoles, claim("idtyp", true)), validate.NotAccess},
		{"no idtyp, another sub", appDraft, all(noRoles, noClaim("idtyp"), claim("sub", "pairwise")), validate.NotAccess},
		{"no idtyp, no oid", appDraft, all(noRoles, noClaim("idtyp", "oid")), validate.NotAccess},
		{"no idtyp, no sub", appDraft, all(noRoles, noClaim("idtyp", "sub")), validate.NotAccess},
		{"delegated without scp", userDraft, all(noClaim("scp", "idtyp"), claim("azp", daemonID)), validate.NotAccess},
		{"delegated, of a user with one id", userDraft, all(noClaim("scp", "idtyp"), claim("azp", daemonID), claim("oid", "x"), claim("sub", "x")), validate.NotAccess},
		{"ID token, v2.0", appDraft, idToken, validate.NotAccess},
		{"ID token, v1.0", appDraft, all(idToken, tokentest.V1), validate.NotAccess},
		{"ID token of a user with one id", appDraft, all(idToken, func(d *draft) { d.Claims["sub"] = d.Claims["oid"] }), validate.NotAccess},
		{"ID token without a user's claims, with a nonce", appDraft, all(noRoles, noClaim("idtyp"), claim("nonce", "n")), validate.NotAccess},
		{"ID token that says app", appDraft, all(noRoles, claim("at_hash", "x")), validate.NotAccess},
		{"ID token of the hybrid flow", appDraft, all(noRoles, noClaim("idtyp"), claim("c_hash", nil)), validate.NotAccess},
		{"forged", appDraft, all(noRoles, flip(0)), validate.BadSig},
	} {
		bubble(t, row.name, func(t *testing.T) {
			v := start(t)
			token := row.draft().Token(row.change)
			for range 2 { // the second time, a good token is cached
				expectFor(t, v, token, listed, row.want)
				// Without a rule that names clients, nothing has changed.
				want := row.want
				if want != validate.Malformed {
					want = validate.NotAccess // said before the signature is checked
				}
				for _, access := range []*validate.Access{nil, unnamed} {
					expectFor(t, v, token, access, want)
				}
			}
		})
	}
}

// expectFor expects ValidateFor to refuse token for a reason, or to accept it.
func expectFor(t *testing.T, v *validate.Validator, token string, access *validate.Access, want validate.Reason) {
	t.Helper()
	caller, err := v.ValidateFor(context.Background(), token, access)
	var refused *validate.InvalidTokenError
	switch {
	case want == "" && (err != nil || !caller.IsApp() || access.Check(caller, "GET", "/") != nil):
		t.Errorf("got %v, want an application that the rule allows", err)
	case want != "" && (!errors.As(err, &refused) || refused.Reason != want || caller != nil):
		t.Errorf("got %v, %v, want %s", caller, err, want)
	}
}

// Whoever is listed is still checked against the tenants and clients that are allowed at all.
func TestListedClientsMustBeAllowedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		access := newAccess(t, validate.Rule{Clients: []string{daemonID}})
		v := start(t, func(c *validate.Config) { c.AllowedClients = []string{spaID} })
		if _, err := v.ValidateFor(context.Background(), appDraft().Token(noRoles), access); !errors.Is(err, validate.ErrClientNotAllowed) {
			t.Errorf("got %v, want ErrClientNotAllowed", err)
		}
		v = start(t, func(c *validate.Config) { c.TenantID, c.AllowedTenants = "organizations", []string{fabrikam} })
		if _, err := v.ValidateFor(context.Background(), appDraft().Token(noRoles), access); !errors.Is(err, validate.ErrTenantNotAllowed) {
			t.Errorf("got %v, want ErrTenantNotAllowed", err)
		}
	})
}

// A list of clients adds to its rule and never narrows it, and it is for its rule alone.
func TestClientsOfARule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := start(t)
		for _, row := range []struct {
			name   string
			rules  []validate.Rule
			change change
			want   string // "": allowed; else what is needed
		}{
			{"a rule with clients only", []validate.Rule{{Clients: []string{daemonID}}}, noRoles, ""},
			{"roles, another client listed", []validate.Rule{{AppPermissions: []string{"Read.All"}, Clients: []string{spaID}}}, claim("x", 1), ""},
			{"other roles, this client listed", []validate.Rule{{AppPermissions: []string{"Write.All"}, Clients: []string{daemonID}}}, claim("x", 1), ""},
			{"roles by which alone it is an application's", []validate.Rule{{AppPermissions: []string{"Write.All"}, Clients: []string{daemonID}}}, all(noClaim("idtyp"), claim("sub", "other")), "Write.All"},
			{"roles, another client listed alone", []validate.Rule{{Clients: []string{spaID}}}, claim("x", 1), "none"},
			{"listed by a later rule", []validate.Rule{{Methods: []string{"GET"}, AppPermissions: []string{"Read.All"}}, {Clients: []string{daemonID}}}, noRoles, "Read.All"},
			{"listed by a rule for another path", []validate.Rule{{Paths: []string{"/x"}, Clients: []string{daemonID}}, {Scopes: []string{"Read"}}}, noRoles, "none"},
			{"listed by a rule for another method", []validate.Rule{{Methods: []string{"POST"}, Clients: []string{daemonID}}, {Scopes: []string{"Read"}, AppPermissions: []string{"Read.All"}}}, noRoles, "Read.All"},
		} {
			access := newAccess(t, row.rules...)
			caller, err := v.ValidateFor(context.Background(), appDraft().Token(row.change), access)
			if err != nil {
				t.Fatalf("%s: %v", row.name, err)
			}
			got := ""
			var refused *validate.AccessError
			if errors.As(access.Check(caller, "GET", "/"), &refused) {
				if got = strings.Join(refused.Needed, " "); got == "" {
					got = "none"
				}
			}
			if got != row.want {
				t.Errorf("%s: got %q, want %q", row.name, got, row.want)
			}
		}
		user := accept(t, v, userDraft().Token(claim("azp", daemonID)))
		if err := newAccess(t, validate.Rule{Clients: []string{daemonID}}).Check(user, "GET", "/"); err == nil {
			t.Error("a user's token is let in by its client")
		}
	})
}
