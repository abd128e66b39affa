package redistier

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"middletier/internal/failure"
)

// Config is how Redis is reached and used. The keys in its errors are those of the
// tokenCache.redis section.
type Config struct {
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
	// Dial makes connections without TLS; nil: net.Dialer.
	Dial dialFunc
}

// Check reports every mistake in c by its key.
func (c Config) Check(report func(key, problem string)) {
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

const (
	// maxLife is beyond that of any token (28 h, under continuous access
	// evaluation).
	maxLife = 48 * time.Hour

	// writeQueue bounds the writes under way behind requests; more are dropped.
	writeQueue = 4096
	writers    = 8

	maxSealed = 128 << 10 // bytes; a larger value is not ours

	// Unless the URL says otherwise. maxConns is for bursts: on few processors, an operation
	// that waits for another's connection may wait for longer than the timeout.
	maxConns     = 64
	minIdleConns = 2
)

// Redis is a Tier.
type Redis struct {
	id      replicaID
	address string // of what is asked first, for the log
	client  redis.UniversalClient
	sealer  *sealer
	prefix  string
	timeout time.Duration
	log     *slog.Logger
	writes  chan func(context.Context)
	breaker *breaker

	mu               sync.Mutex  // guards the rest
	pendingDeletions map[Key]int // :: owner whose generation is still to be deleted → how often it was forgotten
	dropsDeletions   bool        // since pendingDeletions is full, which was logged
}

// New returns the tier that c describes, whose Check must have passed. Run must be running.
func New(c Config) (*Redis, error) {
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
	options.PipelinePoolSize = -1 // they take any connection
	options.Dialer = dialer(options, c.Dial)
	redis.SetLogger(&logging.VoidLogger{}) // what matters is logged once, when the breaker opens
	if c.PasswordFile != "" {
		file, err := openPasswordFile(c.PasswordFile, c.Log)
		if err != nil {
			return nil, fmt.Errorf("tokenCache.redis.passwordFile: %w", err)
		}
		username := options.Username
		// Read for each connection, so that a new password needs no restart.
		options.CredentialsProviderContext = func(context.Context) (string, string, error) {
			return username, file.password(), nil
		}
	}
	s := &Redis{
		id: newReplicaID(), address: strings.Join(options.Addrs, ","), sealer: sealer, prefix: c.KeyPrefix, timeout: c.Timeout, log: c.Log,
		writes: make(chan func(context.Context), writeQueue), pendingDeletions: map[Key]int{},
	}
	s.breaker = newBreaker(c.Timeout, func(err error) {
		s.log.Warn("Redis fails; going on without it", "address", s.address, "error", failure.Of(err))
	})
	options.OnConnect = s.connected
	s.client = redis.NewUniversalClient(options)
	recoverFrom(s.client)
	return s, nil
}

// Run implements Tier. When ctx ends it writes what still waits, and closes the
// connections.
func (s *Redis) Run(ctx context.Context, heard func(Notice)) error {
	var wg sync.WaitGroup
	wg.Go(func() { s.watch(ctx) })
	wg.Go(func() { s.listen(ctx, heard) })
	for range writers {
		wg.Go(func() { s.work(ctx) })
	}
	wg.Wait()
	return s.client.Close()
}

func (s *Redis) work(ctx context.Context) {
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

// Probe writes and reads a key in Redis once, in c's own time, for programs that
// end. It returns nil where there is no Redis.
func (c Config) Probe(ctx context.Context) error {
	if c.URL == "" {
		return nil
	}
	s, err := New(c)
	if err != nil {
		return err
	}
	return errors.Join(failure.Of(s.probe(ctx)), s.client.Close())
}

// EvictionPolicy returns what Redis, or one node of a cluster, does when its memory is full,
// in the words of its maxmemory-policy. It asks in c's own time, for programs that end.
func (c Config) EvictionPolicy(ctx context.Context) (policy string, err error) {
	s, err := New(c)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err = safely(func() (err error) {
		policy, err = s.evictionPolicy(ctx)
		return err
	})
	return policy, errors.Join(failure.Of(err), s.client.Close())
}

// evictionPolicy asks with CONFIG, which managed Redis refuses, else with INFO.
func (s *Redis) evictionPolicy(ctx context.Context) (string, error) {
	settings, err := s.client.ConfigGet(ctx, "maxmemory-policy").Result()
	if policy := settings["maxmemory-policy"]; err == nil && policy != "" {
		return policy, nil
	}
	info, err := s.client.Info(ctx, "memory").Result()
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(info) {
		if policy, ok := strings.CutPrefix(strings.TrimSpace(line), "maxmemory_policy:"); ok && policy != "" {
			return policy, nil
		}
	}
	return "", failure.New("neither CONFIG GET nor INFO says it")
}

// Status implements Tier.
func (s *Redis) Status() (up bool, failed int64) { return !s.breaker.isOpen(), s.breaker.failed.Load() }

// AddHook puts a hook around all that goes to Redis, as tests do to see it or to hold it
// up.
func (s *Redis) AddHook(hook redis.Hook) { s.client.AddHook(hook) }

// do runs an operation on Redis, unless the breaker is open, and reports whether it
// succeeded. That a key is absent is a success.
func do[T any](ctx context.Context, s *Redis, kind operation, run func(ctx context.Context) (T, error)) (value T, ok bool) {
	return through(ctx, s.breaker, kind, func(ctx context.Context) (value T, err error) {
		err = safely(func() (err error) {
			value, err = run(ctx)
			return err
		})
		if errors.Is(err, redis.Nil) {
			err = nil
		}
		return value, err
	})
}

// What the names of keys in Redis end with; an entry's has nothing more than its hash.
const (
	generationSuffix = ":generation" // of an owner
	indexSuffix      = ":user"       // the list of an owner's entries
	lockSuffix       = ":lock"       // of an entry
)

// name is the key in Redis. A hash of a hash of a token says nothing of it.
func (s *Redis) name(key Key) string { return s.prefix + hex.EncodeToString(key[:]) }

// The values of an owner (a user, or all applications) are sealed with the owner's
// generation, a random value that lives in Redis beside them. Whoever forgets the owner
// deletes it, and none of the values opens again, whatever Redis still holds or has
// evicted: a value without its generation, or with another one, is a miss.

// generationSize is the length of a generation in bytes: nobody guesses a former one.
const generationSize = 16

// generationName is the key of an owner's generation.
func (s *Redis) generationName(owner Key) string { return s.name(owner) + generationSuffix }

// place is what a value at name is bound to: the name, and the owner's generation.
func place(name, generation string) string { return name + "\x00" + generation }

// Get implements Tier. Whatever is not ours is none.
func (s *Redis) Get(ctx context.Context, key, owner Key) (found Stored, ok bool) {
	name := s.name(key)
	type answers struct{ sealed, generation []byte }
	a, ok := do(ctx, s, read, func(ctx context.Context) (answers, error) {
		var sealed, generation *redis.StringCmd
		_, _ = s.client.Pipelined(ctx, func(p redis.Pipeliner) error { // each command has its error
			sealed = p.GetRange(ctx, name, 0, maxSealed)
			generation = p.GetRange(ctx, s.generationName(owner), 0, generationSize)
			return nil
		})
		value, valueErr := ours(sealed)
		current, generationErr := ours(generation)
		return answers{value, current}, errors.Join(valueErr, generationErr)
	})
	if !ok || len(a.generation) != generationSize || s.isDeletionPending(owner) {
		return Stored{}, ok
	}
	found.Generation = string(a.generation)
	if len(a.sealed) <= maxSealed {
		found.Entry, _ = s.sealer.open(place(name, found.Generation), a.sealed)
	}
	return found, true
}

// ours returns a value of Redis. One of another type is somebody else's, and none.
func ours(command *redis.StringCmd) ([]byte, error) {
	value, err := command.Bytes()
	if err == redis.Nil || redis.HasErrorPrefix(err, "WRONGTYPE") {
		return nil, nil
	}
	return value, err
}

// put writes an entry, to expire after life, and notes that it is owner's, if that is
// not zero.
func (s *Redis) put(ctx context.Context, key, owner Key, generation string, entry []byte, life time.Duration) {
	name := s.name(key)
	do(ctx, s, write, func(ctx context.Context) (bool, error) {
		return s.set(ctx, key, []Key{owner}, life, func(p redis.Pipeliner) redis.Cmder {
			return p.Set(ctx, name, s.sealer.seal(place(name, generation), entry), life)
		})
	})
}

// index is the name of the list of an owner's entries.
func (s *Redis) index(owner Key) string { return s.name(owner) + indexSuffix }

// Enqueue implements Tier. What is dropped counts as failed: another replica will make
// its own exchange.
func (s *Redis) Enqueue(w Write) {
	if w.Current == nil && !w.Delete && w.Lock == "" {
		return
	}
	s.enqueue(func(ctx context.Context) {
		if w.Current != nil {
			s.putCurrent(ctx, w)
		}
		if w.Delete {
			s.remove(ctx, []Key{w.Key})
		}
		s.unlock(ctx, w.Key, w.Lock)
	})
}

func (s *Redis) putCurrent(ctx context.Context, w Write) {
	entry := w.Current()
	if entry == nil {
		return
	}
	s.put(ctx, w.Key, w.Owner, w.Generation, entry, w.Life)
	if w.Current() == nil { // forgotten or replaced while it was written
		s.remove(ctx, []Key{w.Key})
	}
}

func (s *Redis) enqueue(write func(context.Context)) {
	select {
	case s.writes <- write:
	default:
		s.breaker.failed.Add(1)
	}
}

// Lock implements Tier.
func (s *Redis) Lock(ctx context.Context, key, owner Key, lease time.Duration) (lock string, mine bool) {
	own := rand.Text()
	var generation [generationSize]byte
	_, _ = rand.Read(generation[:]) // it never fails
	mine, ok := do(ctx, s, write, func(ctx context.Context) (bool, error) {
		var taken *redis.BoolCmd
		_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			taken = p.SetNX(ctx, s.name(key)+lockSuffix, own, lease)
			p.SetNX(ctx, s.generationName(owner), generation[:], maxLife)
			return nil
		})
		if err == redis.Nil { // what SET NX answers where there is a value
			err = nil
		}
		mine := taken.Val()
		if err != nil || ctx.Err() != nil { // we go on without it, but Redis may have set it
			s.Enqueue(Write{Key: key, Lock: own})
			err = cmp.Or(err, ctx.Err())
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
func (s *Redis) unlock(ctx context.Context, key Key, lock string) {
	if lock == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := release.Run(ctx, s.client, []string{s.name(key) + lockSuffix}, lock).Err(); err != nil {
		s.breaker.failed.Add(1)
	}
}

// remove removes entries and reports whether Redis did.
func (s *Redis) remove(ctx context.Context, keys []Key) bool {
	all := true
	for _, key := range keys { // one by one: in a cluster they live on different nodes
		_, ok := do(ctx, s, write, func(ctx context.Context) (int64, error) { return s.client.Del(ctx, s.name(key)).Result() })
		all = all && ok
	}
	return all
}
