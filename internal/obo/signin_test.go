package obo_test

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/credential"
	"middletier/internal/obo"
)

var code = obo.Code{
	Code: "a-code", Verifier: "a-verifier", RedirectURI: "https://app.example/signin-oidc", Scopes: todo, Claims: `{"access_token":{"acrs":{"value":"c1"}}}`,
}

// signedIn is a good answer for a code.
func signedIn(sent) answer {
	return answer{body: `{"token_type":"Bearer","expires_in":3600,"access_token":"token-1","refresh_token":"refresh-1","id_token":"an-id-token"}`}
}

func TestCodeIsRedeemed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := (&platform{token: signedIn, metadata: goodMetadata}).start(t, nil)
		got, err := k.client.RedeemCode(t.Context(), code)
		want := obo.Tokens{AccessToken: "token-1", RefreshToken: "refresh-1", IDToken: "an-id-token", Expires: time.Now().Add(time.Hour)}
		if err != nil || !got.Expires.Equal(want.Expires) {
			t.Fatalf("RedeemCode: got %+v %v, want %+v", got, err, want)
		}
		if want.Expires = got.Expires; got != want {
			t.Errorf("RedeemCode: got %+v, want %+v", got, want)
		}
		form := k.last().form
		for name, want := range map[string]string{
			"grant_type": "authorization_code", "code": "a-code", "code_verifier": "a-verifier", "redirect_uri": code.RedirectURI,
			"client_id": ourClient, "client_secret": ourSecret,
		} {
			if got := form.Get(name); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
		renewed, err := k.client.RedeemRefreshToken(t.Context(), obo.Renewal{RefreshToken: "refresh-0", TenantID: guestTenant, ObjectID: "x", Scopes: todo})
		if err != nil || renewed.RefreshToken != "refresh-1" {
			t.Fatalf("RedeemRefreshToken: got %+v %v", renewed, err)
		}
		if sent := k.last(); sent.form.Get("refresh_token") != "refresh-0" || sent.form.Get("grant_type") != "refresh_token" || sent.tenant != guestTenant {
			t.Errorf("the request: got %+v", sent)
		}
	})
}

// A code is sent again only where the provider cannot have got it, or refused us and not it.
func TestCodeIsSentOnce(t *testing.T) {
	lost := errors.New("connection reset by peer")
	unreachable := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	for name, row := range map[string]struct {
		first answer
		sent  int
		kind  obo.Kind // of the error; -1: none
	}{
		"answered with an error":   {answer{status: 503, body: "{}"}, 1, obo.Unavailable},
		"throttled":                {answer{status: 429, body: "{}"}, 1, obo.Unavailable},
		"lost on the way":          {answer{err: lost}, 1, obo.Unavailable},
		"too slow":                 {answer{delay: hangs}, 1, obo.Unavailable},
		"never sent":               {answer{err: unreachable}, 2, -1},
		"used before":              {answer{status: 400, body: `{"error":"invalid_grant","error_codes":[54005]}`}, 1, obo.InteractionRequired},
		"out of date":              {answer{status: 400, body: `{"error":"invalid_grant","error_codes":[70008]}`}, 1, obo.InteractionRequired},
		"wrong verifier":           {answer{status: 400, body: `{"error":"invalid_grant","error_codes":[501481]}`}, 1, obo.InteractionRequired},
		"consent is missing":       {answer{status: 400, body: `{"error":"invalid_grant","error_codes":[65001]}`}, 1, obo.ConsentRequired},
		"an unknown redirect URI":  {answer{status: 400, body: `{"error":"invalid_request","error_codes":[50011]}`}, 1, obo.Misconfigured},
		"nonsense":                 {answer{body: "<html>"}, 1, obo.InvalidResponse},
		"our credential is no use": {answer{status: 401, body: `{"error":"invalid_client","error_codes":[7000215]}`}, 2, -1},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir() + "/secret"
			write := func(secret string) {
				if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
					t.Error(err)
				}
			}
			write(ourSecret)
			synctest.Test(t, func(t *testing.T) {
				p := &platform{metadata: goodMetadata, token: func(r sent) answer {
					if r.n == 1 {
						write("another-secret~2")
						return row.first
					}
					return signedIn(r)
				}}
				k := p.start(t, func(c *obo.Config, _ *obo.CacheConfig) {
					c.Credentials = []credential.Config{{SourceType: "ClientSecret", ClientSecretFile: path}}
				})
				_, err := k.client.RedeemCode(t.Context(), code)
				var refusal *obo.Error
				if row.kind < 0 && err != nil || row.kind >= 0 && (!errors.As(err, &refusal) || refusal.Kind != row.kind) {
					t.Errorf("RedeemCode: got %v, want %v", err, row.kind)
				}
				if err != nil {
					wantNoSecrets(t, err)
				}
				k.wantExchanges(row.sent)
			})
		})
	}
}

func TestAuthorizationErrorsHaveAKind(t *testing.T) {
	k := start(t, nil)
	for _, row := range []struct {
		code, description string
		kind              obo.Kind
	}{
		{"access_denied", "AADSTS65004: User declined", obo.ConsentRequired},
		{"access_denied", "", obo.ConsentRequired},
		{"consent_required", "", obo.ConsentRequired},
		{"login_required", "AADSTS50058: …", obo.InteractionRequired},
		{"interaction_required", "AADSTS50076: …", obo.InteractionRequired},
		{"interaction_required", "", obo.InteractionRequired},
		{"account_selection_required", "", obo.InteractionRequired},
		{"temporarily_unavailable", "", obo.Unavailable},
		{"server_error", "", obo.Unavailable},
		{"unauthorized_client", "", obo.Misconfigured},
		{"invalid_scope", "AADSTS70011: …", obo.Misconfigured},
		{"invalid_request", "", obo.Misconfigured},
		{"unsupported_response_type", "", obo.Misconfigured},
		{"<script>", "", obo.Misconfigured},
	} {
		got := k.client.AuthorizationError(row.code, "", row.description, todo)
		if got.Kind != row.kind ||
			strings.HasPrefix(got.ConsentURI, "https://login.example/"+ourTenant+"/oauth2/v2.0/authorize?") != (row.kind == obo.ConsentRequired) || (got.RetryAfter > 0) != (row.kind == obo.Unavailable) {
			t.Errorf("%s %q: got %+v, want %v", row.code, row.description, got, row.kind)
		}
	}
}
