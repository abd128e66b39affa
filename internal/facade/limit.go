package facade

import (
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"middletier/internal/problem"
)

const (
	// perSecond and burst are what one address may ask for on each route. Users behind one
	// gateway or NAT may share an address, and a sign-in takes one request on each.
	perSecond = 10
	burst     = 100

	// refill is how long an exhausted limit takes to fill up.
	refill = burst / perSecond * time.Second

	// maxAddresses is the least number of addresses that are counted, which takes some 5 MB at
	// most on each route. With more, those that called least recently start anew.
	maxAddresses = 10_000
)

// limit limits how often each address may use a route.
type limit struct {
	mu sync.Mutex // guards the rest
	// A limiter that was not used for refill is full, which is the same as new. So older can be
	// dropped after that time.
	recent, older map[netip.Prefix]*rate.Limiter
	rotated       time.Time // when recent became older
}

func newLimit() *limit {
	return &limit{recent: map[netip.Prefix]*rate.Limiter{}, rotated: time.Now()}
}

// take counts a request, and returns the error of one too many, for which it sets RateLimit
// (draft-ietf-httpapi-ratelimit-headers).
func (l *limit) take(address netip.Addr, h http.Header) error {
	now := time.Now()
	limiter := l.limiterFor(networkOf(address), now)
	if limiter.AllowN(now, 1) {
		return nil
	}
	h.Set("Ratelimit-Policy", fmt.Sprintf(`"address";q=%d;w=%d`, burst, refill/time.Second))
	h.Set("Ratelimit", fmt.Sprintf(`"address";r=0;t=%d`, refill/time.Second))
	return &problem.Error{Problem: problem.Problem{
		Kind: "rate-limited", Detail: "This address has sent more requests than the authorization server allows.", RetryAfter: time.Second,
	}}
}

func (l *limit) limiterFor(network netip.Prefix, now time.Time) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.rotated) >= refill || len(l.recent) >= maxAddresses {
		l.recent, l.older, l.rotated = map[netip.Prefix]*rate.Limiter{}, l.recent, now
	}
	limiter := l.recent[network]
	if limiter == nil {
		if limiter = l.older[network]; limiter == nil {
			limiter = rate.NewLimiter(perSecond, burst)
		}
		l.recent[network] = limiter
	}
	return limiter
}

// networkOf returns what counts as one address: of IPv6 the network that one site has, since
// it may choose any address in it.
func networkOf(address netip.Addr) netip.Prefix {
	address = address.Unmap().WithZone("")
	bits := 32
	if address.Is6() {
		bits = 64
	}
	network, err := address.Prefix(bits)
	if err != nil { // no address, such as that of a Unix socket
		return netip.Prefix{}
	}
	return network
}
