package redistier

import (
	"testing"
	"time"
)

func TestParametersOfARedisURL(t *testing.T) {
	const parameters = "protocol=2&client_name=us&pool_size=7&min_idle_conns=3&max_idle_conns=5&max_active_conns=9&conn_max_idle_time=2m&conn_max_lifetime=1h"
	for _, url := range []string{"redis://a/3?", "unix:///run/redis.sock?db=3&", "redis://a:1?addr=b:2&", "redis://a:1/3?master_name=main&"} {
		o, err := Config{URL: url + parameters}.options()
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if o.Protocol != 2 || o.ClientName != "us" || o.PoolSize != 7 || o.MinIdleConns != 3 || o.MaxIdleConns != 5 || o.MaxActiveConns != 9 ||
			o.ConnMaxIdleTime != 2*time.Minute || o.ConnMaxLifetime != time.Hour || o.DB != 3 && !o.IsClusterMode {
			t.Errorf("%s: got %+v", url, o)
		}
		o, err = Config{URL: url}.options()
		if err != nil || o.PoolSize != maxConns || o.MinIdleConns != minIdleConns {
			t.Errorf("%s: got %v, %+v, want our own numbers", url, err, o)
		}
	}
}
