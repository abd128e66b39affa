package validate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"middletier/internal/testkit/tokentest"
	"middletier/internal/validate"
)

const nonce = "a-nonce-of-the-request"

// idDraft is an ID token of Alice for the application spa.
func idDraft() *draft {
	claims := platform().UserClaims("alice", "spa", "api", "Read")
	for _, name := range []string{"scp", "azp", "azpacr", "xms_cc", "idtyp"} {
		delete(claims, name)
	}
	claims["aud"], claims["nonce"], claims["sid"], claims["login_hint"] = spaID, nonce, "the-session", "a-hint"
	return source().Draft(claims)
}

func TestIDTokenSaysWhoSignedIn(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		v := start(t)
		token := idDraft().Token(claim("groups", []any{"a", 1, map[string]any{"b": true}}), claim("azp", spaID), claim("vip", true))
		got, err := v.ValidateIDToken(context.Background(), token, spaID, nonce)
		if err != nil {
			t.Fatal(err)
		}
		if got.TenantID != contoso || got.ObjectID != aliceID || got.Subject == "" || got.SessionID != "the-session" || got.LoginHint != "a-hint" {
			t.Errorf("got %+v", got)
		}
		text, err := json.Marshal(got.Claims)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			`{"type":"groups","value":"a"},{"type":"groups","value":1},{"type":"groups","value":{"b":true}}`, `{"type":"vip","value":true}`,
			`{"type":"oid","value":"` + aliceID + `"}`,
		} {
			if !strings.Contains(string(text), want) {
				t.Errorf("claims: got %s, want %s", text, want)
			}
		}
	})
}

// Claims beyond a number or a size are left out, and the token is accepted.
func TestClaimsOfIDTokensAreBounded(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		v := start(t)
		for name, groups := range map[string][]any{
			"many":  slices.Repeat([]any{"g"}, 500),
			"large": slices.Repeat([]any{strings.Repeat("g", 1000)}, 20),
		} {
			got, err := v.ValidateIDToken(context.Background(), idDraft().Token(claim("zzz", groups)), spaID, nonce)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			size := 0
			for _, c := range got.Claims {
				size += len(c.Type) + len(c.Value)
			}
			if len(got.Claims) == 0 || len(got.Claims) > 256 || size > 12<<10 {
				t.Errorf("%s groups: got %d claims of %d bytes, want 256 and 12 KiB at most", name, len(got.Claims), size)
			}
		}
	})
}

func TestIDTokensThatAreRefused(t *testing.T) {
	rows := []tokentest.Refusal{
		{Name: "another audience", Change: claim("aud", apiID), Reason: validate.WrongAud},
		{Name: "our audience as a list", Change: claim("aud", []any{spaID}), Reason: validate.Malformed},
		{Name: "issued to another application", Change: claim("azp", apiID), Reason: validate.WrongAud},
		{Name: "another nonce", Change: claim("nonce", "x"), Reason: validate.Malformed, Says: "nonce"},
		{Name: "no nonce", Change: noClaim("nonce"), Reason: validate.Malformed, Says: "nonce"},
		{Name: "nonce in another case", Change: all(noClaim("nonce"), claim("Nonce", nonce)), Reason: validate.Malformed, Says: "nonce"},
		{Name: "two nonces", Change: claim("NONCE", "x"), Reason: validate.Malformed, Says: "case"},
		{Name: "a nonce that is a list", Change: claim("nonce", []any{nonce}), Reason: validate.Malformed, Says: "nonce"},
		{Name: "no iat", Change: noClaim("iat"), Reason: validate.Malformed, Says: "iat"},
		{Name: "no sub", Change: noClaim("sub"), Reason: validate.Malformed, Says: "sub"},
		{Name: "a sid that is a number", Change: claim("sid", 1), Reason: validate.Malformed, Says: "sid"},
		{Name: "an access token by its type", Change: tokentest.Header("typ", "at+jwt"), Reason: validate.Malformed, Says: "typ"},
		{Name: "an access token", Change: func(d *draft) { d.Claims = userDraft().Claims }, Reason: validate.WrongAud},
		{Name: "a token of v1.0", Change: func(d *draft) { d.Claims = userDraftV1().Claims }, Reason: validate.WrongAud},
	}
	of := []validate.Reason{validate.Malformed, validate.BadSig, validate.WrongIssuer, validate.Expired, validate.NotYetValid, validate.TooLong}
	// They change a claim that an ID token has not.
	others := []string{"another scope after signing", "scp and SCP", "idtyp and IdTyp", "azp and Azp"}
	for _, row := range refusals() { // what is refused of an access token for its form, its signature or its time
		if slices.Contains(of, row.Reason) && !slices.Contains(others, row.Name) {
			rows = append(rows, tokentest.Refusal{Name: "as an access token: " + row.Name, Change: row.Change})
		}
	}
	for _, row := range rows {
		bubble(t, row.Name, func(t *testing.T) {
			got, err := start(t).ValidateIDToken(context.Background(), idDraft().Token(row.Change), spaID, nonce)
			var refused *validate.InvalidTokenError
			if !errors.As(err, &refused) || row.Reason != "" && refused.Reason != row.Reason || !strings.Contains(fmt.Sprint(refused.Err), row.Says) {
				t.Errorf("ValidateIDToken: got %v, %v, want %s, with %q", got, err, row.Reason, row.Says)
			}
		})
	}
}

func TestIssuersOfIDTokens(t *testing.T) {
	issuer := func(tenant string) string { return "https://localhost/" + tenant + "/v2.0" }
	bubble(t, "", func(t *testing.T) {
		one := start(t)
		many := start(t, func(c *validate.Config) { c.TenantID, c.AllowedTenants = "organizations", []string{fabrikam} })
		time.Sleep(time.Second)
		for _, row := range []struct {
			issuer    string
			one, many bool
		}{
			{issuer(contoso), true, false},
			{issuer(fabrikam), false, true},
			{"", false, false},
			{"https://localhost/" + contoso + "/", false, false},
			{"https://evil.example/" + contoso + "/v2.0", false, false},
			{issuer(fabrikam) + "/", false, false},
		} {
			if got := one.IsIssuer(row.issuer); got != row.one {
				t.Errorf("IsIssuer(%q) for one tenant: got %v", row.issuer, got)
			}
			if got := many.IsIssuer(row.issuer); got != row.many {
				t.Errorf("IsIssuer(%q) for another one: got %v", row.issuer, got)
			}
		}
	})
}
