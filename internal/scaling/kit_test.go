//go:build slow

// Package scaling_test runs many replicas of the token path in virtual time: the cache, its
// locks, the client library of Redis and MSAL Go are the program's own; Redis is one in
// memory, and the identity provider grants what it is asked for. What a user, a replica and
// Redis cost is counted, not timed.
package scaling_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"middletier/internal/credential"
	"middletier/internal/obo"
	"middletier/internal/redistier"
)

const (
	redisRoundTrip = 500 * time.Microsecond // in one region
	exchangeTime   = 80 * time.Millisecond
	tokenSize      = 1500 // bytes, as of a token with a few groups

	// Tokens of Entra are good for a random time between these two.
	shortestToken = 60 * time.Minute
	longestToken  = 90 * time.Minute

	tenant = "11111111-1111-4111-8111-111111111111"
	client = "aaaaaaaa-0000-4000-8000-000000000001"
)

func tokenLife() time.Duration {
	return shortestToken + rand.N(longestToken-shortestToken)
}

// provider grants a token for each assertion, after exchangeTime.
type provider struct {
	exchanges atomic.Int64

	mu        sync.Mutex // guards perSecond
	perSecond map[int64]int
}

func newProvider() *provider { return &provider{perSecond: map[int64]int{}} }

func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	const base = "https://login.example/" + tenant
	body := fmt.Sprintf(`{"issuer":"%s/v2.0","authorization_endpoint":"%s/oauth2/v2.0/authorize","token_endpoint":"%s/oauth2/v2.0/token"}`, base, base, base)
	if r.Method == http.MethodPost {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return nil, err
		}
		n := p.exchanges.Add(1)
		p.mu.Lock()
		p.perSecond[time.Now().Unix()]++
		p.mu.Unlock()
		time.Sleep(exchangeTime)
		token := fmt.Sprintf("%d-%s", n, strings.Repeat("t", tokenSize))
		body = fmt.Sprintf(`{"token_type":"Bearer","scope":"%s","expires_in":%d,"access_token":%q}`, todo[0], int(tokenLife().Seconds()), token)
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)), Request: r,
	}, nil
}

// newClient returns what makes a replica's exchanges.
func (p *provider) newClient(t *testing.T) *obo.Client {
	t.Helper()
	c, err := obo.NewClient(t.Context(), obo.Config{
		Instance: "https://login.example/", TenantID: tenant, ClientID: client,
		Credentials: []credential.Config{{SourceType: "ClientSecret", ClientSecret: "the-client-secret~1"}},
		Timeout:     5 * time.Second, MaxConcurrent: 64, Client: &http.Client{Transport: p},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// takePeak returns the most exchanges that began within one second since it was last called.
func (p *provider) takePeak() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	peak := 0
	for _, n := range p.perSecond {
		peak = max(peak, n)
	}
	p.perSecond = map[int64]int{}
	return peak
}

// store is a Redis that replicas reach by links, which can be cut.
type store struct {
	redis *miniredis.Miniredis

	mu    sync.Mutex // guards the rest
	isCut bool
	links map[net.Conn]bool
}

func newStore(t *testing.T) *store {
	t.Helper()
	s := &store{redis: miniredis.NewMiniRedis(), links: map[net.Conn]bool{}}
	if err := s.redis.Start(); err != nil {
		t.Fatal(err)
	}
	s.redis.Server().Close() // nobody connects by TCP, whose waiting would stop the virtual time
	go func() {              // keys expire as time passes, up to a step early: no lock is given up for that
		const step = time.Second
		tick := time.NewTicker(step)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.redis.FastForward(step)
			case <-t.Context().Done():
				return
			}
		}
	}()
	return s
}

func (s *store) dial(context.Context, string, string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isCut {
		return nil, errors.New("no route to Redis")
	}
	here, there := net.Pipe()
	s.redis.Server().ServeConn(there)
	l := &link{Conn: here, sent: make(chan []byte, 4096), closed: make(chan struct{})}
	s.links[l] = true
	go l.pass()
	return l, nil
}

// cut ends all links, and lets none begin until join.
func (s *store) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isCut = true
	for l := range s.links {
		_ = l.Close()
	}
	s.links = map[net.Conn]bool{}
}

// loseNode deletes what one node of a cluster of three holds: a third of the hash slots.
func (s *store) loseNode() {
	for _, name := range s.redis.Keys() {
		if slotOf(name) < slots/3 {
			s.redis.Del(name)
		}
	}
}

const slots = 16384

// slotOf returns the hash slot of a key without a hash tag: CRC-16/XMODEM, as the
// specification of Redis Cluster has it.
func slotOf(name string) uint16 {
	var crc uint16
	for _, b := range []byte(name) {
		crc ^= uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc % slots
}

func (s *store) join() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isCut = false
}

// link is a connection on which what is sent takes redisRoundTrip, and what comes no time.
type link struct {
	net.Conn
	sent   chan []byte
	closed chan struct{}
	once   sync.Once
}

func (l *link) Write(b []byte) (int, error) {
	select {
	case l.sent <- slices.Clone(b):
		return len(b), nil
	case <-l.closed:
		return 0, net.ErrClosed
	}
}

func (l *link) pass() {
	for {
		select {
		case b := <-l.sent:
			time.Sleep(redisRoundTrip)
			if _, err := l.Conn.Write(b); err != nil {
				return
			}
		case <-l.closed:
			return
		}
	}
}

func (l *link) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Conn.Close()
}

var todo = []string{"api://todo/ToDo.Read"}

// fleet is replicas with one Redis or none.
type fleet struct {
	t        *testing.T
	provider *provider
	store    *store // nil: none

	mu       sync.Mutex // guards replicas
	replicas []*replica
}

type replica struct {
	cache *obo.Cache
	stop  context.CancelFunc
	ended chan error
}

func newFleet(t *testing.T, p *provider, s *store, replicas int) *fleet {
	t.Helper()
	f := &fleet{t: t, provider: p, store: s}
	for range replicas {
		f.replicas = append(f.replicas, f.newReplica())
	}
	return f
}

func (f *fleet) newReplica() *replica {
	c, config := f.provider.newClient(f.t), cacheConfig
	if f.store != nil {
		config.Shared = newTier(f.t, "redis://redis.example:6379", f.store.dial)
	}
	return run(f.t, config, c)
}

func newTier(t *testing.T, url string, dial func(context.Context, string, string) (net.Conn, error)) *redistier.Redis {
	t.Helper()
	tier, err := redistier.New(redistier.Config{
		URL: url, KeyPrefix: "middletier:", EncryptionKeys: []string{sealingKey},
		Timeout: 100 * time.Millisecond, Log: slog.New(slog.DiscardHandler), Dial: dial,
	})
	if err != nil {
		t.Fatal(err)
	}
	return tier
}

func run(t *testing.T, config obo.CacheConfig, c *obo.Client) *replica {
	t.Helper()
	cache, err := obo.NewCache(config, c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &replica{cache, stop, make(chan error, 1)}
	go func() { r.ended <- cache.Run(ctx) }()
	return r
}

var cacheConfig = obo.CacheConfig{MaxSize: 8 << 20, ExpiryBuffer: 5 * time.Minute}

const sealingKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

func (r *replica) end(t *testing.T) {
	r.stop()
	if err := <-r.ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// restart replaces the replica at i by one that knows nothing.
func (f *fleet) restart(i int) {
	fresh := f.newReplica()
	f.mu.Lock()
	old := f.replicas[i]
	f.replicas[i] = fresh
	f.mu.Unlock()
	time.Sleep(exchangeTime + time.Second) // requests under way
	old.end(f.t)
}

func (f *fleet) end() {
	for _, r := range f.replicas {
		r.end(f.t)
	}
	if f.store != nil {
		f.store.cut()
	}
}

// any returns a replica, as a load balancer does that knows nothing of users.
func (f *fleet) any() *replica {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.replicas[rand.IntN(len(f.replicas))]
}

// user calls one API, with a token that its client renews before it ends.
type user struct {
	name      string
	n         int // tokens so far
	assertion obo.Assertion
}

// current returns the user's token of now.
func (u *user) current() obo.Assertion {
	if time.Now().Add(5 * time.Minute).After(u.assertion.Expires) {
		u.n++
		life := tokenLife()
		if u.n == 1 { // somewhere in the life of its token
			life = 5*time.Minute + rand.N(life)
		}
		u.assertion = u.token(life)
	}
	return u.assertion
}

// first returns the user's first token, good for an hour.
func (u *user) first() obo.Assertion { return u.token(time.Hour) }

func (u *user) token(life time.Duration) obo.Assertion {
	token := fmt.Sprintf("eyJhbGciOiJSUzI1NiJ9.%s.%d", u.name, u.n)
	return obo.Assertion{
		Token: token, Digest: sha256.Sum256([]byte(token)), TenantID: tenant, ObjectID: u.name, Expires: time.Now().Add(life),
	}
}

// calls counts what users saw.
type calls struct {
	mu       sync.Mutex // guards the rest
	n, fails int
	waits    []time.Duration
}

func (c *calls) call(t *testing.T, f *fleet, a obo.Assertion) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	began := time.Now()
	_, err := f.any().cache.OnBehalfOf(ctx, a, todo, obo.Challenge{})
	wait := time.Since(began)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	if err != nil {
		c.fails++
	}
	c.waits = append(c.waits, wait)
}

// take returns what was counted since it was last called.
func (c *calls) take() (n, fails int, p99 time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, fails = c.n, c.fails
	slices.Sort(c.waits)
	if len(c.waits) > 0 {
		p99 = c.waits[len(c.waits)*99/100]
	}
	c.n, c.fails, c.waits = 0, 0, nil
	return n, fails, p99
}

// crowd is users who call f at random times, about perHour times an hour each, until stop.
type crowd struct {
	calls
	users []*user
	stop  context.CancelFunc
	group sync.WaitGroup

	mu    sync.Mutex // guards fleet
	fleet *fleet
}

func newCrowd(t *testing.T, f *fleet, users, perHour int) *crowd {
	ctx, stop := context.WithCancel(t.Context())
	c := &crowd{stop: stop, fleet: f}
	for i := range users {
		u := &user{name: fmt.Sprintf("user-%d", i)}
		c.users = append(c.users, u)
		c.group.Go(func() {
			for {
				pause := time.Duration(rand.ExpFloat64() * float64(time.Hour) / float64(perHour))
				select {
				case <-time.After(pause):
					c.call(t, c.at(), u.current())
				case <-ctx.Done():
					return
				}
			}
		})
	}
	return c
}

func (c *crowd) at() *fleet {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fleet
}

// moveTo lets the users call another fleet from now on.
func (c *crowd) moveTo(f *fleet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fleet = f
}

func (c *crowd) end() {
	c.stop()
	c.group.Wait()
}
