package main

import (
	"strings"
	"testing"
	"time"

	"middletier/internal/testkit/redistest"
)

// A Redis with invalid answers fails no request and does not end the process. It is
// used again when its answers are valid.
func TestRedisAnswersWrongly(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	proxy := redistest.NewProxy(t, redis)
	proxy.Answer("*0\r\n", "subscribe") // as early as at the start
	w := newWorld(t, withRedis(redis), patientWithRedis, func(f *file) { f.TokenCache.Redis.URL = "redis://" + proxy.Addr() })
	called := func(what string) {
		t.Helper()
		for range 3 {
			if r := w.call("GET", "/api/todo/items", w.alice(), ""); r.StatusCode != 200 {
				t.Errorf("%s: got %d %s, want 200", what, r.StatusCode, r.body)
			}
		}
	}
	called("an empty array to SUBSCRIBE")
	eventually(t, func() bool { return proxy.Asked("subscribe") > 1 }, func() string { return "the program does not try to listen again" })
	proxy.Answer("$9223372036854775807\r\n", "*")
	called("a length of 2^63")
	w.awaitLine("Redis fails", time.Time{})
	back := time.Now()
	proxy.Answer("")
	w.awaitLine("Redis answers again", back)
	redis.Do("FLUSHALL")
	called("good answers again")
	eventually(t, func() bool { return entries(redis) > 0 }, func() string { return "nothing is written to Redis" })
}

// The log says at the start whether Redis can be reached, before any request.
func TestRedisIsAnnouncedAtStart(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t, "--requirepass", "canary-of-redis")
	change := func(f *file) { f.TokenCache.Redis.URL = "redis://:canary-of-redis@" + redis.Addr() }
	w := newWorld(t, withRedis(redis), patientWithRedis, change)
	w.awaitLine(`"level":"INFO","msg":"Redis is reached","address":"`+redis.Addr()+`"`, time.Time{})

	redis.Kill()
	w = newWorld(t, withRedis(redis), patientWithRedis, change)
	w.awaitLine(`"level":"WARN","msg":"Redis fails; going on without it","address":"`+redis.Addr()+
		`","error":"dial `+redis.Addr()+`: connection refused"`, time.Time{})
	if r := w.call("GET", "/api/todo/items", w.alice(), ""); r.StatusCode != 200 {
		t.Errorf("got %d %s, want 200", r.StatusCode, r.body)
	}
	redis.Restart()
	w.awaitLine("Redis answers again", time.Time{})
	if log := w.log.String(); strings.Contains(log, "canary") {
		t.Errorf("log: got %s, want no password", log)
	}
}
