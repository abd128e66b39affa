package obo_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"middletier/internal/obo"
	"middletier/internal/redistier"
	"middletier/internal/testkit/redistest"
)

func sealingKey(c byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{c}, 32))
}

// tier is a shared tier, and what its users log.
type tier struct {
	*redistest.Server
	config redistier.Config
	log    *lockedBuffer
}

func startTier(t testing.TB, args ...string) tier {
	t.Helper()
	return tierOf(redistest.Start(t, args...))
}

func tierOf(server *redistest.Server) tier {
	log := &lockedBuffer{}
	return tier{server, redistier.Config{
		URL: server.URL(), KeyPrefix: "middletier:", EncryptionKeys: []string{sealingKey(1)},
		Timeout: time.Second, // the machine may be busy
		Log:     slog.New(slog.NewTextHandler(log, nil)),
	}, log}
}

// lockedBuffer is written and read at once. It leaves out that Redis is reached, which
// every replica says.
type lockedBuffer struct {
	mu      sync.Mutex // guards the rest
	buf     bytes.Buffer
	reached int // lines left out
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if bytes.Contains(p, []byte("Redis is reached")) {
		b.reached++
		return len(p), nil
	}
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// isReached reports whether the log has said that Redis is.
func (b *lockedBuffer) isReached() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reached > 0
}

// replica is another program on the same platform and tier. change may be nil.
func (s tier) replica(t testing.TB, p *platform, change func(*redistier.Config)) kit {
	t.Helper()
	config := s.config
	if change != nil {
		change(&config)
	}
	shared, err := redistier.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return p.start(t, func(_ *obo.Config, c *obo.CacheConfig) { c.Shared = shared })
}

func newPlatform() *platform { return &platform{token: numbered, metadata: goodMetadata} }

// settles waits until n entries are written and every lock is let go of.
func (s tier) settles(t testing.TB, n int) (keys []string) {
	t.Helper()
	eventually(t, func() bool {
		keys = slices.DeleteFunc(s.Keys(), func(key string) bool {
			return key == "middletier:probe" || strings.HasSuffix(key, ":user") || strings.HasSuffix(key, ":generation")
		})
		return len(keys) == n && !slices.ContainsFunc(keys, func(key string) bool { return strings.HasSuffix(key, ":lock") })
	}, func() string { return fmt.Sprintf("keys: got %q, want %d entries and no lock", keys, n) })
	return keys
}

// eventually waits until something holds, for 30 s at the most.
func eventually(t testing.TB, holds func() bool, otherwise func() string) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal(otherwise())
		}
	}
}

func TestReplicasShareTokens(t *testing.T) {
	redis, p := startTier(t), newPlatform()
	one, other := redis.replica(t, p, nil), redis.replica(t, p, nil)
	one.want(user("alice"), "", "token-1", obo.IdentityProvider)
	if _, err := one.cache.ForApp(t.Context(), "", "api://todo/.default", obo.Challenge{}); err != nil {
		t.Fatal(err)
	}
	keys := redis.settles(t, 2)
	other.want(user("alice"), "", "token-1", obo.Redis)
	other.want(user("alice"), "", "token-1", obo.Memory)
	if got, err := other.cache.ForApp(t.Context(), "", "api://todo/.default", obo.Challenge{}); err != nil || got.Origin != obo.Redis {
		t.Errorf("for app: got %v %v, want it from Redis", got, err)
	}
	one.wantExchanges(2)
	for _, key := range keys {
		if left := redis.Do("PTTL", key).(int64); left <= 0 || left > time.Hour.Milliseconds() {
			t.Errorf("%s lives for %d ms more, want less than the token", key, left)
		}
	}
	other.want(user("alice"), "token-1", "token-3", obo.IdentityProvider)
	eventually(t, func() bool {
		third := redis.replica(t, p, nil)
		got, err := third.cache.OnBehalfOf(t.Context(), user("alice"), todo, obo.Challenge{})
		return err == nil && got.Value == "token-3" && got.Origin == obo.Redis
	}, func() string { return "the rejected token was not replaced in Redis" })
	if got := one.cache.Stats().RedisErrors + other.cache.Stats().RedisErrors; got != 0 {
		t.Errorf("errors of Redis: got %d, want 0", got)
	}
}

func TestReplicasShareOneExchange(t *testing.T) {
	redis, p := startTier(t), newPlatform()
	p.token = func(r sent) answer {
		a := granted("token-"+r.form.Get("assertion"), 3600)
		a.delay = 200 * time.Millisecond
		return a
	}
	patient := func(c *redistier.Config) { c.Timeout = 30 * time.Second } // a Redis that counts as hung shares nothing
	replicas := []kit{redis.replica(t, p, patient), redis.replica(t, p, patient)}
	var group sync.WaitGroup
	crowd := func(users, callers int) {
		for i := range callers {
			group.Go(func() {
				a := user(fmt.Sprint("user", i%users))
				got, err := replicas[i/users%2].cache.OnBehalfOf(t.Context(), a, todo, obo.Challenge{})
				if err != nil || got.Value != "token-"+a.Token {
					t.Errorf("%s: got %v %v", a.ObjectID, got, err)
				}
			})
		}
		group.Wait()
	}
	crowd(1, 300)
	replicas[0].wantExchanges(1)
	p.token = func(r sent) answer { return granted("token-"+r.form.Get("assertion"), 3600) } // at once: the gaps are small
	crowd(50, 400)                                                                           // within the lease, on a busy machine too
	replicas[0].wantExchanges(50)
}

func TestReplicasShareRefusals(t *testing.T) {
	redis, p := startTier(t), newPlatform()
	p.token = func(sent) answer { return refused(400, "interaction_required", `"claims":"{\"access_token\":{}}",`) }
	one, other := redis.replica(t, p, nil), redis.replica(t, p, nil)
	one.fails(user("alice"))
	key := redis.settles(t, 1)[0]
	if got := other.fails(user("alice")); got.Kind != obo.InteractionRequired || got.Claims != `{"access_token":{}}` {
		t.Errorf("the other replica: got %+v, want the same refusal", got)
	}
	one.wantExchanges(1)
	if left := redis.Do("PTTL", key).(int64); left <= 0 || left > time.Minute.Milliseconds() {
		t.Errorf("the refusal lives for %d ms, want a minute at most", left)
	}
}

func TestNothingReadableInRedis(t *testing.T) {
	redis, p := startTier(t), newPlatform()
	k := redis.replica(t, p, nil)
	k.want(user("alice"), "", "token-1", obo.IdentityProvider)
	if _, err := k.cache.ForApp(t.Context(), "", "api://todo/.default", obo.Challenge{}); err != nil {
		t.Fatal(err)
	}
	p.token = func(sent) answer { return refused(400, "interaction_required", "") }
	k.fails(user("bob"))
	for _, key := range redis.settles(t, 3) {
		text := key + redis.Get(key)
		for _, secret := range []string{"token-", "eyJ", "alice", "bob", ourTenant, ourClient, ourSecret, "api:", "interaction", "happened"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is readable in %q", secret, text)
			}
		}
	}
}

func TestEntriesExpireByThemselves(t *testing.T) {
	redis, p := startTier(t), newPlatform()
	k := redis.replica(t, p, nil)
	p.token = func(sent) answer { return granted("token-x", 2) } // used for a second
	k.want(user("alice"), "", "token-x", obo.IdentityProvider)
	redis.settles(t, 0)
	gone := user("alice")
	gone.Expires = time.Now().Add(-time.Second) // within the clock skew
	k.want(gone, "", "token-x", obo.IdentityProvider)
	k.want(user("bob"), "", "token-x", obo.IdentityProvider)
	redis.settles(t, 0) // nothing was written without an end
}

func TestForgetReachesRedis(t *testing.T) {
	redis, p := startTier(t), newPlatform()
	one, other := redis.replica(t, p, nil), redis.replica(t, p, nil)
	for i := range 50 { // also when it overtakes the write
		alice := user(fmt.Sprint("alice", i))
		if refusal := one.ask(alice, todo...); refusal != nil {
			t.Fatal(refusal)
		}
		one.cache.Forget(t.Context(), alice, askedFor(todo))
	}
	redis.settles(t, 0)
	one.want(user("alice"), "", "token-51", obo.IdentityProvider)
	redis.settles(t, 1)
	other.cache.Forget(t.Context(), user("alice"), askedFor(todo))
	redis.settles(t, 0)
	one.forgets(user("alice"), todo)
}

func TestRejectedTokenLeavesRedisThoughNoneComes(t *testing.T) {
	redis, p := startTier(t), newPlatform()
	k := redis.replica(t, p, nil)
	k.want(user("alice"), "", "token-1", obo.IdentityProvider)
	redis.settles(t, 1)
	p.token = func(sent) answer { return answer{status: 503} }
	if _, err := k.cache.OnBehalfOf(t.Context(), user("alice"), todo, obo.Challenge{RejectedToken: "token-1"}); err == nil {
		t.Error("no error from a platform that is down")
	}
	redis.settles(t, 0)
}

// A replica whose provider throttles a user still has what others fetched.
func TestThrottledUserIsServedFromRedis(t *testing.T) {
	redis, p, elsewhere := startTier(t), newPlatform(), newPlatform()
	k := redis.replica(t, p, nil)
	p.token = func(sent) answer { return answer{status: 429} }
	again := user("alice, signed in again")
	again.ObjectID = "alice"
	k.fails(user("alice"))
	redis.settles(t, 0)
	redis.replica(t, elsewhere, nil).want(again, "", "token-1", obo.IdentityProvider)
	redis.settles(t, 1)
	k.want(again, "", "token-1", obo.Redis)
}

func TestRenewalIsShared(t *testing.T) {
	redis, p := startTier(t), newPlatform()
	p.token = func(r sent) answer {
		if r.n == 1 {
			return answer{body: `{"token_type":"Bearer","expires_in":3600,"refresh_in":1,"access_token":"token-1"}`}
		}
		return numbered(r)
	}
	replicas := []kit{redis.replica(t, p, nil), redis.replica(t, p, nil)}
	replicas[0].want(user("alice"), "", "token-1", obo.IdentityProvider)
	redis.settles(t, 1)
	replicas[1].want(user("alice"), "", "token-1", obo.Redis)
	for _, k := range replicas {
		eventually(t, func() bool {
			got, err := k.cache.OnBehalfOf(t.Context(), user("alice"), todo, obo.Challenge{})
			return err == nil && got.Value == "token-2"
		}, func() string { return "the token was not renewed" })
	}
	replicas[0].wantExchanges(2)
	redis.settles(t, 1)
}

func TestEncryptionKeysRotate(t *testing.T) {
	redis, p := startTier(t), newPlatform()
	with := func(keys ...string) kit {
		return redis.replica(t, p, func(c *redistier.Config) { c.EncryptionKeys = keys })
	}
	old, current := sealingKey(1), sealingKey(2)
	with(old).want(user("alice"), "", "token-1", obo.IdentityProvider)
	redis.settles(t, 1)
	with(current, old).want(user("alice"), "", "token-1", obo.Redis)
	with(old, current).want(user("alice"), "", "token-1", obo.Redis)
	with(current, old).want(user("bob"), "", "token-2", obo.IdentityProvider)
	redis.settles(t, 2)
	with(current).want(user("bob"), "", "token-2", obo.Redis)
	with(old).want(user("bob"), "", "token-3", obo.IdentityProvider)
}

func TestValuesThatAreNotOursAreAMiss(t *testing.T) {
	redis, p := startTier(t), newPlatform()
	first := redis.replica(t, p, nil)
	first.want(user("bob"), "", "token-1", obo.IdentityProvider)
	bobs := redis.settles(t, 1)[0]
	foreign := redis.Get(bobs)
	redis.Do("FLUSHALL")
	first.want(user("alice"), "", "token-2", obo.IdentityProvider)
	key := redis.settles(t, 1)[0]
	good := redis.Get(key)
	flipped := func(i int) string {
		b := []byte(good)
		b[i] ^= 1
		return string(b)
	}
	for name, value := range map[string]string{
		"moved from another key": foreign, "empty": "", "three bytes": good[:3], "key id only": good[:4], "short": good[:20],
		"cut off": good[:len(good)-1], "longer": good + "x", "another key id": flipped(0), "another nonce": flipped(5),
		"flipped": flipped(len(good) - 20), "another tag": flipped(len(good) - 1), "text": `{"access_token":"token-evil"}`,
		"in the clear": "\x01\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00token-evil",
		"oversized":    strings.Repeat(good, 1+(1<<20)/len(good)),
	} {
		redis.Do("SET", key, value)
		k := redis.replica(t, p, nil)
		if got, err := k.cache.OnBehalfOf(t.Context(), user("alice"), todo, obo.Challenge{}); err != nil || got.Origin != obo.IdentityProvider {
			t.Errorf("%s: got %v %v, want a new token", name, got, err)
		}
		redis.settles(t, 1)
	}
	for _, command := range []string{"LPUSH", "SADD", "PFADD"} {
		redis.Do("DEL", key)
		redis.Do(command, key, "x")
		k := redis.replica(t, p, nil)
		if got, err := k.cache.OnBehalfOf(t.Context(), user("alice"), todo, obo.Challenge{}); err != nil || got.Origin != obo.IdentityProvider {
			t.Errorf("after %s: got %v %v, want a new token", command, got, err)
		}
		eventually(t, func() bool { return redis.Do("TYPE", key) == "string" }, func() string { return "the value was not replaced" })
		redis.settles(t, 1)
	}
	redis.Do("SET", key, good)
	redis.replica(t, p, nil).want(user("alice"), "", "token-2", obo.Redis) // it was only the values
	if log := redis.log.String(); log != "" {
		t.Errorf("log: got %s, want nothing", log)
	}
}

func TestRedisAccess(t *testing.T) {
	const commands = "+getrange +set +del +eval +evalsha +get +zadd +zremrangebyscore +expire +zrange +scan +unlink +publish +subscribe +ping &middletier:*"
	passwordFile := filepath.Join(t.TempDir(), "password")
	for name, c := range map[string]struct {
		args   []string
		config func(s tier, c *redistier.Config)
	}{
		"password in the URL": {[]string{"--requirepass", "pass"}, func(s tier, c *redistier.Config) { c.URL = "redis://:pass@" + s.Addr() + "/1" }},
		"ACL user": {nil, func(s tier, c *redistier.Config) {
			s.Do("ACL SETUSER app on >pass ~middletier:* " + commands)
			c.URL = "redis://app:pass@" + s.Addr()
		}},
		"password in a file": {[]string{"--requirepass", "pass"}, func(_ tier, c *redistier.Config) { c.PasswordFile = passwordFile }},
		"ACL user with a password in a file": {nil, func(s tier, c *redistier.Config) {
			s.Do("ACL SETUSER app on >pass ~middletier:* " + commands)
			c.URL, c.PasswordFile = "redis://app@"+s.Addr(), passwordFile
		}},
		"socket": {nil, func(s tier, c *redistier.Config) { c.URL = "unix://" + s.Socket() }},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(passwordFile, []byte("pass\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			redis, p := startTier(t, c.args...), newPlatform()
			c.config(redis, &redis.config)
			one := redis.replica(t, p, nil)
			one.want(user("alice"), "", "token-1", obo.IdentityProvider)
			eventually(t, func() bool {
				other := redis.replica(t, p, nil)
				got, err := other.cache.OnBehalfOf(t.Context(), user("alice"), todo, obo.Challenge{})
				return err == nil && got.Origin == obo.Redis && other.cache.Stats().RedisErrors == 0
			}, func() string { return "the token is not shared" })
			if err := errors.Join(one.cache.ForgetUser(t.Context(), ourTenant, "alice"), one.cache.ForgetAll(t.Context())); err != nil {
				t.Errorf("forgetting: %v", err)
			}
			if n, log := one.cache.Stats().RedisErrors, redis.log.String(); n != 0 || log != "" {
				t.Errorf("%d errors of Redis, log %s", n, log)
			}
		})
	}
}

func TestConnectionsAreAsTheURLSays(t *testing.T) {
	const parameters = "protocol=2&client_name=middletier&pool_size=3"
	for name, start := range map[string]func(testing.TB) *redistest.Server{
		"server":   func(t testing.TB) *redistest.Server { return redistest.Start(t) },
		"cluster":  redistest.StartCluster,
		"sentinel": redistest.StartSentinel,
	} {
		t.Run(name, func(t *testing.T) {
			redis, p := tierOf(start(t)), newPlatform()
			address, query, _ := strings.Cut(redis.URL(), "?")
			redis.config.URL = address + "?" + query + "&" + parameters
			k := redis.replica(t, p, nil)
			k.burst(20, "user")
			redis.settles(t, 20)
			var ours []string
			for line := range strings.Lines(redis.Do("CLIENT LIST").(string)) {
				words := strings.Fields(line)
				if slices.Contains(words, "name=middletier") && slices.Contains(words, "resp=2") && !slices.Contains(words, "sub=1") {
					ours = append(ours, line)
				}
			}
			if len(ours) == 0 || len(ours) > 3 {
				t.Errorf("got connections %q of %s, want up to three", ours, redis.Do("CLIENT LIST"))
			}
		})
	}
}

func TestPasswordFileIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	write := func(password string) {
		t.Helper()
		if err := os.WriteFile(file, []byte("\ufeff"+password+"\r\n"), 0o600); err != nil { // as on Windows
			t.Fatal(err)
		}
	}
	redis, p := startTier(t, "--requirepass", "one"), newPlatform()
	redis.config.PasswordFile = file
	write("one")
	k := redis.replica(t, p, nil)
	k.want(user("alice"), "", "token-1", obo.IdentityProvider)
	redis.settles(t, 1)
	write("two")
	redis.Do("CONFIG SET requirepass two")
	redis.Do("CLIENT KILL TYPE normal SKIPME yes")
	k.want(user("bob"), "", "token-2", obo.IdentityProvider)
	redis.settles(t, 2)
	write("two\nlines")
	const line = "the Redis password cannot be read again"
	for i, name := range []string{"carol", "dave"} { // each with a new connection
		redis.Do("CLIENT KILL TYPE normal SKIPME yes")
		k.want(user(name), "", fmt.Sprintf("token-%d", i+3), obo.IdentityProvider)
	}
	eventually(t, func() bool { return strings.Contains(redis.log.String(), line) },
		func() string { return "the log does not say that the file is bad" })
	if log := redis.log.String(); strings.Count(log, line) != 1 || strings.Contains(log, "WRONGPASS") {
		t.Errorf("got %s, want it to be said once, and the last good password used", log)
	}
}
