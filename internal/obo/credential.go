package obo

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"software.sslmate.com/src/go-pkcs12"
)

// Credential is one way to prove who we are, under the names of
// Microsoft.Identity.Web. Exactly one source in an entry.
type Credential struct {
	SourceType          string `yaml:"sourceType" enum:"ClientSecret,Path" doc:"Where the credential comes from"`
	ClientSecret        string `yaml:"clientSecret" secret:"true" doc:"ClientSecret: the secret itself; better from the environment or a file"`
	ClientSecretFile    string `yaml:"clientSecretFile" doc:"ClientSecret: a file that holds the secret"`
	CertificateDiskPath string `yaml:"certificateDiskPath" doc:"Path: a PEM file (certificate and key) or a PFX file"`
	CertificatePassword string `yaml:"certificatePassword" secret:"true" doc:"Path: the password of the PFX file"`
}

// String names the kind of credential only.
func (c Credential) String() string { return c.SourceType }

func (c Credential) check(report func(key, problem string)) {
	set := map[string]bool{
		"clientSecret": c.ClientSecret != "", "clientSecretFile": c.ClientSecretFile != "",
		"certificateDiskPath": c.CertificateDiskPath != "", "certificatePassword": c.CertificatePassword != "",
	}
	own := map[string][]string{
		"ClientSecret": {"clientSecret", "clientSecretFile"},
		"Path":         {"certificateDiskPath"},
	}[c.SourceType]
	if own == nil {
		report("sourceType", "must be ClientSecret or Path")
		return
	}
	given := 0
	for _, key := range own {
		if set[key] {
			given++
		}
		delete(set, key)
	}
	if given != 1 {
		report("", fmt.Sprintf("%s needs exactly one of %s", c.SourceType, strings.Join(own, ", ")))
	}
	for key, present := range set {
		if present && (c.SourceType != "Path" || key != "certificatePassword") {
			report(key, "does not belong to "+c.SourceType+": one entry holds one kind of credential")
		}
	}
}

// load reads the credential. Errors name the file, never what is in it.
func (c Credential) load() (confidential.Credential, error) {
	switch c.SourceType {
	case "ClientSecret":
		secret, key := c.ClientSecret, "clientSecret"
		if c.ClientSecretFile != "" {
			data, err := os.ReadFile(c.ClientSecretFile)
			if err != nil {
				return confidential.Credential{}, fmt.Errorf("clientSecretFile: %w", err)
			}
			secret, key = strings.TrimRight(string(data), "\r\n"), "clientSecretFile"
		}
		if strings.TrimSpace(secret) == "" {
			return confidential.Credential{}, fmt.Errorf("%s: is empty", key)
		}
		return confidential.NewCredFromSecret(secret)
	case "Path":
		data, err := os.ReadFile(c.CertificateDiskPath)
		if err != nil {
			return confidential.Credential{}, fmt.Errorf("certificateDiskPath: %w", err)
		}
		credential, err := parseCertificate(data, c.CertificatePassword)
		if err != nil {
			return confidential.Credential{}, fmt.Errorf("certificateDiskPath: %s: %w", c.CertificateDiskPath, err)
		}
		return credential, nil
	}
	return confidential.Credential{}, fmt.Errorf("sourceType: %q is not known", c.SourceType)
}

// parseCertificate reads a certificate, its chain if there is one, and its key
// from PEM or PFX (PKCS #12).
func parseCertificate(data []byte, password string) (confidential.Credential, error) {
	if bytes.Contains(data, []byte("-----BEGIN ")) {
		certs, key, err := confidential.CertFromPEM(data, "")
		if err != nil {
			return confidential.Credential{}, err
		}
		return confidential.NewCredFromCert(certs, key)
	}
	key, leaf, chain, err := pkcs12.DecodeChain(data, password)
	if err != nil {
		return confidential.Credential{}, err
	}
	return confidential.NewCredFromCert(append([]*x509.Certificate{leaf}, chain...), key)
}

// loadFirst returns the first credential that loads, or why none does.
func loadFirst(credentials []Credential) (confidential.Credential, error) {
	var errs []error
	for i, c := range credentials {
		loaded, err := c.load()
		if err == nil {
			return loaded, nil
		}
		errs = append(errs, fmt.Errorf("clientCredentials[%d].%w", i, err))
	}
	return confidential.Credential{}, errors.Join(errs...)
}
