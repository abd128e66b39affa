package credential

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// readTimeout bounds one reading of a credential over the network.
const readTimeout = 10 * time.Second

// credentialSource is an entry of clientCredentials, and what it gave last.
type credentialSource struct {
	loader
	kind       kind
	sourceType string
	key        string // of the entry, such as clientCredentials[0]

	held    *Active // the last good one; nil: it has never loaded
	problem error   // why it did not load the last time
}

// newSource returns what the entry at i is loaded from.
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

// CheckLoading reports by key why no credential can be read, as far as that can
// be told without asking another machine. Credentials whose form Check refuses
// are not looked at.
func (c StoreConfig) CheckLoading(report func(key, problem string)) {
	var failed []*credentialSource
	for i, entry := range c.Entries {
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
func (a *Active) String() string { return a.key + " " + a.sourceType }

// GoString is String, for %#v.
func (a *Active) GoString() string { return a.String() }

// String keeps the secrets in it from being printed.
func (s *credentialSource) String() string { return s.key + " " + s.sourceType }

// load reads s again. What it holds is only ever replaced by a good credential:
// a file may be gone, empty or cut off while it is being replaced.
func (s *credentialSource) load(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	data, err := s.read(ctx)
	if err == nil {
		err = s.accept(data)
	}
	s.problem = nil
	if err != nil {
		s.problem = fmt.Errorf("%s.%s: %w", s.key, s.origin(), err)
	}
}

// accept makes a credential of data, unless s holds that one already.
func (s *credentialSource) accept(data []byte) error {
	digest := sha256.Sum256(data)
	if s.held != nil && s.held.digest == digest {
		return nil
	}
	credential, expires, err := s.parse(data)
	if err != nil {
		return err
	}
	s.held = &Active{
		Credential: credential, Federated: s.kind.federated,
		key: s.key, sourceType: s.sourceType, digest: digest, expires: expires,
	}
	return nil
}
