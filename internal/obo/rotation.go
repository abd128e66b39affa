package obo

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/fsnotify/fsnotify"
)

const (
	// pollInterval is how often files are read where no event tells of a change,
	// as on network file systems. They are small, and seldom on a disk.
	pollInterval = 5 * time.Second

	// settleTime lets whoever replaces a file finish, before it is read.
	settleTime = 200 * time.Millisecond

	// remoteInterval is how often vaults and Azure hosts are asked again.
	remoteInterval = time.Hour

	// refusalFloor is the least time between two reloads that refusals bring
	// about: a wrong credential must not make every request read it again.
	refusalFloor = 10 * time.Second

	// expiryNotice is how long before a certificate's end it is announced, every
	// expiryInterval.
	expiryNotice   = 30 * 24 * time.Hour
	expiryInterval = 24 * time.Hour
)

// identity is the credential in use and the MSAL client that holds it. It never
// changes: exchanges that run keep the one they began with.
type identity struct {
	*proof
	source *source
	msal   *msalClient
}

// CredentialExpiry returns when the certificate in use expires, and whether
// there is one.
func (c *Client) CredentialExpiry() (time.Time, bool) {
	expires := c.current.Load().expires
	return expires, !expires.IsZero()
}

// Run keeps the credential up to date until ctx ends.
func (c *Client) Run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { c.followFiles(ctx) })
	remote, daily := time.NewTicker(remoteInterval), time.NewTicker(expiryInterval)
	defer remote.Stop()
	defer daily.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-remote.C:
			c.refresh(ctx, func(s *source) bool { return s.remote() })
		case <-daily.C:
			c.announceExpiry()
		}
	}
}

// followFiles reads the files again when they may have changed, until ctx ends.
func (c *Client) followFiles(ctx context.Context) {
	isFile := func(s *source) bool { return s.path() != "" }
	if !slices.ContainsFunc(c.sources, isFile) {
		return
	}
	var events chan fsnotify.Event
	var lost chan error // events that did not come
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		c.config.Log.Warn("the files of clientCredentials cannot be watched, and are only read now and then", "interval", pollInterval, "error", err)
	} else {
		defer watcher.Close()
		events, lost = watcher.Events, watcher.Errors
		c.watch(watcher)
	}
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	settled := time.NewTimer(0) // what changed before the watch began counts too
	defer settled.Stop()
	waiting := true // for settled
	settle := func() {
		if !waiting {
			waiting = true
			settled.Reset(settleTime)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			settle()
		case <-lost:
			settle()
		case <-settled.C:
			waiting = false
			c.refresh(ctx, isFile)
		case <-poll.C:
			if watcher != nil {
				c.watch(watcher) // a folder may be new, or another one of the same name
			}
			c.refresh(ctx, isFile)
		}
	}
}

// watch watches the folders of the files, not the files: Kubernetes replaces a
// mounted secret by a symbolic link beside it.
func (c *Client) watch(watcher *fsnotify.Watcher) {
	for _, s := range c.sources {
		if path := s.path(); path != "" {
			_ = watcher.Add(filepath.Dir(path)) // until it is there, the file is read every pollInterval
		}
	}
}

// refresh is reload for Run, which can only tell the log.
func (c *Client) refresh(ctx context.Context, read func(*source) bool) {
	if err := c.reload(ctx, read); err != nil && ctx.Err() == nil {
		c.config.Log.Error("the client credential cannot be replaced", "error", err)
	}
}

// reload reads the sources that read picks, in order, and uses the first that
// holds a credential. The error, which says why none does, leaves the one in
// use as it is.
func (c *Client) reload(ctx context.Context, read func(*source) bool) error {
	select {
	case c.reloading <- struct{}{}:
		defer func() { <-c.reloading }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return c.reloadLocked(ctx, read)
}

// reloadLocked is reload for who has put one into c.reloading.
func (c *Client) reloadLocked(ctx context.Context, read func(*source) bool) error {
	var problems []error
	var changed []*source // whose problem is not what it was
	for _, s := range c.sources {
		if read(s) {
			before := s.problem
			s.load(ctx)
			if (before == nil) != (s.problem == nil) || before != nil && before.Error() != s.problem.Error() {
				changed = append(changed, s)
			}
		}
		if s.held != nil {
			c.logProblems(changed)
			return c.use(s)
		}
		problems = append(problems, s.problem)
	}
	return errors.Join(problems...)
}

// logProblems tells what has changed about loading, once. A start at which
// nothing loads is not its business: that is an error.
func (c *Client) logProblems(changed []*source) {
	for _, s := range changed {
		switch {
		case s.problem == nil:
			c.config.Log.Info("a client credential loads again", "credential", s.key)
		case s.held != nil:
			c.config.Log.Warn("a client credential does not load; the last good one stays in use", "credential", s.key, "error", s.problem)
		default:
			c.config.Log.Warn("a client credential does not load; the next one is used", "credential", s.key, "error", s.problem)
		}
	}
}

// use makes what s holds the credential of all exchanges that begin from now on.
func (c *Client) use(s *source) error {
	if old := c.current.Load(); old != nil && old.proof == s.held {
		return nil
	}
	credential := s.held.credential
	msal, err := newMSALClient(func() (confidential.Client, error) { return c.config.newMSAL(credential) })
	if err != nil {
		return err
	}
	c.current.Store(&identity{s.held, s, msal})
	c.config.Log.Info("a client credential is in use", "credential", s.key, "sourceType", s.SourceType)
	c.announceExpiry()
	return nil
}

// replacement returns the credential to use where the provider has refused one,
// or nil if there is no other.
func (c *Client) replacement(ctx context.Context, refused *identity) *identity {
	select {
	case c.reloading <- struct{}{}:
		defer func() { <-c.reloading }()
	case <-ctx.Done():
		return nil
	}
	if now := time.Now(); c.refused.IsZero() || now.Sub(c.refused) >= refusalFloor {
		c.refused = now
		// A source that has never answered would use up the exchange's time.
		if err := c.reloadLocked(ctx, func(s *source) bool { return !s.remote() || s.held != nil }); err != nil {
			c.config.Log.Error("the client credential cannot be replaced", "error", err)
		}
	}
	if current := c.current.Load(); current != refused {
		return current
	}
	return nil
}

// announceExpiry warns of a certificate that ends soon.
func (c *Client) announceExpiry() {
	expires, ok := c.CredentialExpiry()
	left := time.Until(expires)
	switch {
	case !ok || left > expiryNotice:
	case left <= 0:
		c.config.Log.Error("the client certificate has expired", "credential", c.current.Load().source.key, "expires", expires)
	default:
		c.config.Log.Warn("the client certificate expires soon", "credential", c.current.Load().source.key, "expires", expires)
	}
}
