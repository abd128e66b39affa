package sidecar

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"middletier/internal/door"
	"middletier/internal/problem"
)

// callers are who may call this listener: the application is known by where it runs.
type callers struct {
	networks []netip.Prefix
	hosts    *door.AllowedHosts
}

// newNetworks parses CIDRs. It reports every mistake by its index.
func newNetworks(cidrs []string, report func(key, problem string)) []netip.Prefix {
	var networks []netip.Prefix
	for i, cidr := range cidrs {
		network, err := netip.ParsePrefix(cidr)
		if err != nil || network.Addr().Is4In6() {
			report(fmt.Sprintf("[%d]", i), "must be a CIDR, such as 127.0.0.0/8 or 172.17.0.1/32")
			continue
		}
		networks = append(networks, network.Masked())
	}
	return networks
}

var (
	errPeer = problem.New("caller-not-allowed", "This address may not call the sidecar listener: it is not in sidecar.allowedCallers.")
	errHost = invalid("The request names a host that the sidecar listener does not serve.")
	errPage = problem.New("cross-site-request", "The sidecar listener serves the application, not web pages in a browser.")
)

// check returns why r is refused, or nil. Forwarded headers are not read: any caller can
// write one.
func (c *callers) check(r *http.Request) error {
	switch {
	case !c.allowsPeer(r):
		return errPeer
	case !c.hosts.Allow(r.Host):
		return errHost
	case isPage(r.Header):
		return errPage
	}
	return nil
}

// allowsPeer reports whether the peer's address is an allowed one. Whoever can open a Unix
// socket is local; its mode decides who can.
func (c *callers) allowsPeer(r *http.Request) bool {
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		addr := peer.Addr().Unmap().WithZone("")
		for _, network := range c.networks { // first, since the search for the local address takes longer
			if network.Contains(addr) {
				return true
			}
		}
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && local.Network() == "unix"
}

// isPage reports whether a browser sends the request for a web page of another origin.
// Any page can send requests to this machine, and a name of its own that resolves to
// 127.0.0.1 lets it read the answers. Browsers send Origin with all but plain GET
// requests, and Sec-Fetch-Site with all (Fetch Metadata Request Headers, section 2.3).
func isPage(h http.Header) bool {
	if h["Origin"] != nil {
		return true
	}
	return slices.ContainsFunc(h["Sec-Fetch-Site"], func(site string) bool {
		site = strings.TrimSpace(site)
		return site != "none" && site != "same-origin"
	})
}
