package validate_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/validate"
)

// The ways of a provider to be out of order.
var outages = map[string]func(*http.Request) (*http.Response, error){
	"refuses":  func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") },
	"says 500": func(r *http.Request) (*http.Response, error) { return respond(r, 500, "{}"), nil },
	"says 404": func(r *http.Request) (*http.Response, error) { return respond(r, 404, "no backend"), nil },
	"says 204": func(r *http.Request) (*http.Response, error) { return respond(r, 204, ""), nil },
	"redirects": func(r *http.Request) (*http.Response, error) {
		return respond(r, 302, ""), nil // without a Location, so that nothing can follow it
	},
	"hangs": func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	},
	"hangs in the body": func(r *http.Request) (*http.Response, error) {
		resp := respond(r, 200, "")
		resp.Body = io.NopCloser(readFunc(func([]byte) (int, error) {
			<-r.Context().Done()
			return 0, r.Context().Err()
		}))
		return resp, nil
	},
	"says one byte a second": func(r *http.Request) (*http.Response, error) {
		resp := respond(r, 200, "")
		resp.Body = io.NopCloser(readFunc(func(p []byte) (int, error) {
			select {
			case <-r.Context().Done():
				return 0, r.Context().Err()
			case <-time.After(time.Second):
				return copy(p, "{"), nil
			}
		}))
		return resp, nil
	},
	"says HTML": func(r *http.Request) (*http.Response, error) { return respond(r, 200, "<html>maintenance</html>"), nil },
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// only makes a failure of one document.
func only(path string, fails func(*http.Request) (*http.Response, error)) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		if strings.Contains(r.URL.Path, path) {
			return fails(r)
		}
		return nil, nil
	}
}

// answers is a 200 with a body.
func answers(body string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) { return respond(r, 200, body), nil }
}

func TestReadySoonAfterTheProviderReturns(t *testing.T) {
	for how, fails := range outages {
		for _, outage := range []time.Duration{time.Second, 20 * time.Second, time.Hour + time.Millisecond} {
			bubble(t, fmt.Sprintf("%s for %s", how, outage), func(t *testing.T) {
				p, log := newProvider(jwk("a", keyA())), &lockedBuffer{}
				p.fail(fails)
				v := p.start(t, log)
				time.Sleep(outage)
				if err := v.Ready(); !errors.Is(err, validate.ErrKeysUnavailable) {
					t.Errorf("Ready during the outage: %v", err)
				}
				for _, token := range []string{signed("a", keyA()), signed("a", keyA(), v1Form), signed("a", keyA(), claim("iss", "x"))} {
					if _, err := v.Validate(t.Context(), token); !errors.Is(err, validate.ErrKeysUnavailable) {
						t.Errorf("Validate during the outage: %v", err)
					}
				}
				p.fail(nil)
				time.Sleep(10 * time.Second)
				if err := v.Ready(); err != nil {
					t.Fatalf("10 s after its end: %v", err)
				}
				accept(t, v, signed("a", keyA()))
				accept(t, v, signed("a", keyA(), v1Form))
				if n := strings.Count(log.String(), "could not be fetched"); n != 2 { // of v1.0 and v2.0
					t.Errorf("logged the outage %d times, want 2:\n%s", n, log)
				}
			})
		}
	}
}

func TestOutageIsNotAnsweredWithAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		p.fail(outages["refuses"])
		p.start(t, nil)
		time.Sleep(time.Hour)
		if n := p.fetches("/" + contoso + "/v2.0/.well-known/openid-configuration"); n > 1100 {
			t.Errorf("%d fetches in an hour's outage, want one every 4 s at most", n)
		}
	})
}

func TestKeysAreRefreshedHourly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(jwk("a", keyA()))
		v := p.start(t, nil)
		p.publish(jwk("b", keyB()))
		time.Sleep(time.Hour)
		before := p.fetches("/keys2")
		accept(t, v, signed("b", keyB()))
		if n := p.fetches("/keys2"); n != before || n != 2 {
			t.Errorf("%d fetches in the first hour and %d for a token, want 2 and none", before, n-before)
		}
		time.Sleep(23 * time.Hour)
		if n := p.fetches("/keys2"); n < 24 || n > 28 {
			t.Errorf("%d fetches in a day, want about one an hour", n)
		}
	})
}

func TestKeysStayInUseThroughAnOutage(t *testing.T) {
	for how, fails := range outages {
		bubble(t, how, func(t *testing.T) {
			p := newProvider(jwk("a", keyA()))
			v := p.start(t, nil)
			old := signed("a", keyA(), ahead("exp", 30*time.Hour))
			accept(t, v, old)
			p.fail(fails)
			for range 25 {
				time.Sleep(time.Hour)
				before := time.Now()
				accept(t, v, signed("a", keyA()))
				accept(t, v, signed("a", keyA(), v1Form))
				accept(t, v, old)
				if err := v.Ready(); err != nil || time.Since(before) > 0 {
					t.Fatalf("Ready: got %v, after %s", err, time.Since(before))
				}
			}
			p.fail(nil)
			p.publish(jwk("b", keyB()))
			time.Sleep(10 * time.Second)
			accept(t, v, signed("b", keyB()))
			refuse(t, v, old, validate.BadSig)
		})
	}
}

// Tokens come every ten minutes for three days, in which a key is published, a
// day later signs, and another day later is the only one.
func TestAnnouncedRotationIsNotNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(jwk("a", keyA()))
		v := p.start(t, nil)
		id, key := "a", keyA()
		for tick := range 3 * 24 * 6 {
			switch tick {
			case 6:
				p.publish(jwk("b", keyB()), jwk("a", keyA()))
			case 24 * 6:
				id, key = "b", keyB()
			case 2 * 24 * 6:
				p.publish(jwk("b", keyB()))
			}
			before := time.Now()
			accept(t, v, signed(id, key))
			accept(t, v, signed(id, key, v1Form))
			if took := time.Since(before); took > 0 {
				t.Fatalf("waited %s on day %d", took, tick/6/24)
			}
			time.Sleep(10 * time.Minute)
		}
		if n := p.fetches("/keys2"); n < 3*24 || n > 3*28 {
			t.Errorf("%d fetches in three days, want about one an hour", n)
		}
		refuse(t, v, signed("a", keyA()), validate.BadSig)
	})
}

func TestKeyReplacedAtOnceServesItsFirstToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(jwk("a", keyA()))
		v := p.start(t, nil)
		time.Sleep(time.Minute)
		old := signed("a", keyA())
		accept(t, v, old)
		p.publish(jwk("b", keyB()))
		p.fail(only("/keys", func(*http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return nil, nil
		}))
		before := time.Now()
		accept(t, v, signed("b", keyB()))
		if took := time.Since(before); took != time.Second {
			t.Errorf("took %s, want the one second of a fetch", took)
		}
		if n := p.fetches("/keys2"); n != 2 {
			t.Errorf("%d fetches, want 2", n)
		}
		refuse(t, v, old, validate.BadSig)
	})
}

func TestUnknownKeyIsFetchedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(jwk("a", keyA()))
		v := p.start(t, nil)
		time.Sleep(time.Second)
		p.publish(jwk("a", keyA()), jwk("b", keyB()))
		before := time.Now()
		accept(t, v, signed("b", keyB()))
		if took := time.Since(before); took != 0 {
			t.Errorf("took %s", took)
		}
		accept(t, v, signed("a", keyA()))
		if n := p.fetches("/keys2"); n != 2 {
			t.Errorf("%d fetches, want 2", n)
		}
	})
}

func TestFloodOfUnknownKeysIsFetchedOnceInHalfAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(jwk("a", keyA()))
		v := p.start(t, nil)
		time.Sleep(time.Second)
		noise := signedBy(func(string) []byte { return make([]byte, 256) })
		fetched, last := p.fetches("/keys2"), time.Time{}
		for range 300 {
			var group sync.WaitGroup
			for range 5 {
				group.Go(func() {
					before := time.Now()
					refuse(t, v, signed("unknown-"+serial(), nil, noise), validate.BadSig)
					if took := time.Since(before); took > 0 {
						t.Errorf("waited %s for a provider that answers at once", took)
					}
				})
			}
			group.Wait()
			if n := p.fetches("/keys2"); n != fetched {
				if since := time.Since(last); n != fetched+1 || since < 30*time.Second {
					t.Errorf("%d fetches within %s", n-fetched, since)
				}
				fetched, last = n, time.Now()
			}
			time.Sleep(500 * time.Millisecond)
		}
		if fetched > 1+6 {
			t.Errorf("%d fetches in 150 s", fetched)
		}
	})
}

func TestNobodyWaitsLongForAKey(t *testing.T) {
	for _, how := range []string{"hangs", "hangs in the body"} {
		bubble(t, how, func(t *testing.T) {
			p := newProvider(jwk("a", keyA()))
			v := p.start(t, nil)
			time.Sleep(time.Second)
			p.fail(outages[how])
			var all sync.WaitGroup
			waited := false
			for i := range 120 {
				all.Go(func() {
					time.Sleep(time.Duration(i) * 250 * time.Millisecond)
					before := time.Now()
					refuse(t, v, signed(fmt.Sprint("unknown-", i), keyB()), validate.BadSig)
					took := time.Since(before)
					if took > 2*time.Second {
						t.Errorf("waited %s", took)
					}
					if i == 0 {
						waited = took > 0
					}
					before = time.Now()
					accept(t, v, signed("a", keyA()))
					if took := time.Since(before); took > 0 {
						t.Errorf("waited %s for a key that is held", took)
					}
				})
			}
			all.Wait()
			if !waited {
				t.Error("the first one did not wait at all")
			}
		})
	}
}

func TestCallerThatLeavesDoesNotWaitForAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(jwk("a", keyA()))
		v := p.start(t, nil)
		p.fail(outages["hangs"])
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		before := time.Now()
		_, err := v.Validate(ctx, signed("b", keyB()))
		if took := time.Since(before); !errors.Is(err, context.DeadlineExceeded) || took != time.Second {
			t.Errorf("got %v after %s, want the context's error after 1 s", err, took)
		}
	})
}

func TestCallersJoinTheFetchUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(jwk("a", keyA()))
		v := p.start(t, nil)
		time.Sleep(time.Second)
		p.publish(jwk("a", keyA()), jwk("b", keyB()))
		p.fail(only("/keys2", func(*http.Request) (*http.Response, error) {
			time.Sleep(1500 * time.Millisecond)
			return nil, nil
		}))
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * 30 * time.Millisecond)
				accept(t, v, signed("b", keyB()))
			})
		}
		all.Wait()
		if n := p.fetches("/keys2"); n != 2 {
			t.Errorf("%d fetches, want 2", n)
		}
	})
}

// The hourly refresh is joined too.
func TestCallersJoinTheHourlyFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(jwk("a", keyA()))
		v := p.start(t, nil)
		began := make(chan struct{}, 1)
		p.publish(jwk("b", keyB()))
		p.fail(only("/keys2", func(*http.Request) (*http.Response, error) {
			began <- struct{}{}
			time.Sleep(time.Second)
			return nil, nil
		}))
		<-began
		accept(t, v, signed("b", keyB()))
		time.Sleep(10 * time.Second)
		if n := p.fetches("/keys2"); n != 2 {
			t.Errorf("%d fetches, want 2", n)
		}
	})
}

func TestBadAnswersChangeNothing(t *testing.T) {
	good, metadata := encode(jwk("b", keyB())), "/v2.0/.well-known/openid-configuration"
	for _, row := range []struct{ name, path, body string }{
		{"no keys", "/keys", `{"keys":[]}`},
		{"keys null", "/keys", `{"keys":null}`},
		{"keys missing", "/keys", `{}`},
		{"null", "/keys", `null`},
		{"empty", "/keys", ``},
		{"an array", "/keys", `[` + good + `]`},
		{"keys an object", "/keys", `{"keys":` + good + `}`},
		{"keys a string", "/keys", `{"keys":"x"}`},
		{"HTML", "/keys", `<html></html>`},
		{"cut short", "/keys", `{"keys":[` + good},
		{"data behind it", "/keys", `{"keys":[` + good + `]}{}`},
		{"larger than 1 MiB", "/keys", `{"keys":[` + good + `]` + strings.Repeat(" ", 1<<20) + `}`},
		{"larger than 1 MiB by what is behind it", "/keys", `{"keys":[` + good + `]}` + strings.Repeat(" ", 1<<20)},
		{"endless", "/keys", ""},
		{"101 keys", "/keys", `{"keys":[` + strings.Repeat(good+",", 100) + good + `]}`},
		{"only keys that cannot be used", "/keys", `{"keys":[5,null,"x",{},{"kty":"EC"},` + encode(jwk("b", short())) + `]}`},
		{"metadata empty", metadata, ``},
		{"metadata HTML", metadata, `<html></html>`},
		{"metadata without issuer", metadata, `{"jwks_uri":"https://login.example/keys2"}`},
		{"metadata without jwks_uri", metadata, `{"issuer":"https://login.example/` + contoso + `/v2.0"}`},
		{"jwks_uri not https", metadata, `{"issuer":"https://login.example/` + contoso + `/v2.0","jwks_uri":"http://login.example/keys2"}`},
		{"jwks_uri a file", metadata, `{"issuer":"https://login.example/` + contoso + `/v2.0","jwks_uri":"file:///etc/passwd"}`},
		{"metadata of wrong types", metadata, `{"issuer":["https://login.example/"],"jwks_uri":1}`},
		{"metadata larger than 1 MiB", metadata, `{"x":"` + strings.Repeat("x", 1<<20) + `"}`},
	} {
		bubble(t, row.name, func(t *testing.T) {
			p := newProvider(jwk("a", keyA()))
			v := p.start(t, nil)
			known := signed("a", keyA(), ahead("exp", 10*time.Hour))
			accept(t, v, known)
			read := int64(0)
			fails := answers(row.body)
			if row.name == "endless" {
				fails = func(r *http.Request) (*http.Response, error) {
					resp := respond(r, 200, "")
					resp.Body = io.NopCloser(readFunc(func(p []byte) (int, error) { read += int64(len(p)); return len(p), nil }))
					return resp, nil
				}
			}
			p.publish(jwk("b", keyB()))
			p.fail(only(row.path, fails))
			refuse(t, v, signed("b", keyB()), validate.BadSig) // which brings about a fetch
			time.Sleep(10 * time.Second)
			if p.fetches("/keys2")+p.fetches("/"+contoso+"/v2.0/.well-known/openid-configuration") < 4 {
				t.Error("nothing was fetched")
			}
			accept(t, v, known)
			accept(t, v, signed("a", keyA()))
			refuse(t, v, signed("b", keyB()), validate.BadSig)
			if most := int64(p.fetches("/keys1")+p.fetches("/keys2")) * (1<<20 + 1); read > most {
				t.Errorf("read %d bytes, want %d at most", read, most)
			}
			p.fail(nil)
			time.Sleep(10 * time.Second)
			accept(t, v, signed("b", keyB()))
			refuse(t, v, known, validate.BadSig)
		})
	}
}

// Whatever its body, an answer of another status is none.
func TestOnlyStatus200IsAnAnswer(t *testing.T) {
	for _, status := range []int{201, 203, 206, 300, 401, 403, 404, 429, 500, 503} {
		bubble(t, fmt.Sprint(status), func(t *testing.T) {
			p := newProvider(jwk("a", keyA()))
			v := p.start(t, nil)
			p.fail(only("/keys", func(r *http.Request) (*http.Response, error) {
				return respond(r, status, encode(map[string]any{"keys": []any{jwk("b", keyB())}})), nil
			}))
			refuse(t, v, signed("b", keyB()), validate.BadSig)
			accept(t, v, signed("a", keyA()))
		})
	}
}

func TestAnswersAtTheirLimitsAreGood(t *testing.T) {
	good := encode(jwk("b", keyB()))
	padding := (1 << 20) - len(`{"keys":[`+good+`]}`)
	for name, body := range map[string]string{
		"1 MiB":    `{"keys":[` + good + `]` + strings.Repeat(" ", padding) + `}`,
		"100 keys": `{"keys":[` + strings.Repeat("{},", 99) + good + `]}`,
	} {
		bubble(t, name, func(t *testing.T) {
			p := newProvider()
			p.fail(only("/keys", answers(body)))
			accept(t, p.start(t, nil), signed("b", keyB()))
		})
	}
}

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
			for name, keys := range map[string][]any{"before": {row.key, jwk("a", keyA())}, "behind": {jwk("a", keyA()), row.key}} {
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

func TestKeyThatLeavesIsNotTrusted(t *testing.T) {
	for name, next := range map[string]map[string]any{
		"gone":                             jwk("b", keyB()),
		"replaced under its name":          jwk("a", keyB()),
		"given to another issuer":          jwk("a", keyA(), "issuer", "https://login.example/"+fabrikam+"/v2.0"),
		"no longer for signatures":         jwk("a", keyA(), "use", "enc"),
		"published under another name now": jwk("z", keyA()),
	} {
		bubble(t, name, func(t *testing.T) {
			p := newProvider(jwk("a", keyA()), jwk("c", keyB()))
			v := p.start(t, nil)
			token, other := signed("a", keyA(), ahead("exp", 10*time.Hour)), signed("c", keyB(), ahead("exp", 10*time.Hour))
			accept(t, v, token)
			accept(t, v, other)
			p.publish(next, jwk("c", keyB()))
			accept(t, v, token) // not noticed yet
			time.Sleep(time.Hour)
			if _, err := v.Validate(t.Context(), token); err == nil {
				t.Error("a remembered token is still trusted")
			}
			if _, err := v.Validate(t.Context(), signed("a", keyA())); err == nil {
				t.Error("a new token is still trusted")
			}
			accept(t, v, other) // of a key that stayed

			// A key that comes back is trusted again.
			p.publish(jwk("a", keyA()), jwk("c", keyB()))
			time.Sleep(time.Hour)
			accept(t, v, token)
		})
	}
}

// A key stays known by what it is, not by where it stands.
func TestUnchangedKeysKeepTokensKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(jwk("a", keyA()), jwk("b", keyB()))
		v := p.start(t, nil)
		var tokens []string
		for range 11 {
			tokens = append(tokens, signed("a", keyA(), ahead("exp", 10*time.Hour)))
			accept(t, v, tokens[len(tokens)-1])
		}
		p.publish(jwk("b", keyB()), jwk("a", keyA(), "x5t", "changed"))
		time.Sleep(3 * time.Hour)
		next := 0
		if n := testing.AllocsPerRun(10, func() { accept(t, v, tokens[next]); next++ }); n > 2 {
			t.Errorf("%v allocations, want 2 at most: the tokens were checked again", n)
		}
	})
}

func TestProviderWithoutV1(t *testing.T) {
	const path = "/" + contoso + "/.well-known"
	bubble(t, "has none", func(t *testing.T) {
		p, log := newProvider(jwk("a", keyA())), &lockedBuffer{}
		p.fail(only(path, outages["says 404"]))
		v := p.start(t, log)
		time.Sleep(10 * time.Second)
		accept(t, v, signed("a", keyA()))
		refuse(t, v, signed("a", keyA(), v1Form), validate.WrongIssuer)
		time.Sleep(24 * time.Hour)
		if n := p.fetches(path + "/openid-configuration"); n > 24*60/4 {
			t.Errorf("looked for it %d times in a day", n)
		}
		if strings.Count(log.String(), "\n") > 1 {
			t.Errorf("logged more than once:\n%s", log)
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

func TestRunEndsWithItsContext(t *testing.T) {
	for _, how := range []string{"hangs", "refuses"} {
		bubble(t, how, func(t *testing.T) {
			p := newProvider()
			p.fail(outages[how])
			v := validate.New(validate.Config{Instance: "https://login.example", TenantID: contoso, ClientID: apiID, Client: &http.Client{Transport: p}})
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			v.Run(ctx)
		})
	}
}
