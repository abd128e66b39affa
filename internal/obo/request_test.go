package obo_test

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/obo"
)

const stepUp = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`

// asks asks for a token and checks which one comes, and from where.
func (k kit) asks(r obo.Request, value string, source obo.TokenOrigin) {
	k.t.Helper()
	got, err := k.cache.Token(k.t.Context(), r)
	if err != nil || got.Value != value || got.Origin != source {
		k.t.Fatalf("token for %+v: got %v %v, want %s from %s", r, got, err, value, source)
	}
}

// refused asks for a token, which must be refused with an *obo.Error.
func (k kit) refused(r obo.Request) *obo.Error {
	k.t.Helper()
	got, err := k.cache.Token(k.t.Context(), r)
	var refusal *obo.Error
	if !errors.As(err, &refusal) || got.Value != "" {
		k.t.Fatalf("token for %+v: got %v, %T %v, want an *obo.Error", r, got, err, err)
	}
	wantNoSecrets(k.t, err)
	return refusal
}

// wantSent compares parameters of the last request to the token endpoint; "": not there.
func (k kit) wantSent(tenant string, pairs ...string) {
	k.t.Helper()
	last := k.last()
	if last.tenant != tenant {
		k.t.Errorf("tenant of the exchange: got %s, want %s", last.tenant, tenant)
	}
	for i := 0; i < len(pairs); i += 2 {
		if got := last.form.Get(pairs[i]); got != pairs[i+1] {
			k.t.Errorf("parameter %s: got %q, want %q", pairs[i], got, pairs[i+1])
		}
	}
}

func TestTenantsOfARequestAreApart(t *testing.T) {
	k := start(t, nil)
	alice := user("alice")
	k.asks(obo.Request{User: &alice, Scopes: todo}, "token-1", obo.IdentityProvider)
	k.asks(obo.Request{User: &alice, Scopes: todo, Tenant: guestTenant}, "token-2", obo.IdentityProvider)
	k.wantSent(guestTenant, "assertion", alice.Token)
	k.asks(obo.Request{User: &alice, Scopes: todo, Tenant: guestTenant}, "token-2", obo.Memory)
	k.asks(obo.Request{User: &alice, Scopes: todo, Tenant: ourTenant}, "token-1", obo.Memory) // their own
	app := []string{"api://todo/.default"}
	k.asks(obo.Request{Scopes: app}, "token-3", obo.IdentityProvider)
	k.asks(obo.Request{Scopes: app, Tenant: guestTenant}, "token-4", obo.IdentityProvider)
	k.wantSent(guestTenant, "grant_type", "client_credentials")
	k.asks(obo.Request{Scopes: app, Tenant: ourTenant}, "token-3", obo.Memory)
}

func TestFMIPathsAreApart(t *testing.T) {
	k := start(t, nil)
	app := obo.Request{Scopes: []string{"api://todo/.default"}}
	k.asks(app, "token-1", obo.IdentityProvider)
	k.wantSent(ourTenant, "fmi_path", "")
	app.FMIPath = "SomeFmiPath/a"
	k.asks(app, "token-2", obo.IdentityProvider)
	k.wantSent(ourTenant, "fmi_path", "SomeFmiPath/a")
	k.asks(app, "token-2", obo.Memory)
	app.FMIPath = "SomeFmiPath/b"
	k.asks(app, "token-3", obo.IdentityProvider)
}

func TestClaimsOfARequestAreForItAlone(t *testing.T) {
	for name, r := range bothKinds() {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			k.asks(r, "token-1", obo.IdentityProvider)
			claims := r
			claims.Claims = stepUp
			k.asks(claims, "token-2", obo.IdentityProvider)
			k.wantSent(ourTenant, "claims", `{"access_token":{"acrs":{"essential":true,"value":"c1"},"xms_cc":{"values":["cp1"]}}}`)
			k.asks(claims, "token-3", obo.IdentityProvider) // not kept
			k.asks(r, "token-1", obo.Memory)                // and nothing else changed
			if got := k.cache.Stats().Entries; got != 1 {
				t.Errorf("tokens in memory: got %d, want 1", got)
			}
			// An API's challenge comes on top of what is asked for.
			claims.Challenge = obo.Challenge{RejectedToken: "token-3", Claims: `{"access_token":{"nbf":{"value":"1"}}}`}
			k.asks(claims, "token-4", obo.IdentityProvider)
			k.wantSent(ourTenant, "claims",
				`{"access_token":{"acrs":{"essential":true,"value":"c1"},"nbf":{"value":"1"},"xms_cc":{"values":["cp1"]}}}`)
		})
	}
}

// bothKinds are a request for a user and one for the application.
func bothKinds() map[string]obo.Request {
	alice := user("alice")
	return map[string]obo.Request{
		"for a user": {User: &alice, Scopes: todo}, "for the application": {Scopes: []string{"api://todo/.default"}},
	}
}

func TestStampedeSharesAnExchange(t *testing.T) {
	changes := map[string]func(r *obo.Request){
		"claims": func(r *obo.Request) { r.Claims = stepUp }, "refresh": func(r *obo.Request) { r.Refresh = true },
	}
	for kind := range bothKinds() {
		for change, apply := range changes {
			t.Run(change+" "+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					k := (&platform{token: slowly(time.Second, numbered), metadata: goodMetadata}).start(t, nil)
					r := bothKinds()[kind]
					k.asks(r, "token-1", obo.IdentityProvider)
					changed := r
					apply(&changed)
					var all sync.WaitGroup
					for range 300 {
						all.Go(func() { k.asks(changed, "token-2", obo.IdentityProvider) })
					}
					synctest.Wait()
					k.asks(r, "token-1", obo.Memory) // waits for none of them
					all.Wait()
					k.wantExchanges(2)
				})
			})
		}
	}
}

func TestOtherClaimsAreAnotherExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := (&platform{token: slowly(time.Second, numbered), metadata: goodMetadata}).start(t, nil)
		alice := user("alice")
		var all sync.WaitGroup
		for i := range 8 {
			r := obo.Request{User: &alice, Scopes: todo, Claims: fmt.Sprintf(`{"access_token":{"acrs":{"value":"c%d"}}}`, i%4)}
			all.Go(func() {
				if _, err := k.cache.Token(t.Context(), r); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		k.wantExchanges(4)
	})
}

func TestRefreshReplacesTheToken(t *testing.T) {
	for name, r := range bothKinds() {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			refresh := r
			refresh.Refresh = true
			k.asks(refresh, "token-1", obo.IdentityProvider)
			k.asks(r, "token-1", obo.Memory)
			k.asks(refresh, "token-2", obo.IdentityProvider)
			k.asks(r, "token-2", obo.Memory)
			// A token that an API refused on the way is replaced as any other.
			refresh.Challenge.RejectedToken = "token-2"
			k.asks(refresh, "token-3", obo.IdentityProvider)
			k.asks(r, "token-3", obo.Memory)
		})
	}
}

func TestRefreshThatIsRefusedKeepsTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuses := answer{}
		k := (&platform{metadata: goodMetadata, token: func(r sent) answer {
			if refuses.status != 0 {
				return refuses
			}
			return numbered(r)
		}}).start(t, nil)
		alice := user("alice")
		r := obo.Request{User: &alice, Scopes: todo}
		refresh := r
		refresh.Refresh = true
		k.asks(r, "token-1", obo.IdentityProvider)
		refuses = answer{status: 400, body: `{"error":"interaction_required","error_codes":[50079],"error_description":"AADSTS50079"}`}
		for range 5 { // a client in a loop
			if got := k.refused(refresh); got.Kind != obo.InteractionRequired {
				t.Errorf("got %v, want interaction required", got)
			}
		}
		k.wantExchanges(2)
		k.asks(r, "token-1", obo.Memory)
		time.Sleep(61 * time.Second)
		refuses = answer{status: 429, header: http.Header{"Retry-After": {"30"}}, body: `{}`}
		for range 5 {
			if got := k.refused(refresh); !got.Throttled {
				t.Errorf("got %v, want throttled", got)
			}
		}
		k.wantExchanges(3)
		k.asks(r, "token-1", obo.Memory)
		time.Sleep(31 * time.Second)
		refuses = answer{}
		k.asks(refresh, "token-4", obo.IdentityProvider)
	})
}

func TestClaimsThatAreRefusedAreNotAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := (&platform{metadata: goodMetadata, token: func(r sent) answer {
			if r.form.Get("claims") != `{"access_token":{"xms_cc":{"values":["cp1"]}}}` {
				return answer{status: 400, body: `{"error":"interaction_required","error_codes":[50079],"error_description":"AADSTS50079"}`}
			}
			return numbered(r)
		}}).start(t, nil)
		alice := user("alice")
		r := obo.Request{User: &alice, Scopes: todo}
		claims := r
		claims.Claims = stepUp
		for range 5 {
			if got := k.refused(claims); got.Kind != obo.InteractionRequired || got.Claims != stepUp {
				t.Errorf("got %v with claims %q, want interaction required for %s", got, got.Claims, stepUp)
			}
		}
		k.wantExchanges(1)
		k.asks(r, "token-2", obo.IdentityProvider)
		time.Sleep(61 * time.Second)
		k.refused(claims)
		k.wantExchanges(3)
	})
}
