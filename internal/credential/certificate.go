package credential

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"middletier/internal/secretfile"
)

// certificateEntry is a certificate with its key, PEM or PFX.
type certificateEntry struct {
	content
	keyFile  string // of the key; "": it is with the certificate
	password string // of the PFX
	// passwordFile is a file with the password; "": password is it.
	passwordFile string
	thumbprint   string // that the certificate must have; "": any
	claims       map[string]string
	sendX5C      bool
}

func openCertificateFile(s StoreConfig, entry Config) loader {
	if entry.CertificateDiskPath == "" {
		return keyEntry{content{key: "privateKeyDiskPath", file: entry.PrivateKeyDiskPath}, entry.CertificateThumbprint, entry.ClientClaims}
	}
	return certificateEntry{
		content: content{key: "certificateDiskPath", file: entry.CertificateDiskPath}, keyFile: entry.PrivateKeyDiskPath,
		password: entry.CertificatePassword, passwordFile: entry.CertificatePasswordFile, thumbprint: entry.CertificateThumbprint, claims: entry.ClientClaims, sendX5C: s.SendX5C,
	}
}

func openEncodedCertificate(s StoreConfig, entry Config) loader {
	text := content{key: "base64EncodedValue", text: entry.Base64EncodedValue}
	return certificateEntry{
		content: text, password: entry.CertificatePassword, passwordFile: entry.CertificatePasswordFile,
		claims: entry.ClientClaims, sendX5C: s.SendX5C,
	}
}

func (e certificateEntry) paths() []string {
	paths := e.content.paths()
	for _, other := range e.others() {
		paths = append(paths, other.path)
	}
	return paths
}

// other is a file beside that of the certificate.
type other struct{ key, path string }

// others are the files of the key and of the password, if they have any.
func (e certificateEntry) others() (files []other) {
	for _, file := range []other{{"privateKeyDiskPath", e.keyFile}, {"certificatePasswordFile", e.passwordFile}} {
		if file.path != "" {
			files = append(files, file)
		}
	}
	return files
}

// read returns the certificate, and then what others has.
func (e certificateEntry) read(ctx context.Context) ([][]byte, error) {
	data, err := e.content.read(ctx)
	if err != nil {
		return nil, err
	}
	for _, file := range e.others() {
		more, err := secretfile.Read(file.path)
		if err != nil {
			return nil, fileError{file.key, err}
		}
		data = append(data, more)
	}
	return data, nil
}

func (e certificateEntry) parse(data [][]byte) (confidential.Credential, time.Time, error) {
	c, err := e.certificate(data)
	if err != nil {
		return confidential.Credential{}, time.Time{}, err
	}
	credential := c.credential
	if len(e.claims) > 0 { // MSAL lets nobody add claims
		credential = c.signer(e.claims, e.sendX5C).credential()
	}
	return credential, c.leaf.NotAfter, nil
}

// certificate reads what read returned. Errors name the file.
func (e certificateEntry) certificate(data [][]byte) (*certificate, error) {
	inFile := func(err error) error { return errors.New(strings.TrimPrefix(e.file+": "+err.Error(), ": ")) }
	password := e.password
	if e.passwordFile != "" {
		var err error
		if password, err = secretfile.Secret(data[len(data)-1]); err != nil {
			return nil, fileError{"certificatePasswordFile", errors.New(e.passwordFile + ": " + err.Error())}
		}
	}
	bundle, err := secretfile.Parse(data[0], password)
	if err != nil {
		return nil, inFile(err)
	}
	if e.keyFile != "" {
		keys, err := secretfile.Parse(data[1], password)
		if err == nil && len(keys.Keys) == 0 {
			err = errors.New("holds no private key")
		}
		if err != nil {
			return nil, fileError{"privateKeyDiskPath", errors.New(e.keyFile + ": " + err.Error())}
		}
		bundle.Keys = keys.Keys
	}
	c, err := newCertificate(bundle)
	if err != nil {
		return nil, inFile(err)
	}
	if e.thumbprint != "" {
		if wanted, err := parseThumbprint(e.thumbprint); err != nil || !wanted.isOf(c.leaf) {
			return nil, inFile(errors.New("is another certificate than that of certificateThumbprint"))
		}
	}
	return c, nil
}

// fileError is about a file that another key names than that of the certificate.
type fileError struct {
	key string
	error
}

func (e fileError) origin() string { return e.key }

func (e fileError) Unwrap() error { return e.error }

// certificate is a certificate of ours with its key.
type certificate struct {
	leaf       *x509.Certificate
	chain      []*x509.Certificate // begins with leaf
	key        *rsa.PrivateKey
	credential confidential.Credential // all of it
}

// newCertificate takes a certificate, its chain if there is one, and its key.
func newCertificate(bundle secretfile.Bundle) (*certificate, error) {
	pair, err := bundle.Pair(time.Now())
	if err != nil {
		return nil, err
	}
	key, err := rsaKey(pair.Key)
	if err != nil {
		return nil, err
	}
	credential, err := confidential.NewCredFromCert(pair.Chain, key)
	if err != nil {
		return nil, err
	}
	return &certificate{leaf: pair.Leaf, chain: pair.Chain, key: key, credential: credential}, nil
}

func rsaKey(key any) (*rsa.PrivateKey, error) {
	if key, ok := key.(*rsa.PrivateKey); ok {
		return key, nil
	}
	return nil, errors.New("the private key is not RSA: Microsoft Entra takes certificates with an RSA key only")
}

// signer returns what signs client assertions with extra claims.
func (c *certificate) signer(extra map[string]string, sendX5C bool) assertionSigner {
	s := assertionSigner{key: c.key, thumbprint: sha256Of(c.leaf), claims: extra}
	if sendX5C {
		for _, certificate := range c.chain {
			s.chain = append(s.chain, base64.StdEncoding.EncodeToString(certificate.Raw))
		}
	}
	return s
}

// keyEntry is a private key of which only the certificate's thumbprint is known.
type keyEntry struct {
	content
	thumbprint string
	claims     map[string]string
}

// parse returns a credential whose client assertions name the certificate by its thumbprint.
// MSAL needs the certificate.
func (e keyEntry) parse(data [][]byte) (credential confidential.Credential, expires time.Time, err error) {
	bundle, err := secretfile.Parse(data[0], "")
	switch {
	case err != nil:
	case len(bundle.Keys) != 1:
		err = errors.New("must hold one private key")
	default:
		var s assertionSigner
		if s.key, err = rsaKey(bundle.Keys[0]); err != nil {
			break
		}
		if s.thumbprint, err = parseThumbprint(e.thumbprint); err != nil {
			return credential, expires, err // without the file: Check has refused it
		}
		s.claims = e.claims
		return s.credential(), expires, nil
	}
	return credential, expires, errors.New(e.file + ": " + err.Error())
}
