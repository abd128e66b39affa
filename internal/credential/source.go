package credential

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"middletier/internal/secretfile"
)

// readTimeout bounds one reading of a credential over the network.
const readTimeout = 10 * time.Second

// credentialSource is an entry of clientCredentials, and what it gave last.
type credentialSource struct {
	Config
	key    string // of the entry, such as clientCredentials[0]
	config *StoreConfig

	vault           *vault           // with KeyVault, once opened
	managedIdentity *managedIdentity // with SignedAssertionFromManagedIdentity, once made
	file            assertionFile    // with SignedAssertionFilePath

	held    *Active // the last good one; nil: it has never loaded
	problem error   // why it did not load the last time
}

// newSources returns what the credentials are read from, in order.
func (c *StoreConfig) newSources() []*credentialSource {
	var sources []*credentialSource
	for i, entry := range c.Entries {
		sources = append(sources, &credentialSource{
			Config: entry, key: fmt.Sprintf("clientCredentials[%d]", i), config: c,
			file: assertionFile{path: entry.SignedAssertionFileDiskPath},
		})
	}
	return sources
}

// CheckLoading reports by key why no credential can be read, as far as that can
// be told without asking another machine. Credentials whose form Check refuses
// are not looked at.
func (c StoreConfig) CheckLoading(report func(key, problem string)) {
	sources := c.newSources()
	for _, s := range sources {
		wellFormed := true
		s.Check(func(string, string) { wellFormed = false })
		if !wellFormed || s.remote() {
			return
		}
		if s.load(context.Background()); s.problem == nil {
			return
		}
	}
	for _, s := range sources {
		report(s.key+"."+s.origin(), strings.TrimPrefix(s.problem.Error(), s.key+"."+s.origin()+": "))
	}
}

// Active is a credential that was loaded. It never changes.
type Active struct {
	Credential confidential.Credential
	// Federated: it is a token of another platform, which the provider matches against
	// the application's federated credentials.
	Federated bool

	key        string // of its entry
	sourceType string
	digest     [32]byte  // of what it was made from: what changes it makes another credential
	expires    time.Time // the end of its certificate; zero: it has none
}

// String keeps the secrets in it from being printed.
func (s *credentialSource) String() string { return s.key + " " + s.SourceType }

// remote reports whether reading s asks the network.
func (s *credentialSource) remote() bool {
	return s.SourceType == "KeyVault" || s.SourceType == "SignedAssertionFromManagedIdentity"
}

// isFederated reports whether s holds a token of another platform, which the provider
// matches against the application's federated credentials.
func (s *credentialSource) isFederated() bool {
	return s.SourceType == "SignedAssertionFilePath" || s.SourceType == "SignedAssertionFromManagedIdentity"
}

// path is the file that s reads, or "".
func (s *credentialSource) path() string {
	switch s.SourceType {
	case "ClientSecret":
		return s.ClientSecretFile
	case "Path":
		return s.CertificateDiskPath
	case "SignedAssertionFilePath":
		return s.SignedAssertionFileDiskPath
	}
	return ""
}

// origin is the key that says where s reads from.
func (s *credentialSource) origin() string {
	switch s.SourceType {
	case "ClientSecret":
		if s.ClientSecretFile == "" {
			return "clientSecret"
		}
		return "clientSecretFile"
	case "Path":
		return "certificateDiskPath"
	case "Base64Encoded":
		return "base64EncodedValue"
	case "KeyVault":
		return "keyVaultCertificateName"
	case "SignedAssertionFilePath":
		return "signedAssertionFileDiskPath"
	case "SignedAssertionFromManagedIdentity":
		return "managedIdentityClientId"
	}
	return "sourceType"
}

// load reads s again. What it holds is only ever replaced by a good credential:
// a file may be gone, empty or cut off while it is being replaced.
func (s *credentialSource) load(ctx context.Context) {
	data, err := s.read(ctx)
	if err == nil {
		err = s.accept(data)
	}
	s.problem = nil
	if err != nil {
		s.problem = fmt.Errorf("%s.%s: %w", s.key, s.origin(), err)
	}
}

// read returns what the credential is made of. Errors name the file, never what
// is in it.
func (s *credentialSource) read(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if path := s.path(); path != "" {
		return secretfile.Read(path)
	}
	var err error
	switch s.SourceType {
	case "ClientSecret":
		return []byte(s.ClientSecret), nil
	case "Base64Encoded":
		return []byte(s.Base64EncodedValue), nil
	case "KeyVault":
		if s.vault == nil {
			if s.vault, err = openVault(*s.config, s.Config); err != nil {
				return nil, err
			}
		}
		return s.vault.read(ctx)
	case "SignedAssertionFromManagedIdentity":
		if s.managedIdentity == nil {
			if s.managedIdentity, err = newManagedIdentity(s.ManagedIdentityClientID, exchangeAudience(s.config.Instance)); err != nil {
				return nil, err
			}
		}
		_, err = s.managedIdentity.assertion(ctx) // it changes by itself; what counts is that there is one
		return nil, err
	}
	return nil, errors.New("is not known")
}

// accept makes a credential of data, unless s holds that one already.
func (s *credentialSource) accept(data []byte) error {
	loaded := &Active{Federated: s.isFederated(), key: s.key, sourceType: s.SourceType, digest: sha256.Sum256(data)}
	if s.held != nil && s.held.digest == loaded.digest {
		return nil
	}
	switch s.SourceType {
	case "ClientSecret":
		secret, err := secretfile.Secret(data)
		if err != nil {
			return err
		}
		credential, err := confidential.NewCredFromSecret(secret)
		if err != nil {
			return err
		}
		loaded.Credential = credential
	case "SignedAssertionFilePath":
		if err := s.file.accept(data); err != nil {
			return fmt.Errorf("%s %w", s.path(), err)
		}
		loaded.Credential = s.file.credential()
	case "SignedAssertionFromManagedIdentity":
		loaded.Credential = s.managedIdentity.credential()
	default:
		c, err := parseCertificate(data, s.CertificatePassword)
		if err != nil {
			return errors.New(strings.TrimPrefix(s.path()+": "+err.Error(), ": "))
		}
		loaded.Credential, loaded.expires = c.withClaims(s.ClientClaims), c.leaf.NotAfter
	}
	s.held = loaded
	return nil
}
