package obo_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"middletier/internal/obo"
)

// What a token costs by where it comes from and by how many users there are; see
// docs/performance.md.

// exchangeTime is what the identity platform of these benchmarks takes.
const exchangeTime = 30 * time.Millisecond

var (
	benchUsers = []int{1, 1000, 100_000}
	benchToken = strings.Repeat("token-", 2048/6) // of the usual size
)

// A hit in memory.
func BenchmarkFromMemory(b *testing.B) {
	k := start(b, largeCache)
	measure := func(b *testing.B, users []obo.Assertion) { k.measure(b, users, obo.Memory, func(obo.Assertion) {}) }
	users := k.overUsers(b, measure)
	// What is more in the line before this one is the processor's: it waits for
	// memory that is in none of its caches.
	b.Run(fmt.Sprintf("users=1of%d", len(users)), func(b *testing.B) { measure(b, users[:1]) })
}

// A hit in Redis, one after another: another program of the same tier fills it,
// and what comes from there is dropped from memory.
func BenchmarkFromRedis(b *testing.B) {
	redis, p := startTier(b), newPlatform()
	filler, k := redis.replica(b, p, nil), redis.replica(b, p, nil)
	filler.overUsers(b, func(b *testing.B, users []obo.Assertion) {
		k.measure(b, users, obo.Redis, func(a obo.Assertion) { k.cache.Drop(a, todo) })
	})
	if n := k.cache.Stats().RedisErrors; n != 0 {
		b.Errorf("%d operations on Redis failed", n)
	}
}

// A miss: users whose tokens are held come with new ones of their own, 16 on each
// core at once. What the platform costs is part of it: compare BenchmarkPost.
func BenchmarkFromPlatform(b *testing.B) {
	server := startPlatform(b)
	k := start(b, func(c *obo.Config, keep *obo.CacheConfig) {
		largeCache(c, keep)
		c.Instance, c.Client = server.URL+"/", client(server)
	})
	var serial atomic.Int64
	k.overUsers(b, func(b *testing.B, users []obo.Assertion) {
		measureParallel(b, func() error {
			n := serial.Add(1)
			a := user(fmt.Sprintf("%01400d", n)) // a token of the usual size
			a.ObjectID = users[int(n)%len(users)].ObjectID
			got, err := k.cache.OnBehalfOf(b.Context(), a, todo, obo.Challenge{})
			if err == nil && got.Origin != obo.IdentityProvider {
				err = fmt.Errorf("from %s", got.Origin)
			}
			return err
		})
	})
}

// The request of an exchange by net/http alone: the platform's part of a miss, and
// what nobody can spare.
func BenchmarkPost(b *testing.B) {
	server := startPlatform(b)
	client := client(server)
	form := url.Values{"assertion": {user(fmt.Sprintf("%01400d", 0)).Token}, "client_secret": {ourSecret}}.Encode()
	b.Run("users=1", func(b *testing.B) { // connections last from one length to the next
		measureParallel(b, func() error {
			resp, err := client.Post(server.URL+"/"+ourTenant+"/oauth2/v2.0/token", "application/x-www-form-urlencoded", strings.NewReader(form))
			if err != nil {
				return err
			}
			_, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close() // it was read
			return err
		})
	})
}

// largeCache has room for the tokens of 100,000 users: the default's.
func largeCache(_ *obo.Config, c *obo.CacheConfig) { c.MaxSize = 256 << 20 }

// overUsers measures with the tokens of ever more users in k's cache, and returns
// the users.
func (k kit) overUsers(b *testing.B, measure func(*testing.B, []obo.Assertion)) (users []obo.Assertion) {
	for _, n := range benchUsers {
		for i := len(users); i < n; i++ {
			users = append(users, user(fmt.Sprint(i)))
			k.cache.Fill(b.Context(), users[i], todo, benchToken)
		}
		b.Run(fmt.Sprintf("users=%d", n), func(b *testing.B) { measure(b, users) })
	}
	return users
}

// measure asks for tokens of the users, all over them, which must come from
// source. after is done after each.
func (k kit) measure(b *testing.B, users []obo.Assertion, source obo.TokenOrigin, after func(obo.Assertion)) {
	const stride = 7919 // a prime: every user has a turn
	runtime.GC()        // what the last one left
	b.ReportAllocs()
	i, begin := 0, cpuTime()
	for b.Loop() {
		got, err := k.cache.OnBehalfOf(b.Context(), users[i], todo, obo.Challenge{})
		if err != nil || got.Origin != source {
			b.Fatalf("got a token from %s, %v, want one from %s", got.Origin, err, source)
		}
		after(users[i])
		i = (i + stride) % len(users)
	}
	reportCPU(b, begin)
}

// measureParallel lets 16 goroutines for each core do it. It returns the CPU time of each, in
// microseconds.
func measureParallel(b *testing.B, do func() error) float64 {
	runtime.GC() // what the last one left
	b.ReportAllocs()
	b.SetParallelism(16)
	begin := cpuTime()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if err := do(); err != nil {
				b.Error(err)
			}
		}
	})
	return reportCPU(b, begin)
}

func reportCPU(b *testing.B, begin time.Duration) float64 {
	cpu := float64((cpuTime() - begin).Nanoseconds()) / 1000 / float64(b.N)
	b.ReportMetric(cpu, "cpu-us/op")
	return cpu
}

// startPlatform starts an identity platform that gives benchToken to everyone,
// over TLS.
func startPlatform(b *testing.B) *httptest.Server {
	server := httptest.NewTLSServer(http.HandlerFunc(answerExchange))
	b.Cleanup(server.Close)
	return server
}

// answerExchange grants benchToken after exchangeTime.
func answerExchange(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	body := grantedToken
	if r.Method == http.MethodGet {
		body = strings.ReplaceAll(goodMetadata(ourTenant).body, "login.example", r.Host)
	} else {
		_, _ = io.Copy(io.Discard, r.Body) // the client's trouble
		time.Sleep(exchangeTime)
	}
	_, _ = io.WriteString(w, body) // likewise
}

var grantedToken = granted(benchToken, 3600).body

// client reaches the server as the program reaches the platform.
func client(server *httptest.Server) *http.Client {
	return trustingClient(server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs)
}

// trustingClient reaches servers as the program reaches the platform.
func trustingClient(trusted *x509.CertPool) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64 // as many as exchanges may run
	transport.TLSClientConfig = &tls.Config{RootCAs: trusted}
	return &http.Client{Transport: transport}
}
