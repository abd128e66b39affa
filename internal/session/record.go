package session

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"middletier/internal/problem"
	"middletier/internal/records"
	"middletier/internal/validate"
)

// stored is what the record of a session holds. Its times are Unix times in milliseconds.
type stored struct {
	SID      string           `json:"sid"` // the provider's, else one of ours
	Tenant   string           `json:"tenant"`
	ObjectID string           `json:"oid"` // of the user; their subject where there is none
	Claims   []validate.Claim `json:"claims"`

	LoginHint string `json:"loginHint,omitempty"` // names the account to the provider
	IDToken   string `json:"idToken,omitempty"`   // does so without a LoginHint

	AccessToken  string   `json:"accessToken"`
	TokenIssued  int64    `json:"tokenIssued"`
	TokenExpires int64    `json:"tokenExpires"`
	RefreshToken string   `json:"refreshToken,omitempty"`
	Scopes       []string `json:"scopes"`

	Created  int64 `json:"created"`
	LastSeen int64 `json:"lastSeen"`
}

// held is a session and its record.
type held struct {
	stored
	key    records.Key
	record records.Record
}

func (s stored) encode() []byte {
	encoded, err := json.Marshal(s)
	if err != nil { // of strings and numbers, and of JSON that was checked
		panic(err)
	}
	return encoded
}

// find returns the session of r. The error is problem.ErrNoSession or records.ErrUnavailable.
func (m *Manager) find(r *http.Request) (held, error) {
	key, ok := m.keyOf(r)
	if !ok {
		return held{}, problem.ErrNoSession
	}
	return m.get(r.Context(), key)
}

// get returns the session under key; the error is as find's.
func (m *Manager) get(ctx context.Context, key records.Key) (held, error) {
	record, err := m.config.Records.Get(ctx, key)
	if errors.Is(err, records.ErrUnknown) {
		return held{}, problem.ErrNoSession
	}
	if err != nil {
		return held{}, err
	}
	h := held{key: key, record: record}
	if json.Unmarshal(record.Value, &h.stored) != nil || h.left(m.config, time.Now()) <= 0 {
		return held{}, problem.ErrNoSession
	}
	return h, nil
}

// left is how long the session lasts without a further request.
func (s stored) left(c Config, now time.Time) time.Duration {
	end := time.UnixMilli(s.Created).Add(c.Lifetime)
	if idle := time.UnixMilli(s.LastSeen).Add(c.IdleTimeout); idle.Before(end) {
		end = idle
	}
	return end.Sub(now)
}

// freshness is how long an access token must be good for, unless half its life is shorter: what
// it is traded for does not outlive it.
const freshness = 5 * time.Minute

// isFresh reports whether the access token need not be replaced.
func (s stored) isFresh(now time.Time) bool {
	life := time.Duration(s.TokenExpires-s.TokenIssued) * time.Millisecond
	return s.isUsable(now.Add(min(freshness, life/2)))
}

// isUsable reports whether the access token has not expired.
func (s stored) isUsable(now time.Time) bool { return now.Before(time.UnixMilli(s.TokenExpires)) }

// write writes h, which is used now, in place of its record.
func (m *Manager) write(ctx context.Context, h held) error {
	now := time.Now()
	h.LastSeen = now.UnixMilli()
	err := m.config.Records.Replace(ctx, h.key, h.record, h.encode(), h.left(m.config, now))
	if errors.Is(err, records.ErrUnknown) {
		return problem.ErrNoSession // it ended meanwhile
	}
	return err
}

// touchWait bounds how long a request waits to say that its session is used: another one says it
// too.
const touchWait = 500 * time.Millisecond

// touchEvery is how long a session is used before that is written again.
func (c Config) touchEvery() time.Duration { return min(time.Minute, c.IdleTimeout/10) }

// touch notes that h is used. Where that fails, the next request does.
func (m *Manager) touch(ctx context.Context, h held) {
	if time.Since(time.UnixMilli(h.LastSeen)) < m.config.touchEvery() {
		return
	}
	_, err := m.share(ctx, "touch", h, func(ctx context.Context) (held, error) {
		ctx, cancel := context.WithTimeout(ctx, touchWait)
		defer cancel()
		return m.update(ctx, h, touchWait, func(*held) error { return nil })
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		m.config.Log.Debug("the use of a session is not noted", "error", err)
	}
}

// update reads a session again under its lock, changes it and writes it.
func (m *Manager) update(ctx context.Context, h held, lease time.Duration, change func(*held) error) (held, error) {
	unlock, err := m.config.Records.Lock(ctx, h.key, h.record, lease)
	if err != nil {
		return held{}, err
	}
	defer unlock()
	if h, err = m.get(ctx, h.key); err != nil {
		return held{}, err
	}
	if err := change(&h); err != nil {
		return h, err
	}
	return h, m.write(ctx, h)
}
