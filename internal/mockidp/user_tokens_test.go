package mockidp_test

import (
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// With openid an exchange also answers with an ID token for the client itself, whose sub is
// not that of the access token.
func TestOnBehalfOfAnswersWithIDToken(t *testing.T) {
	k := start(t)
	_, without := k.post(contoso, k.obo())
	if without["id_token"] != nil || without["refresh_token"] != nil {
		t.Errorf("without the scopes: got %v", without)
	}
	status, body := k.post(contoso, k.obo("scope", "api://todo/.default openid"))
	if status != 200 {
		t.Fatalf("got %d %v", status, body)
	}
	var id, access jwt.MapClaims
	for name, claims := range map[string]*jwt.MapClaims{"id_token": &id, "access_token": &access} {
		text, _ := body[name].(string)
		if _, _, err := jwt.NewParser().ParseUnverified(text, claims); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if id["aud"] != middleID || id["oid"] != aliceID || id["scp"] != nil || id["sub"] == access["sub"] {
		t.Errorf("ID token: got %v, beside the access token's sub %v", id, access["sub"])
	}
}
