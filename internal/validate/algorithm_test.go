package validate

import (
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"io/fs"
	"testing"

	"github.com/c2sp/wycheproof"
	"github.com/golang-jwt/jwt/v5"
)

// The published vectors of ES256 tell: without an entry all are refused, with it
// the valid ones are accepted, as are those of RS256.
func TestAnotherAlgorithmIsOneEntryOfTheTable(t *testing.T) {
	data, err := fs.ReadFile(wycheproof.TestVectors, "json_web_signature_test.json")
	if err != nil {
		t.Fatal(err)
	}
	var file vectors
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	accepted := func(alg string) (good, bad int) {
		for _, group := range file.TestGroups {
			var key struct{ Alg string }
			if json.Unmarshal(group.Public, &key) != nil || key.Alg != alg {
				continue
			}
			for _, v := range group.Tests {
				parsing, checking := judge(t, group.Public, v.token())
				switch refused := errors.Join(parsing, checking) != nil; {
				case refused:
				case v.Result == "valid" || mislabelled[v.TCID] == "valid":
					good++
				default:
					bad++
				}
			}
		}
		return good, bad
	}
	if good, bad := accepted("ES256"); good+bad > 0 {
		t.Errorf("accepted %d and %d vectors of ES256, want none", good, bad)
	}
	rsa, _ := accepted("RS256")
	algorithms["ES256"] = algorithm{jwt.SigningMethodES256, func(public any) error {
		if _, ok := public.(*ecdsa.PublicKey); !ok {
			return errors.New("not an elliptic curve key")
		}
		return nil
	}}
	t.Cleanup(func() { delete(algorithms, "ES256") })
	if good, bad := accepted("ES256"); good == 0 || bad > 0 {
		t.Errorf("accepted %d valid and %d invalid vectors of ES256, want some and none", good, bad)
	}
	if good, bad := accepted("RS256"); good != rsa || good == 0 || bad > 0 {
		t.Errorf("accepted %d valid and %d invalid vectors of RS256, want %d and none", good, bad, rsa)
	}
}
