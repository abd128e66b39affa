package main

import (
	"fmt"
	"strings"
	"testing"

	"middletier/internal/testkit/redistest"
)

// Tokens that a user's sign-out or an operator deleted are not used again, even if
// Redis has evicted lists of users' tokens or somebody has overwritten them.
func TestForgottenUserIsNotServedAfterEviction(t *testing.T) {
	for _, row := range []struct {
		name   string
		lose   func(redis *redistest.Server, list string)
		status int
	}{
		{"evicted", func(redis *redistest.Server, list string) { redis.Do("DEL", list) }, 204},
		{"overwritten", func(redis *redistest.Server, list string) { redis.Do("SET", list, "x") }, 503},
	} {
		t.Run(row.name, func(t *testing.T) {
			redis := redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
			w := newWorld(t, withRedis(redis), patientWithRedis)
			alice := w.alice()
			if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != 200 {
				t.Fatalf("got %d %s, want 200", r.StatusCode, r.body)
			}
			eventually(t, func() bool { return entries(redis) == 1 }, func() string { return "the token is not in Redis" })
			for _, key := range redis.Keys() {
				if strings.HasSuffix(key, ":user") {
					row.lose(redis, key)
				}
			}
			admin := w.admin(t) // of another replica
			path := "/cache/users/" + demoTenant + "/aaaaaaaa-0000-4000-8000-000000000001"
			if r := w.ask("DELETE", admin+path); r.StatusCode != row.status {
				t.Errorf("got %d %s, want %d", r.StatusCode, r.body, row.status)
			}
			before := w.exchanges()
			w.startReady() // a replica that comes later
			if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != 200 || w.exchanges() != before+1 {
				t.Errorf("got %d and %d exchanges, want a new token", r.StatusCode, w.exchanges()-before)
			}
			if r := w.ask("DELETE", admin+path); r.StatusCode != 204 {
				t.Errorf("again: got %d %s, want 204", r.StatusCode, r.body)
			}
		})
	}
}

// A sealed value that is restored after a sign-out cannot be used.
func TestSignedOutTokenIsNotServedWhenItIsPutBack(t *testing.T) {
	redis := redistest.Start(t)
	w := newWorld(t, withRedis(redis), patientWithRedis)
	alice := w.alice()
	w.call("GET", "/api/todo/items", alice, "")
	eventually(t, func() bool { return entries(redis) == 1 }, func() string { return "the token is not in Redis" })
	values := map[string]string{}
	for _, key := range redis.Keys() {
		if strings.Count(key, ":") == 1 {
			values[key] = redis.Get(key)
		}
	}
	if r := w.call("POST", "/signout", alice, ""); r.StatusCode != 204 {
		t.Fatalf("sign-out: got %d %s", r.StatusCode, r.body)
	}
	for key, value := range values {
		redis.Do("SET", key, value)
	}
	before := w.exchanges()
	if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != 200 || w.exchanges() != before+1 {
		t.Errorf("got %s, want one more exchange", fmt.Sprint(r.StatusCode, " ", w.exchanges()-before))
	}
}
