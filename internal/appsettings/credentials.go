package appsettings

import (
	"strconv"
	"strings"

	"middletier/internal/config"
)

// sourceTypes are the numbers of Microsoft.Identity.Abstractions' CredentialSource.
var sourceTypes = []string{
	"Certificate", "KeyVault", "Base64Encoded", "Path", "StoreWithThumbprint", "StoreWithDistinguishedName",
	"ClientSecret", "SignedAssertionFromManagedIdentity", "SignedAssertionFilePath", "SignedAssertionFromVault",
	"AutoDecryptKeys", "CustomSignedAssertion", "ManagedCertificate", "StoreWithSubjectName",
}

const besideCredentials = "is ignored beside ClientCredentials, as in .NET"

// clientCredentials refuses a single entry in place of a list.
func (t *translation) clientCredentials(v config.Tree) { isListOfEntries(v) }

// isListOfEntries refuses v if it is a single entry.
func isListOfEntries(v config.Tree) bool {
	if _, single := v.Get("SourceType"); single && !v.IsList() {
		v.Refuse("expected a list: put the entry in [ ]; .NET drops it silently")
		return false
	}
	return true
}

// newCredential adds an entry to clientCredentials. Beside entries that were there before,
// .NET ignores the older forms: then ok is false.
func (t *translation) newCredential(from config.Tree, sourceType string) (entry config.Tree, ok bool) {
	if t.hasCredentials {
		from.Warn(besideCredentials)
		from.Remove()
		return config.Tree{}, false
	}
	entry = t.root.Mapping("AzureAd", from).AddItem("clientCredentials", from)
	if sourceType != "" {
		entry.AddText("sourceType", sourceType, from)
	}
	return entry, true
}

func (t *translation) clientSecret(v config.Tree) {
	if _, ok := v.Text(); !ok {
		v.Refuse("expected a string")
		return
	}
	if entry, ok := t.newCredential(v, "ClientSecret"); ok {
		v.Move(entry, "clientSecret")
	}
}

func (t *translation) managedIdentity(v config.Tree) {
	enabled, ok := v.Get("IsEnabled")
	switch {
	case !v.IsMapping() || ok && !isOneOf(enabled, "true, false"):
		v.Refuse("expected IsEnabled (true or false) and ManagedIdentityClientId")
		return
	case !ok || !isOneOf(enabled, "true"):
		v.Remove()
		return
	}
	entry, ok := t.newCredential(v, "SignedAssertionFromManagedIdentity")
	if !ok {
		return
	}
	enabled.Remove()
	if id, ok := v.Get("ManagedIdentityClientId"); ok {
		id.Move(entry, "managedIdentityClientId")
	}
	for child := range v.All() {
		child.RefuseUnknown([]string{"IsEnabled", "ManagedIdentityClientId"})
	}
	v.Remove()
}

func (t *translation) clientCertificates(v config.Tree) {
	switch {
	case !isListOfEntries(v):
		return
	case t.hasCredentials:
		v.Warn(besideCredentials)
		v.Remove()
		return
	}
	for certificate := range v.Items() {
		kind, _ := certificate.Get("SourceType")
		if !certificate.IsMapping() {
			certificate.Refuse("expected a mapping")
			continue
		}
		if kind != (config.Tree{}) && isOneOf(kind, "ClientSecret, 6") {
			certificate.Warn("is ignored, as in .NET: ClientCertificates holds certificates only")
			continue
		}
		entry, _ := t.newCredential(certificate, "")
		for child := range certificate.All() {
			child.Move(entry, child.Name())
		}
	}
	v.Remove()
}

// sourceType turns numbers into names.
func (t *translation) sourceType(v config.Tree) {
	text, ok := v.Text()
	if !ok {
		return
	}
	name := strings.TrimSpace(text)
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(sourceTypes) {
		name = sourceTypes[i]
	}
	if name != text {
		v.SetText(name)
	}
}

// unusable are the kinds of credentials that .NET has and this program does not.
const unusable = "Certificate, ManagedCertificate, StoreWithThumbprint, StoreWithDistinguishedName, StoreWithSubjectName, " +
	"SignedAssertionFromVault, CustomSignedAssertion, AutoDecryptKeys"

// skipEntry removes the entry with a warning if another entry can be used. Otherwise it
// refuses the kind, because of reason.
func skipEntry(reason string) func(*translation, config.Tree) {
	return func(_ *translation, v config.Tree) {
		entry := v.Parent()
		if skip, ok := entry.Get("Skip"); ok && isOneOf(skip, "true") {
			entry.Remove()
			return
		}
		for other := range entry.Parent().All() {
			kind, hasKind := other.Get("SourceType")
			skip, hasSkip := other.Get("Skip")
			if hasKind && !isOneOf(kind, unusable) && !(hasSkip && isOneOf(skip, "true")) {
				v.Warn(reason + "; the entry is skipped")
				entry.Remove()
				return
			}
		}
		for key := range entry.All() { // what is left would be taken for another kind
			if !strings.EqualFold(key.Name(), v.Name()) {
				key.Remove()
			}
		}
		v.RefuseUnsupported(reason)
	}
}

func (t *translation) assertionPath(v config.Tree) {
	v.Warn("is called SignedAssertionFileDiskPath")
	if !v.Move(v.Parent(), "signedAssertionFileDiskPath") {
		v.Refuse("stands in SignedAssertionFileDiskPath too: delete one of the two")
	}
}

// vaultIdentity sets the identity of every entry that is in a vault.
func (t *translation) vaultIdentity(v config.Tree) {
	text, ok := textOf(v)
	if !ok {
		return
	}
	used := false
	if list, ok := v.Parent().Get("ClientCredentials"); ok {
		for entry := range list.Items() {
			if kind, ok := entry.Get("SourceType"); ok && isOneOf(kind, "KeyVault") {
				entry.AddText("managedIdentityClientId", text, v)
				used = true
			}
		}
	}
	if !used {
		v.Warn("is ignored: no entry of ClientCredentials is in a Key Vault")
	}
	v.Remove()
}
