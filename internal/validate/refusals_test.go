package validate_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"middletier/internal/testkit/tokentest"
	"middletier/internal/validate"
)

// exactRefusals depend on this API's GUIDs, which have letters, or on a clock
// that stands still.
var exactRefusals = []tokentest.Refusal{
	{Name: "aud in upper case", Change: claim("aud", strings.ToUpper(apiID)), Reason: validate.WrongAud},
	{Name: "iss with the tenant in upper case", Change: claim("iss", "https://localhost/"+strings.ToUpper(contoso)+"/v2.0"), Reason: validate.WrongIssuer, Says: "iss is"},
	{Name: "a token of another tenant", Change: func(d *draft) { d.Claims = platform().UserClaims("frida", "spa", "api", "Read") }, Reason: validate.WrongIssuer, Says: "iss is"},
	{Name: "a token for another version's API", Change: func(d *draft) { d.Claims = userDraftV1().Claims }, Reason: validate.WrongAud},
	{Name: "nbf ahead by a second more than the skew", Change: ahead("nbf", 61*time.Second), Reason: validate.NotYetValid},
	{Name: "iat ahead by a second more than the skew", Change: ahead("iat", 61*time.Second), Reason: validate.NotYetValid},
}

func refusals() []tokentest.Refusal {
	return slices.Concat(tokentest.Refusals(), tokentest.Unsent, exactRefusals)
}

func TestTokensThatAreRefused(t *testing.T) {
	for _, row := range refusals() {
		bubble(t, row.Name, func(t *testing.T) {
			v := start(t)
			token := userDraft().Token(row.Change)
			for range 2 { // what was refused is not remembered
				caller, err := v.Validate(context.Background(), token)
				var refused *validate.InvalidTokenError
				if !errors.As(err, &refused) || refused.Reason != row.Reason || !strings.Contains(fmt.Sprint(refused.Err), row.Says) || caller != nil {
					t.Fatalf("Validate: got %v, %v, want %s, with %q", caller, err, row.Reason, row.Says)
				}
			}
		})
	}
}

// A token that has nothing changed is good, so that each row above is refused
// for its difference.
func TestUnchangedTokenIsGood(t *testing.T) {
	bubble(t, "user", func(t *testing.T) { accept(t, start(t), userDraft().Token()) })
	bubble(t, "app", func(t *testing.T) { accept(t, start(t), appDraft().Token()) })
}

func accept(t *testing.T, v *validate.Validator, token string) *validate.Caller {
	t.Helper()
	caller, err := v.Validate(context.Background(), token)
	if err != nil {
		t.Fatalf("Validate: got %v, want a caller", err)
	}
	return caller
}

func refuse(t *testing.T, v *validate.Validator, token string, want validate.Reason) {
	t.Helper()
	caller, err := v.Validate(context.Background(), token)
	var refused *validate.InvalidTokenError
	if !errors.As(err, &refused) || refused.Reason != want {
		t.Fatalf("Validate: got %v, %v, want %s", caller, err, want)
	}
}
