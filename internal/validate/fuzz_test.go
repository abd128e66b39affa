package validate

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// objects are good and hostile headers and claims.
var objects = []string{
	`{"alg":"RS256","kid":"a","typ":"JWT"}`,
	`{"iss":"https://login.example/11111111-1111-4111-8111-111111111111/v2.0","aud":"api","exp":1700000000,"nbf":1.7e9,"iat":1700000000.5,"roles":["a","b"],"xms_cc":["cp1"],"scp":"Read Write"}`,
	`{}`, ` { } `, `{"":""}`, `{"a":null,"b":true,"c":[1],"d":{"e":[[]]}}`,
	`{"a":1,"a":2}`, `{"a":1,"A":2}`, `{"k":1,"\u212a":2}`, `{"a":1,"\u0061":2}`, `{"x":{"a":1,"a":2}}`,
	`{"a":1}{}`, `{"a":1} x`, `{"a":1,}`, `{"a":01}`, `{"a":1e999}`, `{"a":-0}`, `{"a":1E-400}`, `{"a":"\ud800"}`, `{"a":"\ud83d\ude00"}`, "{\"a\":\"\xff\"}", "\ufeff{}",
	`[]`, `null`, `"x"`, `1`, ``, `{`, `{"a"`, `{"a":`, `{"a":[`, `{"a":"\u12`, "Ǝ", "{\"a\":\u00e9}",
	`{"a":[[[[[[[[[[]]]]]]]]]]}`, `{"a":[[[[[[[]]]]]]]}`, `{"a":["b",["c"],"d"]}`, `{"a":["b",1]}`, `{"a":[]}`,
	`{"crit":[],"b64":false,"jwk":{"kty":"RSA"}}`,
}

func FuzzParseCompact(f *testing.F) {
	b64 := base64.RawURLEncoding.EncodeToString
	for _, object := range objects {
		f.Add(b64([]byte(objects[0])) + "." + b64([]byte(object)) + "." + b64([]byte("signature")))
		f.Add(b64([]byte(object)) + "." + b64([]byte(objects[1])) + ".")
	}
	for _, token := range []string{
		"", ".", "..", "...", "a.b.c", "e30.e30.", "e30.e30.AA", "e30.e30.AB", "e30.e30.AA==",
		"e30.e30.A\nA", "e30.e30.+/", "e31.e30.", "e30=.e30.", "e30.e30.AA.AA", " e30.e30.",
	} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		c, err := parseCompact(token)
		if err != nil {
			return
		}
		if again := c.signed + "." + b64(c.signature); again != token {
			t.Errorf("%q is %q when it is put together again", token, again)
		}
		parts := strings.Split(token, ".")
		for i, read := range []members{c.header, c.claims} {
			data, err := base64.RawURLEncoding.DecodeString(parts[i])
			if err != nil || b64(data) != parts[i] {
				t.Errorf("%q has another spelling", parts[i])
			}
			sameAsOthers(t, data, read, [][]string{{"kid"}, {"exp", "aud"}}[i]...)
		}
		// What is done next with a token that anyone may send.
		if id, err := readClaims(c.claims); err == nil {
			_ = id.decideKind(c.claims, true)
			var cache identityCache
			cache.put(testTag(0), id.identity)
			if got, _ := cache.shard(hashOf(testTag(0))).newer.get(hashOf(testTag(0)), testTag(0)); !sameIdentity(got, id.identity) {
				t.Errorf("the cache returns %+v for %+v", got, id.identity)
			}
			if !IsGUID(id.tenant) || id.expires.IsZero() || id.issuer == "" || id.audience == "" {
				t.Errorf("accepted %+v", id)
			}
		}
	})
}

// FuzzParseObject compares our reading with that of encoding/json, as other
// readers of the same token would have it.
func FuzzParseObject(f *testing.F) {
	for _, object := range objects {
		f.Add([]byte(object))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		read, err := parseObject(data, newNames("exp", "aud", "kid"))
		if err == nil {
			sameAsOthers(t, data, read, "exp", "aud", "kid")
		} else if text := shortError(err).Error(); len(text) > 500 ||
			strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q is refused with %q, which is not a short line", data, text)
		}
	})
}

// sameAsOthers fails if encoding/json does not read data, which was accepted,
// as we did: neither as a map nor, ignoring the case of these names, as a struct.
func sameAsOthers(t *testing.T, data []byte, read members, names ...string) {
	t.Helper()
	var others map[string]any
	if err := json.Unmarshal(data, &others); err != nil && !strings.Contains(err.Error(), "cannot unmarshal number") {
		t.Fatalf("%q is refused by encoding/json: %v", data, err)
	} else if err != nil {
		return // a number beyond float64, which encoding/json does not read at all
	}
	if len(others) != len(read) {
		t.Errorf("%q: %d members, and %d by encoding/json", data, len(read), len(others))
	}
	for name, value := range others {
		ours, present := read[name]
		if !present || !same(ours, value) {
			t.Errorf("%q: %q is %#v, and %#v by encoding/json", data, name, ours, value)
		}
	}
	var loose struct {
		Exp any `json:"exp"`
		Aud any `json:"aud"`
		Kid any `json:"kid"`
	}
	if err := json.Unmarshal(data, &loose); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]any{"exp": loose.Exp, "aud": loose.Aud, "kid": loose.Kid} {
		if !slices.Contains(names, name) {
			continue
		}
		if ours, present := read[name]; present && !same(ours, value) {
			t.Errorf("%q: %q is %#v, and %#v to a reader that ignores case", data, name, ours, value)
		}
	}
}

func same(ours, theirs any) bool {
	switch ours := ours.(type) {
	case unsupported:
		switch theirs := theirs.(type) {
		case nil, map[string]any:
			return true
		case []any:
			return slices.ContainsFunc(theirs, func(v any) bool { _, text := v.(string); return !text })
		}
		return false
	case []string:
		list, ok := theirs.([]any)
		return ok && slices.EqualFunc(ours, list, func(s string, v any) bool { return s == v })
	case float64:
		return ours == theirs && !math.IsInf(ours, 0) && !math.IsNaN(ours)
	case string, bool:
		return ours == theirs
	}
	return false
}

// FuzzKeySet reads a JWKS and checks what is made of it.
func FuzzKeySet(f *testing.F) {
	modulus := base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 256))
	good := `{"kty":"RSA","use":"sig","kid":"a","n":"` + modulus +
		`","e":"AQAB","issuer":"https://login.example/{tenantid}/v2.0","x5c":["AA=="]}`
	f.Add([]byte(`{"keys":[` + good + `]}`))
	f.Add([]byte(`{"keys":[` + good + `,` + good + `]}`))
	for _, edit := range []struct{ old, new string }{
		{`"RSA"`, `"EC"`},
		{`"RSA"`, `"oct"`},
		{`"RSA"`, `1`},
		{`"sig"`, `"enc"`},
		{`"a"`, `""`},
		{`"a"`, `null`},
		{modulus, "AQAB"},
		{modulus, ""},
		{"AQAB", "AQ"},
		{"AQAB", "AAAA"},
		{"AQAB", "__________8"},
		{"AQAB", "!"},
		{`"kid"`, `"alg":"RS512","kid"`},
		{`"kid"`, `"key_ops":["sign"],"kid"`},
		{`"kid"`, `"key_ops":null,"kid"`},
		{`"kid"`, `"KID":"b","kid"`},
		{`"issuer"`, `"issuer":1,"x"`},
		{`"issuer"`, `"d":"AQAB","p":"AQ","issuer"`},
		{`["AA=="]`, `1`},
		{`}`, `,"oth":[{}]}`},
	} {
		f.Add([]byte(`{"keys":[` + strings.Replace(good, edit.old, edit.new, 1) + `]}`))
	}
	for _, document := range []string{
		``, `{}`, `null`, `{"keys":null}`, `{"keys":[]}`, `{"keys":[1,null,"x",[],{}]}`,
		`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"AA"}]}`,
		`{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"AA","y":"AA"}]}`,
	} {
		f.Add([]byte(document))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var document struct {
			Keys []json.RawMessage `json:"keys"`
		}
		if json.Unmarshal(data, &document) != nil {
			return
		}
		set, err := newKeySet("https://login.example/{tenantid}/v2.0", "login.example", document.Keys)
		if err != nil {
			return
		}
		if len(set.keys) == 0 || len(set.keys) > maxKeys {
			t.Fatalf("a set of %d keys", len(set.keys))
		}
		for id, key := range set.keys {
			public, ok := key.public.(*rsa.PublicKey)
			if !ok || id == "" || key.id != id || public.N.BitLen() < minKeyBits || public.N.BitLen() > maxKeyBits ||
				public.E < 3 || public.E%2 == 0 {
				t.Errorf("key %q: %+v", id, key)
			}
			if len(key.methods) != 1 || key.methods["RS256"] != jwt.SigningMethodRS256 {
				t.Errorf("key %q: verifies with %v", id, key.methods)
			}
		}
	})
}

// FuzzMetadata reads a metadata document and checks what is believed of it, and
// what is asked for because of it.
func FuzzMetadata(f *testing.F) {
	keys := `{"keys":[{"kty":"RSA","kid":"a","e":"AQAB","n":"` + strings.Repeat("_", 342) + `"}]}`
	for _, document := range []string{
		`{"issuer":"https://login.example/{tenantid}/v2.0","jwks_uri":"https://login.example/keys","cloud_instance_name":"example"}`,
		`{"issuer":"https://login.example/","jwks_uri":"http://login.example/keys"}`,
		`{"issuer":"https://login.example/","jwks_uri":"file:///etc/passwd"}`,
		`{"issuer":"https://login.example/","jwks_uri":"https:///keys"}`,
		`{"issuer":"https://login.example/","jwks_uri":"https://login.example:x/keys"}`,
		`{"issuer":"https://login.example/","jwks_uri":"https://login.example/ keys\n"}`,
		`{"issuer":"https://login.example/","jwks_uri":["https://login.example/keys"]}`,
		`{"issuer":"","jwks_uri":"https://login.example/keys"}`,
		`{"ISSUER":"https://login.example/","JWKS_URI":"https://login.example/keys"}`,
		`{"issuer":1}`, `{}`, `null`, `[]`, `<html></html>`, ``,
	} {
		f.Add([]byte(document))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var asked []*url.URL
		client := &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			asked = append(asked, r.URL)
			body := data
			if len(asked) > 1 {
				body = []byte(keys)
			}
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(body)), Request: r}, nil
		})}
		set, err := newDocument(Config{Instance: "https://login.example", TenantID: "common", Client: client}, "").fetch(t.Context())
		for _, u := range asked {
			if u.Scheme != "https" || u.Host == "" {
				t.Errorf("asked for %q", u)
			}
		}
		if err == nil && (set.issuer == "" || len(set.keys) != 1 || len(asked) != 2) {
			t.Errorf("believed %+v after %d documents", set, len(asked))
		}
	})
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
