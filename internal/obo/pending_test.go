package obo_test

import (
	"strings"
	"testing"

	"middletier/internal/obo"
	"middletier/internal/testkit/redistest"
)

// Who signs out while Redis does not delete anything is signed out: at once here, and
// for all replicas once Redis deletes again.
func TestSignOutWhileRedisFailsIsMadeUpFor(t *testing.T) {
	t.Parallel()
	redis, p := startTier(t), newPlatform()
	proxy := redistest.NewProxy(t, redis.Server)
	there := redis
	there.config.URL = "redis://" + proxy.Addr()
	one := there.replica(t, p, nil)
	alice := user("alice")
	one.want(alice, "", "token-1", obo.IdentityProvider)
	redis.settles(t, 1)
	proxy.Answer("-ERR not now\r\n", "del")
	one.cache.Forget(t.Context(), alice, askedFor(todo))
	one.want(alice, "", "token-2", obo.IdentityProvider)
	proxy.Answer("")
	eventually(t, func() bool {
		for _, key := range redis.Keys() {
			if strings.HasSuffix(key, ":generation") {
				return false
			}
		}
		return true
	}, func() string { return "the generation is not deleted" })
	redis.replica(t, p, nil).want(alice, "", "token-3", obo.IdentityProvider)
}
