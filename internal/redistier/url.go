package redistier

import (
	"cmp"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// What of a Redis URL's parameters is used. Timeouts, retries and where to read are
// not for it to say.
var (
	placeParameters      = []string{"addr", "master_name", "db", "username", "password", "skip_verify"}
	connectionParameters = []string{
		"protocol", "client_name", "pool_size", "min_idle_conns", "max_idle_conns", "max_active_conns",
		"conn_max_idle_time", "conn_max_lifetime",
	}
)

// options reads the URL, for a single server, a cluster or a sentinel. Its errors
// quote nothing of it: any part may be one of a password.
func (c Config) options() (*redis.UniversalOptions, error) {
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
	errUnusedParameter = errors.New("has a parameter that is not used; these are: " +
		strings.Join(slices.Concat(placeParameters, connectionParameters), ", "))
	errParameterRange = errors.New("has a parameter out of range: numbers of connections are 0 or more, protocol is 2 or 3")
)
