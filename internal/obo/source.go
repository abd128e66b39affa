package obo

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

// source is an entry of clientCredentials, and what it gave last.
type source struct {
	Credential
	key    string // of the entry, as in clientCredentials[0]
	config *Config

	vault    *vault           // with KeyVault, once opened
	identity *managedIdentity // with SignedAssertionFromManagedIdentity, once made
	file     assertionFile    // with SignedAssertionFilePath

	held    *proof // the last good one; nil: it has never loaded
	problem error  // why it did not load the last time
}

// newSources returns what the credentials are read from, in order.
func (c *Config) newSources() []*source {
	var sources []*source
	for i, credential := range c.Credentials {
		sources = append(sources, &source{
			Credential: credential, key: fmt.Sprintf("clientCredentials[%d]", i), config: c,
			file: assertionFile{path: credential.SignedAssertionFileDiskPath},
		})
	}
	return sources
}

// CheckLoading reports by key why no credential can be read, as far as that can
// be told without asking another machine. Credentials whose form Check refuses
// are not looked at.
func (c Config) CheckLoading(report func(key, problem string)) {
	sources := c.newSources()
	for _, s := range sources {
		wellFormed := true
		s.check(func(string, string) { wellFormed = false })
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

// proof is a credential that was loaded. It never changes.
type proof struct {
	credential confidential.Credential
	digest     [32]byte  // of what it was made from: what changes it makes another credential
	expires    time.Time // the end of its certificate; zero: it has none
}

// String keeps the secrets in it from being printed.
func (s *source) String() string { return s.key + " " + s.SourceType }

// remote reports whether reading s asks the network.
func (s *source) remote() bool {
	return s.SourceType == "KeyVault" || s.SourceType == "SignedAssertionFromManagedIdentity"
}

// isFederated reports whether s holds a token of another platform, which the provider
// matches against the application's federated credentials.
func (s *source) isFederated() bool {
	return s.SourceType == "SignedAssertionFilePath" || s.SourceType == "SignedAssertionFromManagedIdentity"
}

// path is the file that s reads, or "".
func (s *source) path() string {
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
func (s *source) origin() string {
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
func (s *source) load(ctx context.Context) {
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
func (s *source) read(ctx context.Context) ([]byte, error) {
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
			if s.vault, err = openVault(*s.config, s.Credential); err != nil {
				return nil, err
			}
		}
		return s.vault.read(ctx)
	case "SignedAssertionFromManagedIdentity":
		if s.identity == nil {
			if s.identity, err = newManagedIdentity(s.ManagedIdentityClientID, exchangeAudience(s.config.Instance)); err != nil {
				return nil, err
			}
		}
		_, err = s.identity.assertion(ctx) // it changes by itself; what counts is that there is one
		return nil, err
	}
	return nil, errors.New("is not known")
}

// accept makes a credential of data, unless s holds that one already.
func (s *source) accept(data []byte) error {
	p := &proof{digest: sha256.Sum256(data)}
	if s.held != nil && s.held.digest == p.digest {
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
		p.credential = credential
	case "SignedAssertionFilePath":
		if err := s.file.accept(data); err != nil {
			return fmt.Errorf("%s %w", s.path(), err)
		}
		p.credential = s.file.credential()
	case "SignedAssertionFromManagedIdentity":
		p.credential = s.identity.credential()
	default:
		c, err := parseCertificate(data, s.CertificatePassword)
		if err != nil {
			return errors.New(strings.TrimPrefix(s.path()+": "+err.Error(), ": "))
		}
		p.credential, p.expires = c.withClaims(s.ClientClaims), c.leaf.NotAfter
	}
	s.held = p
	return nil
}
