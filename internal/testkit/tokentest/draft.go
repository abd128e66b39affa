// Package tokentest makes access tokens for tests: good ones, good ones with one
// thing changed that are good still, and those that must be refused.
package tokentest

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"middletier/internal/mockidp"
)

// Source makes the good tokens of an API that all others start with. They are of
// v2.0 and signed with the platform's current key.
type Source struct {
	IDP       *mockidp.Server
	User, App func() map[string]any // the claims of a good token
	Elsewhere string                // an https URL that nothing may be fetched from
}

// Draft is a token before it is signed.
type Draft struct {
	Header, Claims map[string]any
	EditHeader     func(string) string // the JSON, before it is signed
	EditClaims     func(string) string
	Edit           func(string) string // the token, after it is signed
	Sign           func(input string) []byte

	source *Source
}

// Change alters a draft.
type Change func(*Draft)

// Draft returns a good token's draft with these claims.
func (s *Source) Draft(claims map[string]any) *Draft {
	return &Draft{
		Header: map[string]any{"typ": "JWT", "alg": "RS256", "kid": s.IDP.KeyID()},
		Claims: claims,
		Sign:   SignedWith(s.IDP.Key()),
		source: s,
	}
}

// UserDraft returns the draft of a user's good token.
func (s *Source) UserDraft() *Draft { return s.Draft(s.User()) }

// AppDraft returns the draft of an application's good token.
func (s *Source) AppDraft() *Draft { return s.Draft(s.App()) }

// Token returns the token, changed.
func (d *Draft) Token(changes ...Change) string {
	for _, c := range changes {
		c(d)
	}
	head, body := Encode(d.Header), Encode(d.Claims)
	if d.EditHeader != nil {
		head = d.EditHeader(head)
	}
	if d.EditClaims != nil {
		body = d.EditClaims(body)
	}
	input := Base64(head) + "." + Base64(body)
	token := input + "." + Base64(string(d.Sign(input)))
	if d.Edit != nil {
		token = d.Edit(token)
	}
	return token
}

// Header sets a member of the header, and Claim one of the claims.
func Header(name string, value any) Change { return func(d *Draft) { d.Header[name] = value } }
func Claim(name string, value any) Change  { return func(d *Draft) { d.Claims[name] = value } }

// NoHeader takes a member of the header away, and NoClaim some of the claims.
func NoHeader(name string) Change { return func(d *Draft) { delete(d.Header, name) } }

func NoClaim(names ...string) Change {
	return func(d *Draft) {
		for _, name := range names {
			delete(d.Claims, name)
		}
	}
}

// All makes one change of several.
func All(changes ...Change) Change {
	return func(d *Draft) {
		for _, c := range changes {
			c(d)
		}
	}
}

// Ahead sets a date so far from now.
func Ahead(name string, by time.Duration) Change {
	return func(d *Draft) { d.Claims[name] = time.Now().Add(by).Unix() }
}

// EditHeader changes the header's JSON before it is signed, EditClaims that of
// the claims, and Edit the token after it is.
func EditHeader(f func(string) string) Change { return func(d *Draft) { d.EditHeader = f } }
func EditClaims(f func(string) string) Change { return func(d *Draft) { d.EditClaims = f } }
func Edit(f func(string) string) Change       { return func(d *Draft) { d.Edit = f } }

// Appended appends members to a JSON object.
func Appended(members string) func(string) string {
	return func(s string) string { return strings.TrimSuffix(s, "}") + "," + members + "}" }
}

// SignedBy replaces what signs.
func SignedBy(sign func(input string) []byte) Change { return func(d *Draft) { d.Sign = sign } }

// SignedWith is an RS256 signature by key, under whatever name the header says.
func SignedWith(key *rsa.PrivateKey) func(input string) []byte {
	return func(input string) []byte {
		digest := sha256.Sum256([]byte(input))
		signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
		if err != nil {
			panic(err)
		}
		return signature
	}
}

// Base64 encodes as tokens do.
func Base64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// Encode returns v as JSON.
func Encode(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}
