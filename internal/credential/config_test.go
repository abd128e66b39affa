package credential_test

import (
	"slices"
	"testing"

	"middletier/internal/credential"
)

func TestKeysDecideTheSourceTypeThatIsMissing(t *testing.T) {
	for _, row := range []struct {
		entry credential.Config
		want  string
	}{
		{credential.Config{ClientSecret: "x"}, "ClientSecret"},
		{credential.Config{ClientSecretFile: "x"}, "ClientSecret"},
		{credential.Config{PrivateKeyDiskPath: "x", CertificateThumbprint: "y"}, "Path"},
		{credential.Config{Base64EncodedValue: "x", CertificatePassword: "y"}, "Base64Encoded"},
		{credential.Config{KeyVaultURL: "x"}, "KeyVault"},
		{credential.Config{ManagedIdentityClientID: "x"}, "SignedAssertionFromManagedIdentity"},
		{credential.Config{ManagedIdentityClientID: "x", KeyVaultURL: "y"}, "KeyVault"},
		{credential.Config{SourceType: "Path", ClientSecret: "x"}, "Path"},
		{credential.Config{ClientSecret: "x", CertificateDiskPath: "y"}, ""},
		{credential.Config{CertificatePassword: "x"}, ""},
		{credential.Config{}, ""},
	} {
		row.entry.DecideSourceType()
		if row.entry.SourceType != row.want {
			t.Errorf("%#v: got %q, want %q", row.entry, row.entry.SourceType, row.want)
		}
	}
}

// A layer of configuration may leave keys of another kind behind.
func TestKeysOfAnotherKindAreAWarning(t *testing.T) {
	entry := credential.Config{
		SourceType: "Path", CertificateDiskPath: "x", CertificatePassword: "y",
		ClientSecret: "z", KeyVaultURL: "no URL",
	}
	var problems, warnings []string
	entry.Check(func(key, _ string) { problems = append(problems, key) })
	entry.Warn(func(key, _ string) { warnings = append(warnings, key) })
	if want := []string{"clientSecret", "keyVaultUrl"}; problems != nil || !slices.Equal(warnings, want) {
		t.Errorf("got problems %q and warnings %q, want no problem and warnings %q", problems, warnings, want)
	}
}

func TestSkippedEntryIsLeftOut(t *testing.T) {
	var u user
	u.start(t, credential.Config{Skip: true, SourceType: "ClientSecret", ClientSecret: "first"},
		credential.Config{SourceType: "ClientSecret", ClientSecret: "second"})
	if got := u.used[0].String(); got != "clientCredentials[1] ClientSecret" {
		t.Errorf("got %s, want the second entry", got)
	}
}
