package mockidp

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	stateFile    = "mock-state.json"
	lockFile     = "mock-state.lock"
	stateVersion = 1
	// maxState is far above what maxKeys keys and maxConsents consents need.
	maxState = 16 << 20
)

// store keeps in a directory what clients of a platform rely on beyond its process. Its file
// holds private keys.
type store struct {
	mu   sync.Mutex // held while the file is written
	path string
	lock io.Closer
}

// savedState is the content of the file.
type savedState struct {
	Version    int        `json:"version"`
	CA         savedPair  `json:"ca"`
	Signing    savedPair  `json:"signing"`
	Next       savedPairs `json:"next"` // do not sign yet
	Old        savedPairs `json:"old"`  // have signed
	SealingKey []byte     `json:"sealingKey"`

	Consents map[string][]string `json:"consents,omitempty"` // without these, refresh tokens would get nothing
}

// savedPair is a certificate in DER and its key in PKCS #8.
type savedPair struct {
	Certificate []byte `json:"certificate"`
	Key         []byte `json:"key"`
}

type savedPairs []savedPair

// Open is New with a directory of files, which keeps the CA, the signing keys, the key of
// refresh tokens, and users' consents: for clients that have tokens, a platform that opens it
// later is the same. Only one at a time can have it open, until Close.
func Open(dir Directory, stateDir string) (*Server, error) {
	if _, err := newDirectory(dir); err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	kept, err := openStore(stateDir)
	if err != nil {
		return nil, err
	}
	s, err := kept.server(dir)
	if err != nil {
		return nil, errors.Join(err, kept.lock.Close())
	}
	s.store = kept
	if err := s.save(); err != nil {
		return nil, errors.Join(err, kept.lock.Close())
	}
	return s, nil
}

func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := lockPath(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, err
	}
	return &store{path: filepath.Join(dir, stateFile), lock: lock}, nil
}

// server returns the platform of the file, or a new one if there is no file.
func (k *store) server(dir Directory) (*Server, error) {
	saved, err := k.read()
	if errors.Is(err, fs.ErrNotExist) {
		return New(dir)
	}
	if _, unreadable := errors.AsType[*fs.PathError](err); unreadable {
		return nil, err
	}
	var s *Server
	if err == nil {
		s, err = saved.server(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w; remove it to begin anew, with another CA", k.path, err)
	}
	return s, nil
}

func (k *store) read() (savedState, error) {
	file, err := os.Open(k.path)
	if err != nil {
		return savedState{}, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxState+1))
	if err != nil {
		return savedState{}, err
	}
	var saved savedState
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&saved); err != nil || len(text) > maxState || decoder.More() || saved.Version != stateVersion {
		return savedState{}, errors.New("is not what this version of middletier mock writes")
	}
	return saved, nil
}

// write replaces the file as a whole: a process that ends meanwhile leaves the old one.
func (k *store) write(saved savedState) error {
	text, err := json.MarshalIndent(saved, "", "  ")
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(k.path), "."+stateFile+"-*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // which is its name only if something failed
	_, err = file.Write(append(text, '\n'))
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), k.path)
}

// save writes what the store keeps, if there is one.
func (s *Server) save() error {
	if s.store == nil {
		return nil
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	saved := savedState{Version: stateVersion, SealingKey: s.sealer.Load().key, Consents: s.consents.snapshot()}
	var err error
	if saved.CA, err = newSavedPair(s.authority.certificate.Raw, s.authority.key); err != nil {
		return err
	}
	signing, next, old := s.keys.snapshot()
	if saved.Signing, err = newSavedPair(signing.certificate, signing.private); err != nil {
		return err
	}
	if saved.Next, err = newSavedPairs(next); err != nil {
		return err
	}
	if saved.Old, err = newSavedPairs(old); err != nil {
		return err
	}
	if err := s.store.write(saved); err != nil {
		return fmt.Errorf("save the state: %w", err)
	}
	return nil
}

func newSavedPair(certificate []byte, key crypto.Signer) (savedPair, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return savedPair{certificate, der}, err
}

func newSavedPairs(keys []*signingKey) (savedPairs, error) {
	pairs := savedPairs{}
	for _, key := range keys {
		pair, err := newSavedPair(key.certificate, key.private)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, pair)
	}
	return pairs, nil
}

// server returns a platform with what was saved.
func (saved savedState) server(dir Directory) (*Server, error) {
	authority, err := saved.CA.authority()
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	if time.Now().After(authority.certificate.NotAfter) {
		return nil, fmt.Errorf("the CA's certificate expired on %s", authority.certificate.NotAfter.Format(time.DateOnly))
	}
	sealer, err := newSealer(saved.SealingKey)
	if err != nil || len(saved.SealingKey) != sealingKeySize {
		return nil, errors.New("sealingKey: is no key")
	}
	keys := &keyring{}
	if keys.signing, err = saved.Signing.signingKey(); err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	if keys.next, err = saved.Next.signingKeys(); err != nil {
		return nil, fmt.Errorf("next: %w", err)
	}
	if keys.old, err = saved.Old.signingKeys(); err != nil {
		return nil, fmt.Errorf("old: %w", err)
	}
	s, err := newServer(dir, authority, sealer, keys)
	if err != nil {
		return nil, err
	}
	s.consents.scopes, s.restored = saved.Consents, time.Now()
	return s, nil
}

// parse returns the pair, whose halves must belong to each other.
func (p savedPair) parse() (*x509.Certificate, any, error) {
	certificate, err := x509.ParseCertificate(p.Certificate)
	if err != nil {
		return nil, nil, errors.New("the certificate cannot be read")
	}
	key, err := x509.ParsePKCS8PrivateKey(p.Key)
	if err != nil {
		return nil, nil, errors.New("the key cannot be read")
	}
	signer, _ := key.(crypto.Signer)
	public, ok := certificate.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if signer == nil || !ok || !public.Equal(signer.Public()) {
		return nil, nil, errors.New("the key is not that of the certificate")
	}
	return certificate, key, nil
}

func (p savedPair) authority() (*authority, error) {
	certificate, key, err := p.parse()
	if err != nil {
		return nil, err
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok || !certificate.IsCA {
		return nil, errors.New("is not the pair of a CA")
	}
	return &authority{private, certificate}, nil
}

func (p savedPair) signingKey() (*signingKey, error) {
	certificate, key, err := p.parse()
	if err != nil {
		return nil, err
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok || private.N.BitLen() < minKeyBits {
		return nil, fmt.Errorf("is not an RSA key of %d bits or more", minKeyBits)
	}
	return &signingKey{thumbprint(certificate.Raw), private, certificate.Raw}, nil
}

func (pairs savedPairs) signingKeys() (keys []*signingKey, err error) {
	for _, pair := range pairs {
		key, err := pair.signingKey()
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}
