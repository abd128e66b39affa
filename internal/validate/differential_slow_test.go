//go:build slow

package validate_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-jose/go-jose/v4"

	"middletier/internal/validate"
)

// stricter is what another implementation of JWS lets pass and we refuse: part
// of our words for it, and why. The first that fits is meant.
var stricter = []struct{ says, why string }{
	{"token is wrong_", "not a matter of JWS: whose token it is, and for whom"},
	{"token is expired", "not a matter of JWS: when it is good"},
	{"token is not_yet_valid", "not a matter of JWS: when it is good"},
	{"token is id_token", "not a matter of JWS: what kind of token it is"},
	{"token is microsoft_graph_token", "not a matter of JWS: for whom"},
	{"token is not_an_access_token", "not a matter of JWS: what kind of token it is"},
	{": illegal base64", "one token has one spelling: spare bits are zero"},
	{"claims: ", "not a matter of JWS: the payload is strict JSON"},
	{" is missing", "not a matter of JWS: claims that must be there"},
	{" is not a", "not a matter of JWS: claims have types"},
	{"line break", "one token has one spelling: encoding/base64 skips line breaks"},
	{"differ only in case", "some reader of JSON takes one for the other"},
	{"header: jsontext: invalid UTF-8", "two readers of JSON replace it differently"},
	{"header: too many members", "a header has a few"},
	{"header: nested too deeply", "a header is flat"},
	{"header has crit", "an empty list, or null"},
	{"header has b64", "true, which changes nothing"},
	{"header has zip", "has no meaning in a JWS"},
	{"header has cty", "a token in a token"},
	{"typ is not JWT", "another kind of token"},
	{"token is too_long", "bounded work"},
}

// theirs is go-jose's judgement, with the platform's key.
func theirs(keys jose.JSONWebKeySet, token string) error {
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return err
	}
	_, err = signed.Verify(keys)
	return err
}

// Whatever we accept, another implementation of JWS verifies with the same key;
// so what it refuses, we refuse. Where we refuse more, there is a reason for it.
func TestSlowNothingIsAcceptedThatGoJoseRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := start(t)
		keys := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{KeyID: platform().KeyID(), Key: platform().Key().Public()}}}
		r := rand.New(rand.NewPCG(7515, 7519))
		last := userDraft().Token()
		both, neither, ours := 0, 0, map[string]int{}
		judge := func(token string) {
			_, err := v.Validate(context.Background(), token)
			var refused *validate.InvalidTokenError
			if err != nil && !errors.As(err, &refused) {
				t.Fatal(err)
			}
			switch other := theirs(keys, token); {
			case err == nil && other != nil:
				t.Errorf("accepted, and refused by go-jose (%v): %q", other, token)
			case err == nil:
				both++
			case other != nil:
				neither++
			default:
				i := slices.IndexFunc(stricter, func(s struct{ says, why string }) bool { return strings.Contains(err.Error(), s.says) })
				if i < 0 {
					t.Errorf("refused without a reason that is listed (%v), and accepted by go-jose: %q", err, token)
					return
				}
				ours[stricter[i].says]++
			}
		}
		for _, row := range refusals() {
			good, bad := userDraft().Token(claim("uti", serial())), userDraft().Token(row.Change)
			for _, token := range []string{good, bad} {
				judge(token)
				for range 8 {
					if token = mutate(r.IntN, token, last); len(token) > 64<<10 {
						break
					}
					judge(token)
				}
			}
			last = good
		}
		t.Logf("accepted by both: %d; refused by both: %d; refused by us alone:", both, neither)
		for _, s := range stricter {
			t.Logf("%6d  %s (%s)", ours[s.says], s.says, s.why)
			if ours[s.says] == 0 {
				t.Errorf("no token is refused for %q that go-jose accepts: the list is out of date", s.says)
			}
		}
		if both == 0 || neither == 0 {
			t.Error("the tokens were all of one kind")
		}
	})
}
