package validate_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
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

func TestKeysStayInUseThroughAnOutage(t *testing.T) {
	keysStayInUse(t, 3, slices.Collect(maps.Keys(outages))...)
}

// keysStayInUse lets the provider fail for so long in some of the ways of outages.
func keysStayInUse(t *testing.T, hours int, ways ...string) {
	for _, how := range ways {
		fails := outages[how]
		bubble(t, how, func(t *testing.T) {
			p := newProvider(jwk("a", keyA()))
			v := p.start(t, nil)
			old := signed("a", keyA(), ahead("exp", 30*time.Hour))
			accept(t, v, old)
			p.fail(fails)
			for range hours {
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
		{"data after it", "/keys", `{"keys":[` + good + `]}{}`},
		{"larger than 1 MiB", "/keys", `{"keys":[` + good + `]` + strings.Repeat(" ", 1<<20) + `}`},
		{"larger than 1 MiB by what follows", "/keys", `{"keys":[` + good + `]}` + strings.Repeat(" ", 1<<20)},
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
