package validate_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/validate"
)

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

// Some providers put another key under the name of the old one.
func TestKeyReplacedUnderItsNameServesItsFirstTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(jwk("a", keyA()))
		v := p.start(t, nil)
		time.Sleep(time.Minute)
		old := signed("a", keyA())
		accept(t, v, old)
		p.publish(jwk("a", keyB()))
		p.fail(only("/keys", func(*http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return nil, nil
		}))
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				before := time.Now()
				accept(t, v, signed("a", keyB()))
				if took := time.Since(before); took != time.Second {
					t.Errorf("took %s, want the one second of a fetch", took)
				}
			})
		}
		all.Wait()
		if n := p.fetches("/keys2"); n != 2 {
			t.Errorf("%d fetches, want 2", n)
		}
		refuse(t, v, old, validate.BadSig) // also of one that was remembered
		before := time.Now()
		accept(t, v, signed("a", keyB()))
		if took := time.Since(before); took != 0 {
			t.Errorf("waited %s for a key that is held", took)
		}
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

// Tokens that nobody signed cost the provider little, and nobody waits: neither
// with invented key ids nor with those of good keys.
func TestFloodOfBadTokensIsFetchedForOnceInHalfAMinute(t *testing.T) {
	for name, id := range map[string]func() string{
		"unknown keys": func() string { return "unknown-" + serial() },
		"a known key":  func() string { return "a" },
		"both":         func() string { return []string{"a", "unknown"}[len(serial())%2] },
	} {
		bubble(t, name, func(t *testing.T) {
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
						refuse(t, v, signed(id(), nil, noise), validate.BadSig)
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
			if fetched < 2 || fetched > 1+6 {
				t.Errorf("%d fetches in 150 s", fetched)
			}
		})
	}
}

// Tokens that nobody signed cannot use up all fetches with one version, so that a
// new key of the other would not be found. There is still one in half a minute.
func TestFloodOfOneVersionLeavesFetchesToTheOther(t *testing.T) {
	for name, flood := range map[string]change{"v1.0": v1Form, "v2.0": all()} {
		bubble(t, name, func(t *testing.T) {
			p := newProvider(jwk("a", keyA()))
			v := p.start(t, nil)
			good := v1Form
			if name == "v1.0" {
				good = all()
			}
			p.publish(jwk("b", keyB()))
			began := time.Now()
			for found := false; !found; {
				_, _ = v.Validate(t.Context(), signed("invented-"+serial(), keyA(), flood)) // refused
				_, err := v.Validate(t.Context(), signed("b", keyB(), good))
				found = err == nil
				if time.Sleep(time.Second); time.Since(began) > 62*time.Second {
					t.Fatal("the new key is not found")
				}
			}
			took := int(time.Since(began) / (30 * time.Second))
			if n := p.fetches("/keys1") + p.fetches("/keys2") - 2; n > 1+took {
				t.Errorf("%d fetches in %s", n, time.Since(began))
			}
		})
	}
}

func TestNobodyWaitsLongForAKey(t *testing.T) {
	for how, id := range map[string]string{"hangs": "unknown-%d", "hangs in the body": "unknown-%d", "hangs for a known key": "a%.0d"} {
		bubble(t, how, func(t *testing.T) {
			p := newProvider(jwk("a", keyA()))
			v := p.start(t, nil)
			time.Sleep(time.Second)
			p.fail(outages[strings.TrimSuffix(how, " for a known key")])
			var all sync.WaitGroup
			waited := false
			for i := range 120 {
				all.Go(func() {
					time.Sleep(time.Duration(i) * 250 * time.Millisecond)
					before := time.Now()
					refuse(t, v, signed(fmt.Sprintf(id, i), keyB()), validate.BadSig)
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
	for name, id := range map[string]string{"unknown": "b", "replaced under its name": "a"} {
		bubble(t, name, func(t *testing.T) {
			p := newProvider(jwk("a", keyA()))
			v := p.start(t, nil)
			p.fail(outages["hangs"])
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			before := time.Now()
			_, err := v.Validate(ctx, signed(id, keyB()))
			if took := time.Since(before); !errors.Is(err, context.DeadlineExceeded) || took != time.Second {
				t.Errorf("got %v after %s, want the context's error after 1 s", err, took)
			}
		})
	}
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
		for range 101 {
			tokens = append(tokens, signed("a", keyA(), ahead("exp", 10*time.Hour)))
			accept(t, v, tokens[len(tokens)-1])
		}
		p.publish(jwk("b", keyB()), jwk("a", keyA(), "x5t", "changed"))
		time.Sleep(3 * time.Hour)
		next := 0
		// Many, because a pool drops some of what it gets under the race detector.
		if n := testing.AllocsPerRun(100, func() { accept(t, v, tokens[next]); next++ }); n > 2 {
			t.Errorf("%v allocations, want 2 at most: the tokens were checked again", n)
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	for _, how := range []string{"hangs", "refuses"} {
		bubble(t, how, func(t *testing.T) {
			p := newProvider()
			p.fail(outages[how])
			v := validate.New(validate.Config{
				Instance: "https://login.example", TenantID: contoso, ClientID: apiID, Client: &http.Client{Transport: p},
			})
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			v.Run(ctx)
		})
	}
}

// While the program ends, tokens are still checked, with the keys that are held.
func TestNobodyWaitsForAKeyOnceRunHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(jwk("a", keyA()))
		v := validate.New(validate.Config{
			Instance: "https://login.example", TenantID: contoso, ClientID: apiID, Client: &http.Client{Transport: p},
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); v.Run(ctx) }()
		synctest.Wait()
		cancel()
		<-ended
		before := time.Now()
		accept(t, v, signed("a", keyA()))
		refuse(t, v, signed("b", keyB()), validate.BadSig)
		if took := time.Since(before); took > 0 {
			t.Errorf("waited %s for a fetch that nobody makes", took)
		}
	})
}
