package obo

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// RedisConfig is the shared tier. The keys in its errors are those of the
// tokenCache.redis section.
type RedisConfig struct {
	// URL is redis://, rediss:// or unix://; "" switches the tier off. Several
	// addr parameters make it a cluster, master_name a sentinel. What connections are
	// like is said by the parameters of go-redis.
	URL string
	// PasswordFile holds the password; "": that of URL.
	PasswordFile string
	// KeyPrefix goes before every key.
	KeyPrefix string
	// EncryptionKeys seal the values: base64, 32 bytes each. The first encrypts,
	// all decrypt.
	EncryptionKeys []string
	// Timeout bounds every operation.
	Timeout time.Duration
	Log     *slog.Logger
}

// Check reports every mistake in c by its key.
func (c RedisConfig) Check(report func(key, problem string)) {
	if c.URL == "" {
		return
	}
	if _, err := c.options(); err != nil {
		report("url", err.Error())
	}
	if len(c.EncryptionKeys) == 0 {
		report("encryptionKeys", "must hold at least one key: tokens are not written in the clear")
	}
	for i, key := range c.EncryptionKeys {
		if _, err := newSealer([]string{key}); err != nil {
			report(fmt.Sprintf("encryptionKeys[%d]", i), "must be 32 bytes in base64, as of openssl rand -base64 32")
		}
	}
	if c.Timeout <= 0 {
		report("timeout", "must be positive")
	}
}

// What of a Redis URL's parameters is used. Timeouts, retries and where to read are
// not for it to say.
var (
	placeParameters      = []string{"addr", "master_name", "db", "username", "password", "skip_verify"}
	connectionParameters = []string{"protocol", "client_name", "pool_size", "min_idle_conns", "max_idle_conns", "max_active_conns", "conn_max_idle_time", "conn_max_lifetime"}
)

// options reads the URL, for a single server, a cluster or a sentinel. Its errors
// quote nothing of it: any part may be one of a password.
func (c RedisConfig) options() (*redis.UniversalOptions, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, errNoRedisURL
	}
	var o redis.UniversalOptions
	query := u.Query()
	switch {
	case query.Has("master_name"):
		f, err := redis.ParseFailoverURL(c.URL)
		if err != nil {
			return nil, errNoRedisURL
		}
		o = redis.UniversalOptions{
			Addrs: f.SentinelAddrs, MasterName: f.MasterName, Username: f.Username, Password: f.Password,
			SentinelUsername: f.SentinelUsername, SentinelPassword: f.SentinelPassword, DB: f.DB, TLSConfig: f.TLSConfig,
		}
	case query.Has("addr"):
		f, err := redis.ParseClusterURL(c.URL)
		if err != nil {
			return nil, errNoRedisURL
		}
		o = redis.UniversalOptions{Addrs: f.Addrs, Username: f.Username, Password: f.Password, TLSConfig: f.TLSConfig, IsClusterMode: true}
	default:
		f, err := redis.ParseURL(c.URL)
		if err != nil {
			return nil, errNoRedisURL
		}
		o = redis.UniversalOptions{Addrs: []string{f.Addr}, Username: f.Username, Password: f.Password, DB: f.DB, TLSConfig: f.TLSConfig}
	}
	connection := url.Values{}
	for name, values := range query {
		switch {
		case slices.Contains(connectionParameters, name):
			connection[name] = values
		case !slices.Contains(placeParameters, name):
			return nil, errUnusedParameter
		}
	}
	of, err := redis.ParseURL("redis://?" + connection.Encode())
	if err != nil {
		return nil, errNoRedisURL
	}
	if min(of.PoolSize, of.MinIdleConns, of.MaxIdleConns, of.MaxActiveConns) < 0 || !slices.Contains([]int{0, 2, 3}, of.Protocol) {
		return nil, errParameterRange
	}
	o.Protocol, o.ClientName = of.Protocol, of.ClientName
	o.PoolSize, o.MinIdleConns = cmp.Or(of.PoolSize, maxConns), cmp.Or(of.MinIdleConns, minIdleConns)
	o.MaxIdleConns, o.MaxActiveConns = of.MaxIdleConns, of.MaxActiveConns
	o.ConnMaxIdleTime, o.ConnMaxLifetime = of.ConnMaxIdleTime, of.ConnMaxLifetime
	return &o, nil
}

var (
	errNoRedisURL      = errors.New("must be a Redis URL: redis://, rediss:// or unix://")
	errUnusedParameter = errors.New("has a parameter that is not used; these are: " + strings.Join(slices.Concat(placeParameters, connectionParameters), ", "))
	errParameterRange  = errors.New("has a parameter out of range: numbers of connections are 0 or more, protocol is 2 or 3")
)

// sealer encrypts values so that each opens under its own key name only.
type sealer struct {
	first []byte                 // id of the key that encrypts
	aeads map[string]cipher.AEAD // :: id of the key → its cipher
}

const sealKeyID = 4 // bytes of the id in front of a sealed value

func newSealer(keys []string) (*sealer, error) {
	s := &sealer{aeads: map[string]cipher.AEAD{}}
	for _, text := range keys {
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(key) != 32 {
			return nil, errors.New("not 32 bytes in base64")
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(append([]byte("key id "), key...))
		id := sum[:sealKeyID]
		if s.first == nil {
			s.first = id
		}
		s.aeads[string(id)] = aead
	}
	return s, nil
}

func (s *sealer) seal(name string, value []byte) []byte {
	return s.aeads[string(s.first)].Seal(append([]byte(nil), s.first...), nil, value, []byte(name))
}

// open returns the value, or false for anything that was not sealed under one of
// our keys for this very name.
func (s *sealer) open(name string, sealed []byte) ([]byte, bool) {
	if len(sealed) < sealKeyID {
		return nil, false
	}
	aead := s.aeads[string(sealed[:sealKeyID])]
	if aead == nil {
		return nil, false
	}
	value, err := aead.Open(nil, nil, sealed[sealKeyID:], []byte(name))
	return value, err == nil
}

const (
	// breakerFailures in a row, of reads or of writes, make us leave Redis alone,
	// so that an outage costs requests no more than these few waits. It is tried
	// every breakerPause, behind requests.
	breakerFailures = 3
	breakerPause    = 5 * time.Second

	// So does one that hangs for hangPercent of the timeout while nothing comes back
	// and as many wait, each for freshPercent at least: with 100 ms, a Redis that
	// falls silent delays no request of a busy service by more than 50. Where we look
	// later than latePercent, it may have been our own process that did not run.
	freshPercent = 12
	hangPercent  = 35
	latePercent  = 60

	// lockLease is how long one replica may keep the others waiting for its
	// exchange. It covers a usual exchange; where it does not, two are made.
	lockLease = 3 * time.Second

	// lockPoll is how often a waiting replica looks for the result.
	lockPoll = 25 * time.Millisecond

	// writeQueue bounds the writes under way behind requests; more are dropped.
	writeQueue = 4096
	writers    = 8

	maxSealed = 128 << 10 // bytes; a larger value is not ours

	// Unless the URL says otherwise. maxConns is for bursts: who waits for another's connection, on few processors,
	// may wait for longer than the timeout.
	maxConns     = 64
	minIdleConns = 2
)

// shared is the tier that all replicas see. It may be slow, down or wrong at any
// time: then it holds nothing, and requests go on without it.
type shared struct {
	client  redis.UniversalClient
	sealer  *sealer
	prefix  string
	timeout time.Duration
	log     *slog.Logger
	writes  chan func(context.Context)
	hung    chan struct{} // the breaker has opened since operations hang
	failed  atomic.Int64  // operations

	mu       sync.Mutex              // guards the rest
	failures map[operation]int       // in a row
	well     map[operation]time.Time // when one last went well
	running  map[*attempt]bool
	open     bool // the breaker: Redis is not asked
}

// attempt is an operation under way.
type attempt struct {
	kind    operation
	began   time.Time
	abandon func()
}

// operation is a kind of them. A replica that became read-only still reads well.
type operation int

const (
	read operation = iota
	write
)

func newShared(c RedisConfig) (*shared, error) {
	options, err := c.options()
	if err != nil {
		return nil, fmt.Errorf("tokenCache.redis.url: %w", err)
	}
	sealer, err := newSealer(c.EncryptionKeys)
	if err != nil {
		return nil, fmt.Errorf("tokenCache.redis.encryptionKeys: %w", err)
	}
	options.MaxRetries = -1 // the request goes on without
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout, options.PoolTimeout = c.Timeout, c.Timeout, c.Timeout, c.Timeout
	options.ContextTimeoutEnabled = true // else a context's end is not looked at
	options.DialerRetries = 1            // likewise
	options.DisableIdentity = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	options.PipelinePoolSize = -1          // they take any connection
	redis.SetLogger(&logging.VoidLogger{}) // what matters is logged once, by leave
	if c.PasswordFile != "" {
		if _, err := readPassword(c.PasswordFile); err != nil {
			return nil, fmt.Errorf("tokenCache.redis.passwordFile: %w", err)
		}
		username := options.Username
		// Read for each connection, so that a new password needs no restart.
		options.CredentialsProviderContext = func(context.Context) (string, string, error) {
			password, err := readPassword(c.PasswordFile)
			return username, password, err
		}
	}
	s := &shared{
		sealer: sealer, prefix: c.KeyPrefix, timeout: c.Timeout, log: c.Log,
		writes: make(chan func(context.Context), writeQueue), hung: make(chan struct{}, 1),
		failures: map[operation]int{}, well: map[operation]time.Time{}, running: map[*attempt]bool{},
	}
	options.OnConnect = s.connected
	s.client = redis.NewUniversalClient(options)
	return s, nil
}

// run writes behind requests and tries a Redis that failed until ctx ends, writes
// what still waits then, and closes the connections.
func (s *shared) run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { s.revive(ctx) })
	for range writers {
		wg.Go(func() { s.work(ctx) })
	}
	wg.Wait()
	return s.client.Close()
}

func (s *shared) work(ctx context.Context) {
	for {
		select {
		case write := <-s.writes:
			write(context.WithoutCancel(ctx))
		case <-ctx.Done():
			for {
				select {
				case write := <-s.writes:
					write(context.WithoutCancel(ctx))
				default:
					return
				}
			}
		}
	}
}

// revive tries whether Redis takes and gives values again. One that hung may only
// be far away: it is tried at once, though not again in the same pause, since a
// cluster in which one node hangs passes too.
func (s *shared) revive(ctx context.Context) {
	tick := time.NewTicker(breakerPause)
	defer tick.Stop()
	hung := s.hung
	for {
		select {
		case <-ctx.Done():
			return
		case <-hung:
			hung = nil
		case <-tick.C:
			hung = s.hung
		}
		if s.isOpen() && s.probe(ctx) == nil {
			s.close()
		}
	}
}

func (s *shared) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	name := s.prefix + "probe"
	if err := s.client.Set(ctx, name, "", time.Second).Err(); err != nil {
		return err
	}
	return s.client.GetRange(ctx, name, 0, 0).Err()
}

// Probe writes and reads a key in Redis once, in c's own time, for programs that
// end. It returns nil where there is no Redis.
func (c RedisConfig) Probe(ctx context.Context) error {
	if c.URL == "" {
		return nil
	}
	s, err := newShared(c)
	if err != nil {
		return err
	}
	return errors.Join(s.probe(ctx), s.client.Close())
}

// name is the key in Redis. A hash of a hash of a token says nothing of it.
func (s *shared) name(key cacheKey) string { return s.prefix + hex.EncodeToString(key[:]) }

// do runs an operation on Redis, unless the breaker is open, and reports whether
// it went well. That a key is absent is well.
func do[T any](ctx context.Context, s *shared, kind operation, run func(ctx context.Context) (T, error)) (value T, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	a := s.begin(kind, cancel)
	if a == nil {
		return value, false
	}
	hang := time.AfterFunc(s.timeout*hangPercent/100, func() { s.suspect(a) })
	defer hang.Stop()
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() { // it heeds ctx's deadline, but not that it is abandoned
		value, err := run(ctx)
		done <- result{value, err}
	}()
	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
		r.err = ctx.Err()
	}
	if errors.Is(r.err, redis.Nil) || redis.HasErrorPrefix(r.err, "WRONGTYPE") { // somebody else's value
		r.err = nil
	}
	s.end(a, r.err)
	return r.value, r.err == nil
}

func (s *shared) isOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// begin notes an operation that is to run, or returns nil where the breaker is
// open.
func (s *shared) begin(kind operation, abandon func()) *attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open {
		return nil
	}
	a := &attempt{kind, time.Now(), abandon}
	s.running[a] = true
	return a
}

// end counts how an operation went.
func (s *shared) end(a *attempt, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, a)
	if err != nil {
		s.failed.Add(1)
		if s.failures[a.kind]++; s.failures[a.kind] >= breakerFailures {
			s.trip(err)
		}
		return
	}
	s.failures[a.kind], s.well[a.kind] = 0, time.Now()
}

var errHangs = errors.New("operations hang")

// connected notes that Redis has answered a new connection: in a burst nothing else
// may have come back yet.
func (s *shared) connected(context.Context, *redis.Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.well[read], s.well[write] = time.Now(), time.Now()
	return nil
}

// suspect opens the breaker where a is not the only operation that hangs.
func (s *shared) suspect(a *attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hanging := 0
	for other := range s.running {
		if other.kind == a.kind && s.over(freshPercent, other) {
			hanging++
		}
	}
	if !s.over(latePercent, a) && hanging >= breakerFailures && s.well[a.kind].Before(a.began) {
		s.trip(errHangs)
		select {
		case s.hung <- struct{}{}:
		default:
		}
	}
}

// over reports whether a has gone on for so much of the timeout.
func (s *shared) over(percent time.Duration, a *attempt) bool {
	return time.Since(a.began) > s.timeout*percent/100
}

// trip opens the breaker, and lets go of all who wait. s.mu is held.
func (s *shared) trip(err error) {
	if s.open {
		return
	}
	s.open = true
	s.log.Warn("Redis fails; going on without it", "error", err)
	for a := range s.running {
		a.abandon()
	}
}

// close closes the breaker.
func (s *shared) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = false
	clear(s.failures)
	s.log.Info("Redis answers again")
}

// get returns the entry under key, nil for none. Whatever is not ours is none.
// ok is false where Redis did not answer.
func (s *shared) get(ctx context.Context, key cacheKey) (entry []byte, ok bool) {
	name := s.name(key)
	sealed, ok := do(ctx, s, read, func(ctx context.Context) ([]byte, error) {
		return s.client.GetRange(ctx, name, 0, maxSealed).Bytes()
	})
	if !ok || len(sealed) > maxSealed {
		return nil, ok
	}
	entry, _ = s.sealer.open(name, sealed)
	return entry, true
}

// put writes an entry, to expire after life, and notes that it is of owner, if
// that is not zero.
func (s *shared) put(ctx context.Context, key, owner cacheKey, entry []byte, life time.Duration) {
	name := s.name(key)
	do(ctx, s, write, func(ctx context.Context) ([]redis.Cmder, error) {
		return s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			if owner != (cacheKey{}) {
				index, now := s.index(owner), time.Now()
				p.ZAdd(ctx, index, redis.Z{Score: float64(now.Add(life).Unix()), Member: key[:]})
				p.ZRemRangeByScore(ctx, index, "-inf", strconv.FormatInt(now.Unix()-1, 10)) // what has expired
				p.Expire(ctx, index, longestLife)
			}
			p.Set(ctx, name, s.sealer.seal(name, entry), life)
			return nil
		})
	})
}

// index is the name of the list of an owner's entries.
func (s *shared) index(owner cacheKey) string { return s.name(owner) + ":user" }

// behind queues a write. Where too many wait already it is dropped: another
// replica will make its own exchange.
func (s *shared) behind(write func(context.Context)) {
	select {
	case s.writes <- write:
	default:
		s.failed.Add(1)
	}
}

// lock tries to be the one replica that makes the exchange for key. It returns
// the lock's value, "" where another replica has it. Without Redis everyone has
// it.
func (s *shared) lock(ctx context.Context, key cacheKey) (value string, mine bool) {
	own := rand.Text()
	mine, ok := do(ctx, s, write, func(ctx context.Context) (bool, error) {
		mine, err := s.client.SetNX(ctx, s.name(key)+":lock", own, lockLease).Result()
		if err != nil || ctx.Err() != nil { // we go on without it, but Redis may have set it
			s.unlockBehind(key, own)
		}
		return mine, err
	})
	if !ok {
		return "", true
	}
	if !mine {
		return "", false
	}
	return own, true
}

// release removes a lock that is still ours.
var release = redis.NewScript(`if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("del", KEYS[1]) end return 0`)

// unlock lets go of a lock, also while the breaker is open: other replicas would
// wait for its end.
func (s *shared) unlock(ctx context.Context, key cacheKey, value string) {
	if value == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := release.Run(ctx, s.client, []string{s.name(key) + ":lock"}, value).Err(); err != nil {
		s.failed.Add(1)
	}
}

// unlockBehind is unlock for who does not wait for it.
func (s *shared) unlockBehind(key cacheKey, value string) {
	s.behind(func(ctx context.Context) { s.unlock(ctx, key, value) })
}

// forget removes entries and reports whether Redis did.
func (s *shared) forget(ctx context.Context, keys []cacheKey) bool {
	all := true
	for _, key := range keys { // one by one: in a cluster they live on different nodes
		_, ok := do(ctx, s, write, func(ctx context.Context) (int64, error) { return s.client.Del(ctx, s.name(key)).Result() })
		all = all && ok
	}
	return all
}

func readPassword(file string) (string, error) {
	data, err := os.ReadFile(file)
	return strings.TrimRight(string(data), "\r\n"), err
}
