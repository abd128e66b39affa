package facade

import (
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"middletier/internal/problem"
	"middletier/internal/quota"
)

const (
	// perSecond and burst are what one address may ask for on each route. Users behind one
	// gateway or NAT may share an address, and a sign-in takes one request on each.
	perSecond = 10
	burst     = 100

	// maxAddresses is the least number of addresses that are counted, which takes some 5 MB at
	// most on each route. With more, those that called least recently start anew.
	maxAddresses = 10_000
)

// limit limits how often each address may use a route.
type limit struct{ *quota.Table[netip.Prefix] }

func newLimit() limit { return limit{quota.New[netip.Prefix](perSecond, burst, maxAddresses)} }

// take counts a request, and returns the error of one too many, for which it sets RateLimit
// (draft-ietf-httpapi-ratelimit-headers).
func (l limit) take(address netip.Addr, h http.Header) error {
	now := time.Now()
	if l.Of(networkOf(address), now).AllowN(now, 1) {
		return nil
	}
	h.Set("Ratelimit-Policy", fmt.Sprintf(`"address";q=%d;w=%d`, burst, l.Refill()/time.Second))
	h.Set("Ratelimit", fmt.Sprintf(`"address";r=0;t=%d`, l.Refill()/time.Second))
	return &problem.Error{Problem: problem.Problem{
		Kind: "rate-limited", Detail: "This address has sent more requests than the authorization server allows.", RetryAfter: time.Second,
	}}
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
