package main

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"

	"middletier/internal/secretfile"
)

// checkRoots reports a file of CAs that Go ignores silently: crypto/x509 reads
// SSL_CERT_FILE itself, and finds no certificate in a file with a byte order mark, in
// UTF-16 or in DER. A missing file is no mistake: it may be created before it is needed.
func checkRoots(environ []string) func(file, report) {
	return func(_ file, report report) {
		const name = "SSL_CERT_FILE"
		path := environment(environ)[name]
		if path == "" {
			return
		}
		data, err := secretfile.Read(path)
		if err == nil {
			err = checkPEM(data)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			report(name, fmt.Sprintf("%s: %v", path, err))
		}
	}
}

// checkPEM compares the certificates that Go finds in data with those that are there.
func checkPEM(data []byte) error {
	found := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			found++
		}
	}
	bundle, err := secretfile.ParsePEM(data)
	switch {
	case err != nil && found == 0:
		return err
	case err == nil && len(bundle.Certificates) == 0:
		return errors.New("holds no certificate")
	case err == nil && found < len(bundle.Certificates):
		return errors.New("is not plain PEM, the only form that Go reads there: save it as UTF-8 without a byte order mark " +
			"(from DER: openssl x509 -inform DER -in FILE -out FILE.pem)")
	}
	return nil
}
