// Package credential proves to the identity provider who we are: it loads credentials,
// follows what they are loaded from, and says which one is in use.
//
// Each entry of clientCredentials is a source. It reads what the credential is made of and
// keeps the last good one. The first source that has ever loaded is in use: Store hands
// its credential to StoreConfig.Use, which makes the client that holds it. Sources are read
// again by the clock (files every second, vaults and Azure hosts every hour) and when the
// provider refuses the credential, by ReloadAfterRefusal.
//
// Store.reloading is held while sources are read, also across the network: it is a channel,
// so that a caller that waits for it can give up. Store.Run is one goroutine and starts none.
package credential

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

const (
	// pollInterval is how often files are read. They are small, and rarely on a disk. Events
	// of the file system are faster, but network file systems have none, so polling would be
	// needed too.
	pollInterval = time.Second

	// settleTime is how long a file must be unchanged before it is read: it may still be
	// written.
	settleTime = 200 * time.Millisecond

	// remoteInterval is how often vaults and Azure hosts are asked again.
	remoteInterval = time.Hour

	// refusalFloor is the shortest time between two reloads after refusals: a wrong
	// credential must not be read again for every request.
	refusalFloor = 10 * time.Second

	// expiryNotice is how long before a certificate expires the log warns of it, once every
	// expiryInterval.
	expiryNotice   = 30 * 24 * time.Hour
	expiryInterval = 24 * time.Hour
)

// StoreConfig says which credentials there are, and what it takes to load them.
type StoreConfig struct {
	// Entries are in the order of preference.
	Entries []Config
	// Instance is the base URL of the cloud.
	Instance string
	// SendX5C: client assertions carry the certificate's chain.
	SendX5C bool
	// Client reaches vaults.
	Client *http.Client
	// VaultCredential opens Azure Key Vault; nil: Azure's default chain of
	// credentials, which finds workload identity, managed identity and the like.
	VaultCredential azcore.TokenCredential
	// Log gets a line for each change.
	Log *slog.Logger
	// Use is called with each credential that comes into use. If it fails, the previous
	// credential stays in use.
	Use func(*Loaded) error
}

// Store loads credentials, follows what they are loaded from, and says which one is in use.
type Store struct {
	config    StoreConfig
	current   atomic.Pointer[Loaded]
	sources   []*credentialSource // in the order of preference
	reloading chan struct{}       // full while the sources are read; guards them and refused
	refused   time.Time           // when a refusal last caused a reload
}

// NewStore returns a Store with a credential in use. It fails if none can be loaded. Until ctx
// ends it may ask a vault or the Azure host.
func NewStore(ctx context.Context, c StoreConfig) (*Store, error) {
	s := &Store{config: c, reloading: make(chan struct{}, 1)}
	for i, entry := range c.Entries {
		if !entry.Skip {
			s.sources = append(s.sources, c.newSource(i))
		}
	}
	if err := s.reload(ctx, func(*credentialSource) bool { return true }); err != nil {
		return nil, err
	}
	return s, nil
}

// Expiry returns when the certificate in use expires, and whether there is one.
func (s *Store) Expiry() (time.Time, bool) {
	expires := s.current.Load().expires
	return expires, !expires.IsZero()
}

// Run keeps the credential in use up to date until ctx ends.
func (s *Store) Run(ctx context.Context) {
	poll, remote, daily := time.NewTicker(pollInterval), time.NewTicker(remoteInterval), time.NewTicker(expiryInterval)
	defer poll.Stop()
	defer remote.Stop()
	defer daily.Stop()
	if !slices.ContainsFunc(s.sources, func(source *credentialSource) bool { return source.paths() != nil }) {
		poll.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
			s.refresh(ctx, (*credentialSource).isSettledFile)
		case <-remote.C:
			s.refresh(ctx, func(source *credentialSource) bool { return source.kind.remote })
		case <-daily.C:
			s.announceExpiry()
		}
	}
}

// isSettledFile reports whether s reads files that nobody is writing now.
func (s *credentialSource) isSettledFile() bool {
	for _, path := range s.paths() {
		info, err := os.Stat(path)
		if err != nil {
			continue // reading it says why
		}
		if !isSettled(info.ModTime(), time.Now()) {
			return false
		}
	}
	return s.paths() != nil
}

// isSettled reports whether a file that was written then is complete now. Another machine's
// clock may be ahead of ours.
func isSettled(then, now time.Time) bool { return then.After(now) || now.Sub(then) >= settleTime }

// refresh is reload for Run, which can only log the error.
func (s *Store) refresh(ctx context.Context, read func(*credentialSource) bool) {
	if err := s.reload(ctx, read); err != nil && ctx.Err() == nil {
		s.config.Log.Error("the client credential cannot be replaced", "error", err)
	}
}

// reload reads the sources that read selects, in order, and uses the first that has a
// credential. If none has one, it returns why, and the credential in use does not change.
func (s *Store) reload(ctx context.Context, read func(*credentialSource) bool) error {
	select {
	case s.reloading <- struct{}{}:
		defer func() { <-s.reloading }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.reloadLocked(ctx, read)
}

// reloadLocked is reload for a caller that has put one into s.reloading.
func (s *Store) reloadLocked(ctx context.Context, read func(*credentialSource) bool) error {
	var problems []error
	var changed []*credentialSource // whose problem is not what it was
	for _, source := range s.sources {
		if read(source) {
			before := source.problem
			source.load(ctx)
			if (before == nil) != (source.problem == nil) || before != nil && before.Error() != source.problem.Error() {
				changed = append(changed, source)
			}
		}
		if source.held != nil {
			s.logProblems(changed)
			return s.use(source.held)
		}
		problems = append(problems, source.problem)
	}
	return errors.Join(problems...)
}

// logProblems logs each source whose problem has changed. A start at which nothing loads is
// not logged here: NewStore returns an error.
func (s *Store) logProblems(changed []*credentialSource) {
	for _, source := range changed {
		switch {
		case source.problem == nil:
			s.config.Log.Info("a client credential loads again", "credential", source.key)
		case source.held != nil:
			s.config.Log.Warn("a client credential does not load; the last good one stays in use", "credential", source.key, "error", source.problem)
		default:
			s.config.Log.Warn("a client credential does not load; the next one is used", "credential", source.key, "error", source.problem)
		}
	}
}

// use takes a credential into use.
func (s *Store) use(loaded *Loaded) error {
	if s.current.Load() == loaded {
		return nil
	}
	if err := s.config.Use(loaded); err != nil {
		return err
	}
	s.current.Store(loaded)
	s.config.Log.Info("a client credential is in use", "credential", loaded.key, "sourceType", loaded.sourceType)
	s.announceExpiry()
	return nil
}

// ReloadAfterRefusal reads the sources again after the provider has refused the credential in
// use, at most once in refusalFloor.
func (s *Store) ReloadAfterRefusal(ctx context.Context) {
	select {
	case s.reloading <- struct{}{}:
		defer func() { <-s.reloading }()
	case <-ctx.Done():
		return
	}
	now := time.Now()
	if !s.refused.IsZero() && now.Sub(s.refused) < refusalFloor {
		return
	}
	// A remote source that has never answered would use up the exchange's time.
	err := s.reloadLocked(ctx, func(source *credentialSource) bool { return !source.kind.remote || source.held != nil })
	if errors.Is(ctx.Err(), context.Canceled) {
		return // a reload that its caller left unfinished must not keep the next one waiting
	}
	s.refused = now
	if err != nil {
		s.config.Log.Error("the client credential cannot be replaced", "error", err)
	}
}

// announceExpiry logs a certificate that expires soon.
func (s *Store) announceExpiry() {
	expires, ok := s.Expiry()
	left := time.Until(expires)
	switch {
	case !ok || left > expiryNotice:
	case left <= 0:
		s.config.Log.Error("the client certificate has expired", "credential", s.current.Load().key, "expires", expires)
	default:
		s.config.Log.Warn("the client certificate expires soon", "credential", s.current.Load().key, "expires", expires)
	}
}
