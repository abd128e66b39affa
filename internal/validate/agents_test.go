package validate_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"middletier/internal/testkit/tokentest"
	"middletier/internal/validate"
)

// In tokens of applications, agents among them, an scp that is empty or "/" stands for none.
// It never makes a user's token an application's, and is no scope of a user.
func TestEmptyScopes(t *testing.T) {
	asUser := all(noClaim("idtyp"), claim("sub", "pairwise"), claim("name", "Alice"))
	for _, row := range []struct {
		name   string
		draft  func() *draft
		change change
		want   validate.Reason // "": accepted as an application's
	}{
		{"idtyp app", appDraft, func(*draft) {}, ""},
		{"no idtyp", appDraft, noClaim("idtyp"), ""},
		{"v1.0", appDraft, tokentest.V1, ""},
		{"v1.0, no idtyp", appDraft, all(tokentest.V1, noClaim("idtyp")), ""},
		{"no idtyp, no sign of a user", appDraft, all(noClaim("idtyp"), claim("sub", "pairwise")), ""},
		{"agent", appDraft, claim("xms_par_app_azp", apiID), ""},
		{"idtyp app, no roles", appDraft, noRoles, validate.NotAccess},
		{"a user with roles", appDraft, asUser, validate.NotAccess},
		{"idtyp user", userDraft, claim("idtyp", "user"), validate.NotAccess},
		{"idtyp user, with roles", userDraft, all(claim("idtyp", "user"), claim("roles", []string{"Read.All"})), validate.NotAccess},
		{"a user, no idtyp", userDraft, noClaim("idtyp"), validate.NotAccess},
	} {
		for _, scp := range []string{"", " ", "/", " / "} {
			bubble(t, row.name+" "+scp, func(t *testing.T) {
				token := row.draft().Token(row.change, claim("scp", scp))
				if row.want != "" {
					refuse(t, start(t), token, row.want)
					return
				}
				checkAccepted(t, start(t), token, true)
			})
		}
	}
	bubble(t, "with a scope beside it", func(t *testing.T) {
		v := start(t)
		refuse(t, v, appDraft().Token(claim("scp", "/ Read")), validate.NotAccess)
		refuse(t, v, appDraft().Token(claim("scp", "//")), validate.NotAccess)
	})
	bubble(t, "of a listed client", func(t *testing.T) {
		listed := newAccess(t, validate.Rule{Clients: []string{daemonID}})
		expectFor(t, start(t), appDraft().Token(noRoles, claim("scp", "/")), listed, "")
	})
}

// The blueprint of an agent is for the log alone: what is no GUID is none, and refuses nothing.
func TestParentOfAnAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := start(t)
		for _, row := range []struct {
			name  string
			value any
			want  string
		}{
			{"GUID", legacyID, legacyID},
			{"GUID in upper case", strings.ToUpper(legacyID), legacyID},
			{"no GUID", "blueprint", ""},
			{"more than a GUID", legacyID + "\nlevel=ERROR", ""},
			{"of another type", []string{legacyID}, ""},
			{"null", nil, ""},
			{"long", strings.Repeat("a", 8<<10), ""},
		} {
			for name, draft := range map[string]func() *draft{"user": userDraft, "app": appDraft} {
				if got := accept(t, v, draft().Token(claim("xms_par_app_azp", row.value))).ParentClientID(); got != row.want {
					t.Errorf("%s, %s: got %q, want %q", row.name, name, got, row.want)
				}
			}
		}
		if got := accept(t, v, userDraft().Token()).ParentClientID(); got != "" {
			t.Errorf("without the claim: got %q, want none", got)
		}
	})
}
