package credential

import (
	"context"
	"errors"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"middletier/internal/secretfile"
)

// kind is what is known of the entries of a sourceType. A new one is a row of kinds, a
// loader in a file of its own, and its keys in Config.
type kind struct {
	open  func(s StoreConfig, entry Config) loader
	oneOf []string                                         // keys of which exactly one must be set
	all   []string                                         // keys that must all be set
	check func(c Config, report func(key, problem string)) // further rules; nil: none

	// remote: loading asks the network.
	remote bool
	// federated: it is a token of another platform, which the provider matches against the
	// application's federated credentials.
	federated bool
}

// kinds are all there are, by their sourceType.
var kinds = map[string]kind{
	"ClientSecret":                       {open: openSecret, oneOf: []string{"clientSecret", "clientSecretFile"}},
	"Path":                               {open: openCertificateFile, check: checkCertificateFile},
	"Base64Encoded":                      {open: openEncodedCertificate, all: []string{"base64EncodedValue"}},
	"KeyVault":                           {open: openVaultCertificate, all: []string{"keyVaultUrl", "keyVaultCertificateName"}, remote: true},
	"SignedAssertionFilePath":            {open: openAssertionFile, all: []string{"signedAssertionFileDiskPath"}, federated: true},
	"SignedAssertionFromManagedIdentity": {open: openManagedIdentity, remote: true, federated: true},
}

// unknown is an entry of no kind, which Check refuses.
type unknown struct{ content }

func (unknown) read(context.Context) ([][]byte, error) { return nil, errors.New("is not known") }

func (unknown) parse([][]byte) (credential confidential.Credential, expires time.Time, err error) {
	return credential, expires, errors.New("is not known")
}

// loader loads the credential of one entry, one call at a time.
type loader interface {
	// origin is the key that says where it loads from. An error may have an origin of
	// its own.
	origin() string
	// paths are the files that it reads.
	paths() []string
	// read returns what the credential is made of, file by file. Errors name the file,
	// never what is in it.
	read(ctx context.Context) ([][]byte, error)
	// parse makes a credential of what read returned. expires is the end of its
	// certificate; zero: it has none.
	parse(data [][]byte) (credential confidential.Credential, expires time.Time, err error)
}

// content is where the bytes of a credential are: in a file, or in the entry itself.
type content struct {
	key  string // that says so
	file string // "": in text
	text string
}

func (c content) origin() string { return c.key }

func (c content) paths() []string {
	if c.file == "" {
		return nil
	}
	return []string{c.file}
}

func (c content) read(context.Context) ([][]byte, error) {
	if c.file == "" {
		return [][]byte{[]byte(c.text)}, nil
	}
	data, err := secretfile.Read(c.file)
	return [][]byte{data}, err
}
