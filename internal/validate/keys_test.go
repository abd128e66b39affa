package validate_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/validate"
)

// ellipticKey is a JWK of another type.
func ellipticKey(id string) map[string]any {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	return map[string]any{"kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "x": b64(string(point[1:33])), "y": b64(string(point[33:]))}
}

func TestKeysThatAreNotUsed(t *testing.T) {
	b := keyB()
	for _, row := range []struct {
		name string
		key  any
	}{
		{"a number", 5},
		{"null", nil},
		{"a string", "key"},
		{"an object without members", map[string]any{}},
		{"for encryption", jwk("b", b, "use", "enc")},
		{"for another use", jwk("b", b, "use", "tls")},
		{"use a number", jwk("b", b, "use", 1)},
		{"for signing only", jwk("b", b, "key_ops", []string{"sign"})},
		{"for wrapping", jwk("b", b, "key_ops", []string{"wrapKey", "encrypt"})},
		{"for operations unheard of", jwk("b", b, "key_ops", []string{"verify", "divine"})},
		{"alg RS512", jwk("b", b, "alg", "RS512")},
		{"alg PS256", jwk("b", b, "alg", "PS256")},
		{"alg none", jwk("b", b, "alg", "none")},
		{"alg RSA-OAEP", jwk("b", b, "alg", "RSA-OAEP")},
		{"kty oct", map[string]any{"kty": "oct", "kid": "b", "k": "AAAA"}},
		{"kty in lower case", jwk("b", b, "kty", "rsa")},
		{"kty missing", jwk("b", b, "kty", nil)},
		{"EC", ellipticKey("b")},
		{"1024 bits", jwk("b", short())},
		{"kid missing", jwk("b", b, "kid", nil)},
		{"kid empty", jwk("", b)},
		{"kid a number", jwk("b", b, "kid", 1)},
		{"n missing", jwk("b", b, "n", nil)},
		{"n empty", jwk("b", b, "n", "")},
		{"n not base64", jwk("b", b, "n", "!")},
		{"n even", jwk("b", b, "n", b64(string(new(big.Int).Lsh(b.N, 1).Bytes())))},
		{"n of 100,000 bits", jwk("b", b, "n", b64(strings.Repeat("\xff", 12_500)))},
		{"e missing", jwk("b", b, "e", nil)},
		{"e of 0", jwk("b", b, "e", "AA")},
		{"e of 1", jwk("b", b, "e", "AQ")},
		{"e even", jwk("b", b, "e", "BA")},
		{"e of 64 bits", jwk("b", b, "e", b64("\xff\xff\xff\xff\xff\xff\xff\xff"))},
		{"issuer a number", jwk("b", b, "issuer", 1)},
		{"x5c of a wrong type", jwk("b", b, "x5c", 1)},
	} {
		bubble(t, row.name, func(t *testing.T) {
			for name, keys := range map[string][]any{"before": {row.key, jwk("a", keyA())}, "after": {jwk("a", keyA()), row.key}} {
				v := newProvider(keys...).start(t, nil)
				accept(t, v, signed("a", keyA())) // one bad key does not spoil the others
				refuse(t, v, signed("b", b), validate.BadSig)
				refuse(t, v, signed("b", short()), validate.BadSig)
				if t.Failed() {
					t.Fatal(name)
				}
			}
			// Nor does it hide a good one of the same name.
			accept(t, newProvider(row.key, jwk("b", b)).start(t, nil), signed("b", b))
		})
	}
}

func TestKeysThatAreUsed(t *testing.T) {
	b := keyB()
	for name, key := range map[string]map[string]any{
		"as Entra's":                            jwk("b", b),
		"without use":                           jwk("b", b, "use", nil),
		"with alg":                              jwk("b", b, "alg", "RS256"),
		"with key_ops":                          jwk("b", b, "key_ops", []string{"sign", "verify"}),
		"with no key_ops":                       jwk("b", b, "key_ops", []string{}),
		"with a certificate that is none":       jwk("b", b, "x5c", []string{"!"}, "x5t#S256", "!"),
		"with padding":                          jwk("b", b, "e", "AQAB=="),
		"with members of Entra's and of others": jwk("b", b, "cloud_instance_name", "microsoftonline.com", "exp", 1),
		"without issuer":                        jwk("b", b, "issuer", nil),
	} {
		bubble(t, name, func(t *testing.T) {
			v := newProvider(key).start(t, nil)
			accept(t, v, signed("b", b))
			accept(t, v, signed("b", b, v1Form))
		})
	}
}

func TestFirstOfTwoKeysWithOneNameCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newProvider(jwk("a", keyA()), jwk("a", keyB())).start(t, nil)
		accept(t, v, signed("a", keyA()))
		refuse(t, v, signed("a", keyB()), validate.BadSig)
		v = newProvider(jwk("a", keyA()), jwk("a", keyA(), "issuer", "https://evil.example/")).start(t, nil)
		accept(t, v, signed("a", keyA()))
	})
}

func TestKeySignsForItsIssuerOnly(t *testing.T) {
	const v2, v1 = "https://login.example/%s/v2.0", "https://sts.example/%s/"
	for _, row := range []struct {
		name, issuer string
		v2, v1       bool // which tokens it signs
	}{
		{"template of v2.0, as Entra's", fmt.Sprintf(v2, "{tenantid}"), true, true},
		{"our tenant's v2.0", fmt.Sprintf(v2, contoso), true, true},
		{"template of v1.0", fmt.Sprintf(v1, "{tenantid}"), false, true},
		{"our tenant's v1.0", fmt.Sprintf(v1, contoso), false, true},
		{"another tenant's v2.0", fmt.Sprintf(v2, fabrikam), false, false},
		{"another tenant's v1.0", fmt.Sprintf(v1, fabrikam), false, false},
		{"the consumers' tenant", fmt.Sprintf(v2, "9188040d-6c67-4c5b-b112-36a304b66dad"), false, false},
		{"another host", "https://evil.example/{tenantid}/v2.0", false, false},
		{"another spelling of the template", fmt.Sprintf(v2, "{tenantId}"), false, false},
		{"only the template", "{tenantid}", false, false},
	} {
		bubble(t, row.name, func(t *testing.T) {
			v := newProvider(jwk("a", keyA(), "issuer", row.issuer)).start(t, nil)
			for token, good := range map[string]bool{signed("a", keyA()): row.v2, signed("a", keyA(), v1Form): row.v1} {
				if good {
					accept(t, v, token)
				} else {
					refuse(t, v, token, validate.WrongIssuer)
				}
			}
		})
	}
}

// The tenant is checked also where the provider's metadata leaves it open.
func TestTenantIsBoundToTheConfigurationAndTheIssuer(t *testing.T) {
	for name, issuer := range map[string]string{
		"an issuer for all tenants":      "https://login.example/{tenantid}/v2.0",
		"an issuer that names no tenant": "https://login.example/v2.0",
		"an issuer with a tenant in it":  "https://login.example/x" + contoso + "/v2.0",
	} {
		bubble(t, name, func(t *testing.T) {
			p := newProvider(jwk("a", keyA(), "issuer", nil))
			p.fail(only("/v2.0/", answers(encode(map[string]any{"issuer": issuer, "jwks_uri": "https://login.example/keys2"}))))
			v := p.start(t, nil)
			for _, tenant := range []string{contoso, fabrikam} {
				token := signed("a", keyA(), claim("tid", tenant), claim("iss", strings.ReplaceAll(issuer, "{tenantid}", tenant)))
				if tenant == contoso && strings.Contains(issuer, "{tenantid}") {
					accept(t, v, token)
				} else {
					refuse(t, v, token, validate.WrongIssuer)
				}
			}
		})
	}
}

func TestProviderWithoutV1(t *testing.T) {
	const path = "/" + contoso + "/.well-known"
	bubble(t, "has none", func(t *testing.T) {
		p, log := newProvider(jwk("a", keyA())), &lockedBuffer{}
		p.fail(func(r *http.Request) (*http.Response, error) {
			if strings.Contains(r.URL.Path, path) {
				return respond(r, 404, "{}"), nil
			}
			time.Sleep(50 * time.Millisecond) // so that nothing of v2.0 is known yet
			return nil, nil
		})
		v := p.start(t, log)
		time.Sleep(10 * time.Second)
		accept(t, v, signed("a", keyA()))
		refuse(t, v, signed("a", keyA(), v1Form), validate.WrongIssuer)
		time.Sleep(24 * time.Hour)
		if n := p.fetches(path + "/openid-configuration"); n > 24*60/4 {
			t.Errorf("looked for it %d times in a day", n)
		}
		if log.String() != "" {
			t.Errorf("logged what is as it should be:\n%s", log)
		}
		p.fail(nil)
		time.Sleep(5 * time.Minute)
		accept(t, v, signed("a", keyA(), v1Form))
	})
	bubble(t, "has it, out of order", func(t *testing.T) {
		p := newProvider(jwk("a", keyA()))
		p.fail(only(path, outages["says 500"]))
		v := p.start(t, nil)
		accept(t, v, signed("a", keyA()))
		if _, err := v.Validate(t.Context(), signed("a", keyA(), v1Form)); !errors.Is(err, validate.ErrKeysUnavailable) {
			t.Errorf("got %v, want ErrKeysUnavailable", err)
		}
		p.fail(nil)
		time.Sleep(10 * time.Second)
		accept(t, v, signed("a", keyA(), v1Form))
	})
	bubble(t, "had it, keys out of order since", func(t *testing.T) {
		p := newProvider(jwk("a", keyA()))
		p.fail(only(path, outages["says 404"]))
		v := p.start(t, nil)
		time.Sleep(time.Minute)
		p.fail(only("/keys1", outages["says 500"]))
		time.Sleep(5 * time.Minute)
		if _, err := v.Validate(t.Context(), signed("a", keyA(), v1Form)); !errors.Is(err, validate.ErrKeysUnavailable) {
			t.Errorf("got %v, want ErrKeysUnavailable", err)
		}
		p.fail(nil)
		time.Sleep(10 * time.Second)
		accept(t, v, signed("a", keyA(), v1Form))
	})
}

// The keys of v1.0 name the issuer of v2.0, so without it nothing is decided.
func TestNothingIsDecidedWithoutV2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(jwk("a", keyA()))
		p.fail(only("/v2.0/", outages["says 500"]))
		v := p.start(t, nil)
		for _, token := range []string{signed("a", keyA()), signed("a", keyA(), v1Form)} {
			if _, err := v.Validate(t.Context(), token); !errors.Is(err, validate.ErrKeysUnavailable) {
				t.Errorf("got %v, want ErrKeysUnavailable", err)
			}
		}
	})
}

func TestKeysOfV1AndV2AreKeptApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(jwk("a", keyA()))
		p.fail(only("/keys1", answers(`{"keys":[`+encode(jwk("b", keyB()))+`]}`)))
		v := p.start(t, nil)
		accept(t, v, signed("a", keyA()))
		accept(t, v, signed("b", keyB(), v1Form))
		refuse(t, v, signed("b", keyB()), validate.BadSig)
		refuse(t, v, signed("a", keyA(), v1Form), validate.BadSig)
	})
}

// A service that has just started has its first callers wait for the keys, but
// not for long, and nobody once the first fetch has failed.
func TestFirstCallersWaitForTheFirstKeys(t *testing.T) {
	bubble(t, "slow", func(t *testing.T) {
		p := newProvider(jwk("a", keyA()))
		p.fail(func(r *http.Request) (*http.Response, error) {
			if time.Sleep(500 * time.Millisecond); r.URL.Path == "/keys1" { // those of v1.0 come last
				time.Sleep(500 * time.Millisecond)
			}
			return nil, nil // what it answers else
		})
		v := p.start(t, nil)
		for _, token := range []string{signed("a", keyA()), signed("a", keyA(), v1Form)} {
			accept(t, v, token)
		}
	})
	bubble(t, "silent", func(t *testing.T) {
		p := newProvider(jwk("a", keyA()))
		p.fail(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		v := p.start(t, nil)
		for _, want := range []time.Duration{2 * time.Second, 2 * time.Second, 0} {
			began := time.Now()
			if _, err := v.Validate(t.Context(), signed("a", keyA(), v1Form)); !errors.Is(err, validate.ErrKeysUnavailable) ||
				time.Since(began) != want {
				t.Errorf("got %v after %s, want ErrKeysUnavailable after %s", err, time.Since(began), want)
			}
		}
	})
}

// Ready means that tokens of both versions are served, where the provider has both.
func TestReadyWaitsForTheFirstLookAtV1(t *testing.T) {
	for name, answers := range map[string]func(*http.Request) (*http.Response, error){
		"it answers":         func(*http.Request) (*http.Response, error) { return nil, nil },
		"it is out of order": outages["says 500"],
	} {
		bubble(t, name, func(t *testing.T) {
			p := newProvider(jwk("a", keyA()))
			p.fail(only(contoso+"/.well-known", func(r *http.Request) (*http.Response, error) {
				time.Sleep(time.Second)
				return answers(r)
			}))
			v := p.start(t, nil)
			if v.Ready() == nil {
				t.Error("ready before v1.0 was looked at")
			}
			began := time.Now()
			if err := v.AwaitKeys(t.Context()); err != nil || time.Since(began) != time.Second {
				t.Errorf("AwaitKeys: %v after %s, want keys after 1 s", err, time.Since(began))
			}
			if err := v.Ready(); err != nil {
				t.Errorf("after it was looked at: %v", err)
			}
		})
	}
}

func TestCallerThatLeavesDoesNotWaitForTheFirstKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(jwk("a", keyA()))
		p.fail(outages["hangs"])
		v := p.start(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := v.Validate(ctx, signed("a", keyA())); !errors.Is(err, context.DeadlineExceeded) ||
			errors.Is(err, validate.ErrKeysUnavailable) {
			t.Errorf("got %v, want the context's own error", err)
		}
		if err := v.AwaitKeys(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("AwaitKeys: got %v, want the context's own error", err)
		}
	})
}
