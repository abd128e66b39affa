package listener

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"middletier/internal/secretfile"
)

// interval is how often the files are read. They are small, and a certificate is
// replaced long before it expires.
const interval = 5 * time.Second

// TLSFiles are the certificate of the public listener and its key.
type TLSFiles struct {
	CertFile string `yaml:"certFile" doc:"A PEM file with the certificate and its chain; read again when it changes."`
	KeyFile  string `yaml:"keyFile" doc:"A PEM file with the certificate's private key."`
}

// Check reports a file that is missing.
func (t TLSFiles) Check(report func(key, problem string)) {
	if t.CertFile == "" && t.KeyFile != "" {
		report("certFile", "must be set with keyFile")
	}
	if t.KeyFile == "" && t.CertFile != "" {
		report("keyFile", "must be set with certFile")
	}
}

// CheckLoading reports files that cannot be used.
func (t TLSFiles) CheckLoading(report func(key, problem string)) {
	if t.CertFile == "" {
		return
	}
	if _, key, err := t.Load(); err != nil {
		report(key, err.Error())
	}
}

// Load reads the pair. An error comes with the key whose value is wrong.
func (t TLSFiles) Load() (pair *tls.Certificate, key string, err error) {
	certificates, err := readPEM(t.CertFile)
	if err != nil {
		return nil, "certFile", err
	}
	keys, err := readPEM(t.KeyFile)
	switch {
	case err != nil:
		return nil, "keyFile", err
	case len(certificates.Certificates) == 0:
		return nil, "certFile", fmt.Errorf("%s: holds no certificate", t.CertFile)
	case len(keys.Keys) == 0:
		return nil, "keyFile", fmt.Errorf("%s: holds no private key", t.KeyFile)
	}
	both := secretfile.Bundle{Certificates: certificates.Certificates, Keys: keys.Keys}
	found, err := both.Pair(time.Now())
	if err != nil {
		return nil, "keyFile", fmt.Errorf("%s: %w of certFile", t.KeyFile, err)
	}
	loaded := &tls.Certificate{PrivateKey: found.Key, Leaf: found.Leaf}
	for _, c := range found.Chain {
		loaded.Certificate = append(loaded.Certificate, c.Raw)
	}
	return loaded, "", nil
}

// readPEM reads a file of certificates or keys. The error names it.
func readPEM(path string) (secretfile.Bundle, error) {
	data, err := secretfile.Read(path)
	if err != nil {
		return secretfile.Bundle{}, err
	}
	bundle, err := secretfile.ParsePEM(data)
	if err != nil {
		return secretfile.Bundle{}, fmt.Errorf("%s: %w", path, err)
	}
	return bundle, nil
}

// Certificate is the pair of files in use: new connections get the newest valid one.
type Certificate struct {
	files   TLSFiles
	log     *slog.Logger
	current atomic.Pointer[tls.Certificate]
	problem string // of the last reading, "" for none
}

// LoadCertificate reads the files. Its error names the key of the configuration.
func LoadCertificate(files TLSFiles, log *slog.Logger) (*Certificate, error) {
	pair, key, err := files.Load()
	if err != nil {
		return nil, fmt.Errorf("server.tls.%s: %w", key, err)
	}
	c := &Certificate{files: files, log: log}
	c.use(pair)
	return c, nil
}

func (c *Certificate) use(pair *tls.Certificate) {
	c.current.Store(pair)
	c.log.Info("a TLS certificate is in use", "expires", pair.Leaf.NotAfter)
}

// Config is for a listener. HTTP/2 is preferred (RFC 9113, section 3.2).
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	}
}

// Run reads the files again and again until ctx ends. Polling works for the symbolic
// links that Kubernetes swaps, and for every file system.
func (c *Certificate) Run(ctx context.Context) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.reload()
		}
	}
}

// reload uses the pair in the files if it is a new one. A mistake in it is logged
// once.
func (c *Certificate) reload() {
	pair, key, err := c.files.Load()
	if err != nil {
		if c.problem != err.Error() {
			c.problem = err.Error()
			c.log.Error("the TLS certificate cannot be replaced; the last good one stays in use", "key", "server.tls."+key, "error", err)
		}
		return
	}
	c.problem = ""
	if !slices.EqualFunc(pair.Certificate, c.current.Load().Certificate, bytes.Equal) {
		c.use(pair)
	}
}
