package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"middletier/internal/failure"
	"middletier/internal/obo"
	"middletier/internal/problem"
)

const (
	// leaseMargin is how much longer the lock of a refresh lasts than its exchange, for what is
	// read and written.
	leaseMargin = 2 * time.Second

	// refusalMemory is how long a refusal that needs the user is not asked for again, and
	// troublePause how long a provider is left alone that did not say how long.
	refusalMemory = time.Minute
	troublePause  = 5 * time.Second
)

// share runs one flight for all requests of a session that want the same. It outlives the one
// that began it.
func (m *Manager) share(ctx context.Context, what string, h held, run func(ctx context.Context) (held, error)) (held, error) {
	digest := h.key.Digest()
	done := m.flights.DoChan(what+string(digest[:]), func() (result any, err error) {
		err = failure.OfPanic(func() (err error) { // singleflight would end the process
			result, err = run(context.WithoutCancel(ctx))
			return err
		}, func(cause any) error { return fmt.Errorf("panic in a session's %s: %v", what, cause) })
		return result, err
	})
	select {
	case <-ctx.Done():
		return held{}, ctx.Err()
	case got := <-done:
		found, _ := got.Val.(held)
		return found, got.Err
	}
}

// refresh returns h with a fresh access token, or with the old one while the provider has none
// and the old one is good. The error is as Token's.
func (m *Manager) refresh(ctx context.Context, h held) (held, error) {
	return m.share(ctx, "refresh", h, func(ctx context.Context) (held, error) {
		if err := m.pauses.of(h.key.Digest(), time.Now()); err != nil {
			return h.duringOutage(err, time.Now())
		}
		lease := m.config.Provider.Timeout() + leaseMargin
		ctx, cancel := context.WithTimeout(ctx, 2*lease)
		defer cancel()
		renewed, err := m.update(ctx, h, lease, func(current *held) error { return m.renew(ctx, current) })
		switch {
		case err == nil:
			return renewed, nil
		case errors.Is(err, context.DeadlineExceeded): // other replicas had the lock
			err = &obo.Error{Kind: obo.Unavailable, RetryAfter: troublePause, Err: errors.New("too many refreshes of one session are under way")}
		case isUnavailable(err) && renewed.isFresh(time.Now()): // the exchange went well
			m.config.Log.Warn("the new refresh token of a session is not kept", "error", err)
			return renewed, nil
		}
		return h.duringOutage(err, time.Now())
	})
}

// duringOutage returns h where err says that the provider is unavailable, and the access token
// has not expired; else err.
func (h held) duringOutage(err error, now time.Time) (held, error) {
	var refusal *obo.Error
	if errors.As(err, &refusal) && refusal.Kind == obo.Unavailable && h.isUsable(now) {
		return h, nil
	}
	return held{}, err
}

// renew replaces the access token of h, unless another replica has. A refresh token that the
// provider refuses ends the session.
func (m *Manager) renew(ctx context.Context, h *held) error {
	if h.isFresh(time.Now()) {
		return nil
	}
	if h.RefreshToken == "" {
		return m.end(ctx, *h)
	}
	granted, err := m.config.Provider.RedeemRefreshToken(ctx, obo.Renewal{
		RefreshToken: h.RefreshToken, TenantID: h.Tenant, ObjectID: h.ObjectID, Scopes: h.Scopes,
	})
	var refusal *obo.Error
	switch {
	case err == nil:
		h.use(granted, time.Now())
		return nil
	case errors.As(err, &refusal) && refusal.EndsSession():
		m.config.Log.Info("the identity provider ends a session", "error", err)
		return m.end(ctx, *h)
	case refusal != nil:
		m.pauses.add(h.key.Digest(), refusal, time.Now())
	}
	return err
}

// use takes the tokens of an exchange. Without a new refresh token the old one stays in use (RFC
// 6749, section 6).
func (s *stored) use(granted obo.Tokens, now time.Time) {
	s.AccessToken, s.TokenIssued, s.TokenExpires = granted.AccessToken, now.UnixMilli(), granted.Expires.UnixMilli()
	if granted.RefreshToken != "" {
		s.RefreshToken = granted.RefreshToken
	}
}

// end ends a session, and returns what its requests are answered with.
func (m *Manager) end(ctx context.Context, h held) error {
	if err := m.config.Records.Delete(ctx, h.key); err != nil {
		m.config.Log.Warn("a session that has ended is not deleted", "error", err)
	}
	return problem.ErrNoSession
}

// pauses are the refusals of sessions whose refresh token is not redeemed again for a while. The
// zero value is ready for use.
type pauses struct {
	mu  sync.Mutex // guards all
	all map[[32]byte]pause
}

type pause struct {
	until   time.Time
	refusal *obo.Error
}

// maxPauses bounds the sessions with a pause, at about 500 bytes each. Beyond it they are
// forgotten, which costs requests to the provider.
const maxPauses = 1 << 14

func (p *pauses) add(session [32]byte, refusal *obo.Error, now time.Time) {
	length := refusalMemory
	if refusal.Kind == obo.Unavailable {
		length = max(refusal.RetryAfter, troublePause)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil || len(p.all) >= maxPauses {
		p.all = map[[32]byte]pause{}
	}
	p.all[session] = pause{now.Add(length), refusal}
}

// of returns the refusal of a session, with the rest of its RetryAfter; nil: no pause.
func (p *pauses) of(session [32]byte, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	found, ok := p.all[session]
	if !ok {
		return nil
	}
	if !now.Before(found.until) {
		delete(p.all, session)
		return nil
	}
	left := *found.refusal
	if left.RetryAfter > 0 {
		left.RetryAfter = found.until.Sub(now)
	}
	return &left
}
