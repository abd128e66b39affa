package credential

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// readTimeout bounds one reading of a credential over the network.
const readTimeout = 10 * time.Second

// credentialSource is an entry of clientCredentials, and its last credential.
type credentialSource struct {
	loader
	kind       kind
	sourceType string
	key        string // of the entry, such as clientCredentials[0]

	held    *Loaded // the last good one; nil: it has never loaded
	problem error   // why the last attempt to load failed
	cause   string  // the key that problem is about
}

// newSource returns the source of the entry at i.
func (c StoreConfig) newSource(i int) *credentialSource {
	entry := c.Entries[i]
	s := &credentialSource{
		loader: unknown{content{key: "sourceType"}}, sourceType: entry.SourceType, key: fmt.Sprintf("clientCredentials[%d]", i),
	}
	if kind, known := kinds[entry.SourceType]; known {
		s.kind, s.loader = kind, kind.open(c, entry)
	}
	return s
}

// CheckLoading reports by key why no credential can be loaded, without asking another
// machine. It skips entries that Check refuses.
func (c StoreConfig) CheckLoading(report func(key, problem string)) {
	var failed []*credentialSource
	for i, entry := range c.Entries {
		if entry.Skip {
			continue
		}
		wellFormed := true
		entry.Check(func(string, string) { wellFormed = false })
		if !wellFormed || kinds[entry.SourceType].remote {
			return
		}
		s := c.newSource(i)
		if s.load(context.Background()); s.problem == nil {
			return
		}
		failed = append(failed, s)
	}
	for _, s := range failed {
		report(s.key+"."+s.cause, strings.TrimPrefix(s.problem.Error(), s.key+"."+s.cause+": "))
	}
}

// Loaded is a credential that was loaded. It never changes.
type Loaded struct {
	Credential confidential.Credential
	// Federated: it is a token of another platform, which the provider matches against
	// the application's federated credentials.
	Federated bool

	key        string // of its entry
	sourceType string
	digest     [32]byte  // of the bytes that it was made of
	expires    time.Time // the end of its certificate; zero: it has none
}

// String keeps the secrets in it from being printed.
func (a *Loaded) String() string { return a.key + " " + a.sourceType }

// GoString is String, for %#v.
func (a *Loaded) GoString() string { return a.String() }

// String keeps the secrets in it from being printed.
func (s *credentialSource) String() string { return s.key + " " + s.sourceType }

// load reads s again. Only a good credential replaces the one that s holds: a file may be
// missing, empty or cut off while somebody replaces it.
func (s *credentialSource) load(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	data, err := s.read(ctx)
	if err == nil {
		err = s.accept(data)
	}
	s.problem = nil
	if err != nil {
		s.cause = s.origin()
		var own interface{ origin() string }
		if errors.As(err, &own) {
			s.cause = own.origin()
		}
		s.problem = fmt.Errorf("%s.%s: %w", s.key, s.cause, err)
	}
}

// digestOf hashes each part, so that the border between two parts counts.
func digestOf(data [][]byte) [32]byte {
	var digests []byte
	for _, part := range data {
		digest := sha256.Sum256(part)
		digests = append(digests, digest[:]...)
	}
	return sha256.Sum256(digests)
}

// accept makes a credential of data, unless s holds that one already.
func (s *credentialSource) accept(data [][]byte) error {
	digest := digestOf(data)
	if s.held != nil && s.held.digest == digest {
		return nil
	}
	credential, expires, err := s.parse(data)
	if err != nil {
		return err
	}
	s.held = &Loaded{
		Credential: credential, Federated: s.kind.federated,
		key: s.key, sourceType: s.sourceType, digest: digest, expires: expires,
	}
	return nil
}
