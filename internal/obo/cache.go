package obo

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/allegro/bigcache/v3"
	"golang.org/x/sync/singleflight"
)

// CacheConfig says how tokens are kept. The keys in its errors are those of the
// tokenCache section.
type CacheConfig struct {
	// MaxSize is the memory for tokens, in bytes. The oldest leave first.
	MaxSize int64
	// ExpiryBuffer is how long before its expiry a token is no longer used, so
	// that it is still good when the downstream API looks at it. It is half the
	// token's life where that is shorter.
	ExpiryBuffer time.Duration
}

const (
	mebibyte = 1 << 20

	// minCacheSize gives every shard room for tokens of the largest size that
	// validate accepts.
	minCacheSize = 8 * mebibyte
)

// Check reports every mistake in c by its key.
func (c CacheConfig) Check(report func(key, problem string)) {
	if c.MaxSize < minCacheSize {
		report("maxSize", "must be 8MiB at least")
	}
	if c.ExpiryBuffer < 0 {
		report("expiryBuffer", "must not be negative")
	}
}

// Cache remembers tokens, so that a returning caller costs no exchange, and lets
// one exchange serve all who wait for the same token.
type Cache struct {
	identity string // authority, tenant and client: part of every key
	buffer   time.Duration
	client   *Client
	tokens   *bigcache.BigCache
	flight   singleflight.Group
}

// NewCache returns a Cache in front of client. Both configurations' Check must
// have passed.
func NewCache(c CacheConfig, client *Client) (*Cache, error) {
	tokens, err := bigcache.New(context.Background(), bigcache.Config{
		Shards: 16,
		// Every entry carries its own end; BigCache's single one is beyond the
		// longest life of a token (28 h, under continuous access evaluation).
		LifeWindow:  48 * time.Hour,
		CleanWindow: 10 * time.Minute,
		// The two sizes decide only how much is allocated at once.
		MaxEntriesInWindow: 1024,
		MaxEntrySize:       2048,
		HardMaxCacheSize:   int(c.MaxSize / mebibyte),
		Hasher:             keyHash{},
	})
	if err != nil {
		return nil, fmt.Errorf("tokenCache: %w", err)
	}
	return &Cache{
		identity: client.config.authority(client.config.TenantID) + " " + client.config.ClientID,
		buffer:   c.ExpiryBuffer, client: client, tokens: tokens,
	}, nil
}

// Close ends the cache's own goroutine.
func (c *Cache) Close() error { return c.tokens.Close() }

// OnBehalfOf returns a token for scopes on behalf of a's user. A token that the
// downstream API rejected is not given again: pass it as rejected, else "". The
// error is an *Error, or ctx's.
func (c *Cache) OnBehalfOf(ctx context.Context, a Assertion, scopes []string, rejected string) (Token, error) {
	key := newKey("on_behalf_of", a.Digest[:], c.identity, a.TenantID, scopes)
	return c.token(ctx, key, rejected, a.Expires, func(ctx context.Context) (grant, error) {
		return c.client.OnBehalfOf(ctx, a, scopes)
	})
}

// ForApp returns a token for scope, RESOURCE/.default, as ourselves. rejected
// and the error are as OnBehalfOf's.
func (c *Cache) ForApp(ctx context.Context, scope string, rejected string) (Token, error) {
	key := newKey("client_credentials", nil, c.identity, "", []string{scope})
	return c.token(ctx, key, rejected, time.Time{}, func(ctx context.Context) (grant, error) {
		return c.client.ForApp(ctx, scope)
	})
}

func (c *Cache) token(ctx context.Context, key cacheKey, rejected string, end time.Time, exchange func(context.Context) (grant, error)) (Token, error) {
	if value, ok := c.get(key); ok && value != rejected {
		return Token{value, Memory}, nil
	}
	// The exchange serves every waiting request, so it must outlive the one that
	// happened to start it. It is timed by itself.
	done := c.flight.DoChan(string(key[:]), func() (value any, err error) {
		// singleflight ends the process for a panic in here.
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("panic in a token exchange: %v", r)
			}
		}()
		if value, ok := c.get(key); ok && value != rejected { // of a flight that has just ended
			return Token{value, Memory}, nil
		}
		_ = c.tokens.Delete(string(key[:])) // the rejected one, or nothing
		g, err := exchange(context.WithoutCancel(ctx))
		if err != nil {
			return nil, err
		}
		c.put(key, g, end, time.Now())
		return Token{g.token, IdentityProvider}, nil
	})
	select {
	case <-ctx.Done():
		return Token{}, ctx.Err()
	case r := <-done:
		if r.Err != nil {
			return Token{}, r.Err
		}
		return r.Val.(Token), nil
	}
}

// get returns the token under key that may be used now.
func (c *Cache) get(key cacheKey) (string, bool) {
	entry, err := c.tokens.Get(string(key[:]))
	if err != nil || len(entry) < 8 {
		return "", false
	}
	until := time.UnixMilli(int64(binary.BigEndian.Uint64(entry)))
	if !time.Now().Before(until) {
		return "", false
	}
	return string(entry[8:]), true
}

// put remembers a token until its buffer, and not past end where there is one.
// What does not fit is not remembered.
func (c *Cache) put(key cacheKey, g grant, end, now time.Time) {
	until := g.expires.Add(-min(c.buffer, g.expires.Sub(now)/2))
	if !end.IsZero() && end.Before(until) {
		until = end
	}
	entry := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(g.token)), uint64(until.UnixMilli()))
	if err := c.tokens.Set(string(key[:]), append(entry, g.token...)); err != nil {
		_ = c.tokens.Delete(string(key[:])) // an older one may be there
	}
}

// cacheKey is the SHA-256 over everything that changes the answer.
type cacheKey [sha256.Size]byte

// newKey hashes the parts, each behind its length, so that no two lists of parts
// give the same bytes.
func newKey(flow string, assertion []byte, identity, tenant string, scopes []string) cacheKey {
	var buf [512]byte
	b := buf[:0]
	part := func(s string) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	part(flow)
	part(string(assertion))
	part(identity)
	part(tenant)
	for _, s := range scopes {
		part(s)
	}
	return sha256.Sum256(b)
}

// keyHash is BigCache's 64-bit hash: the keys are hashes already.
type keyHash struct{}

func (keyHash) Sum64(key string) uint64 { return binary.BigEndian.Uint64([]byte(key[:8])) }
