package obo_test

import (
	"errors"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"middletier/internal/credential"
	"middletier/internal/obo"
)

// codeForm is a code as a relayed client sends it.
func codeForm() url.Values {
	return url.Values{"grant_type": {"authorization_code"}, "code": {"the code"}, "code_verifier": {"v"}, "redirect_uri": {"https://a.example/?b=c"}}
}

// What is relayed is the form and our credential of any kind, and the answer is the provider's.
func TestRelaySendsTheFormWithOurCredential(t *testing.T) {
	certificate := file(t, rsaPair().certificatePEM()+rsaPair().keyPEM())
	for _, row := range []struct {
		entry credential.Config
		proof []string
	}{
		{credential.Config{SourceType: "ClientSecret", ClientSecret: ourSecret}, []string{"client_secret"}},
		{credential.Config{SourceType: "Path", CertificateDiskPath: certificate}, []string{"client_assertion", "client_assertion_type"}},
	} {
		p := &platform{metadata: goodMetadata, token: func(sent) answer {
			return answer{body: `{"token_type":"Bearer","expires_in":"3600","access_token":"a.b.c","refresh_token":"r","id_token":"i",` +
				`"scope":"api://x/Read","client_info":"x","foci":"1"}`}
		}}
		k := p.start(t, func(c *obo.Config, _ *obo.CacheConfig) { c.Credentials = []credential.Config{row.entry} })
		got, err := k.client.Relay(t.Context(), "somebody", codeForm())
		want := obo.Relayed{AccessToken: "a.b.c", TokenType: "Bearer", ExpiresIn: "3600", RefreshToken: "r", IDToken: "i", Scope: "api://x/Read"}
		if err != nil || got != want {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
		form := k.last().form
		names := append([]string{"client_id"}, row.proof...)
		names = slices.AppendSeq(names, maps.Keys(codeForm()))
		slices.Sort(names)
		if sent := slices.Sorted(maps.Keys(form)); !slices.Equal(sent, names) || form.Get("client_id") != ourClient {
			t.Errorf("the provider gets %q, want %q", sent, names)
		}
		for name, values := range codeForm() {
			if !slices.Equal(form[name], values) {
				t.Errorf("%s: got %q, want %q", name, form[name], values)
			}
		}
	}
}

// A code may be good once only, so it is not sent again after an answer, nor without one.
func TestRelaySendsACodeOnce(t *testing.T) {
	for name, row := range map[string]struct {
		answer answer
		kind   obo.Kind
	}{
		"ill":         {answer{status: 503}, obo.Unavailable},
		"broken off":  {answer{err: errors.New("broken")}, obo.Unavailable},
		"refused":     {answer{status: 400, body: `{"error":"invalid_grant","error_codes":[54005]}`}, obo.InteractionRequired},
		"no token":    {answer{body: `{"token_type":"Bearer","expires_in":3600}`}, obo.InvalidResponse},
		"our secret":  {invalidClient, obo.Misconfigured},
		"a redirect":  {answer{status: 307, body: "{}"}, obo.InvalidResponse},
		"not JSON":    {answer{body: "<html>"}, obo.InvalidResponse},
		"huge":        {answer{body: strings.Repeat(" ", 2<<20)}, obo.InvalidResponse},
		"unsupported": {answer{status: 400, body: `{"error":"unauthorized_client","error_codes":[700016]}`}, obo.Misconfigured},
	} {
		p := &platform{metadata: goodMetadata, token: func(sent) answer { return row.answer }}
		k := p.start(t, nil)
		got, err := k.client.Relay(t.Context(), "somebody", codeForm())
		var refusal *obo.Error
		if got != (obo.Relayed{}) || !errors.As(err, &refusal) || refusal.Kind != row.kind || refusal.Flow != obo.AuthorizationCode {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, row.kind)
		}
		k.wantExchanges(1)
	}
}

// A secret that was replaced is read when the provider refuses the old one. That costs the
// code nothing: the provider looks at the credential first.
func TestRelayReadsAReplacedSecret(t *testing.T) {
	secretFile := file(t, "old")
	p := &platform{metadata: goodMetadata, token: func(r sent) answer {
		if r.form.Get("client_secret") == "old" {
			return invalidClient
		}
		return numbered(r)
	}}
	k := p.start(t, func(c *obo.Config, _ *obo.CacheConfig) {
		c.Credentials = []credential.Config{{SourceType: "ClientSecret", ClientSecretFile: secretFile}}
	})
	if err := os.WriteFile(secretFile, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := k.client.Relay(t.Context(), "somebody", codeForm()); err != nil || got.AccessToken != "token-2" {
		t.Errorf("got %v, %v", got, err)
	}
	k.wantExchanges(2)
}

// No other grant gets our credential, and no form replaces it.
func TestRelayRefusesOtherForms(t *testing.T) {
	k := start(t, nil)
	for _, change := range [][2]string{
		{"grant_type", ""},
		{"grant_type", "client_credentials"},
		{"grant_type", "password"},
		{"grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"},
		{"grant_type", "user_fic"},
		{"grant_type", "Authorization_Code"},
		{"client_id", "x"},
		{"client_secret", "x"},
		{"client_assertion", "x"},
		{"client_assertion_type", "x"},
	} {
		form := codeForm()
		form.Set(change[0], change[1])
		if got, err := k.client.Relay(t.Context(), "somebody", form); err == nil {
			t.Errorf("%q: got %v", change, got)
		}
	}
	k.wantExchanges(0)
}

// Forms that are relayed at the same time stay apart, and every one is measured.
func TestRelayKeepsFormsApart(t *testing.T) {
	var mu sync.Mutex
	flows := map[obo.Flow]int{}
	p := &platform{metadata: goodMetadata, token: func(r sent) answer { return granted("for-"+r.form.Get("refresh_token"), 3600) }}
	k := p.start(t, func(c *obo.Config, _ *obo.CacheConfig) {
		c.Exchanged = func(flow obo.Flow, _ time.Duration, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				flows[flow]++
			}
		}
	})
	var group sync.WaitGroup
	for _, name := range strings.Split("abcdefghijklmnopqrst", "") {
		group.Go(func() {
			got, err := k.client.Relay(t.Context(), name, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {name}})
			if err != nil || got.AccessToken != "for-"+name {
				t.Errorf("%s: got %v, %v", name, got, err)
			}
		})
	}
	group.Wait()
	if flows[obo.RefreshToken] != 20 {
		t.Errorf("measured: %v", flows)
	}
}
