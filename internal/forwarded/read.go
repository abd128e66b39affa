// Package forwarded reads and writes who called, as proxies say.
package forwarded

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Proxies are the networks whose word on where a request came from is believed.
type Proxies struct {
	networks []netip.Prefix
	isPrefix func(path string) bool // reports whether path can be a prefix that a proxy took off
}

// NewProxies reads CIDRs. It reports every mistake by its key, relative to the
// list.
func NewProxies(cidrs []string, isPrefix func(path string) bool, report func(key, problem string)) *Proxies {
	p := &Proxies{isPrefix: isPrefix}
	for i, cidr := range cidrs {
		network, err := netip.ParsePrefix(cidr)
		if err != nil || network.Addr().Is4In6() {
			report(fmt.Sprintf("[%d]", i), "must be a CIDR, as 10.0.0.0/8 or 192.0.2.7/32")
		}
		p.networks = append(p.networks, network)
	}
	return p
}

func (p *Proxies) trust(a netip.Addr) bool {
	return slices.ContainsFunc(p.networks, func(network netip.Prefix) bool { return network.Contains(a) })
}

// Sent reports whether the immediate peer of r is trusted.
func (p *Proxies) Sent(r *http.Request) bool {
	if len(p.networks) == 0 {
		return false
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && p.trust(peer.Addr().Unmap().WithZone(""))
}

// Origin returns what is believed of where r came from: nothing, unless its
// immediate peer is trusted. Where the peer sends both kinds of headers the
// X-Forwarded ones count, and Forwarded (RFC 7239) is not looked at: most gateways
// write the former and let a client's Forwarded through.
func (p *Proxies) Origin(r *http.Request) Origin {
	if !p.Sent(r) {
		return Origin{}
	}
	nodes, hosts, protos := r.Header["X-Forwarded-For"], r.Header["X-Forwarded-Host"], r.Header["X-Forwarded-Proto"]
	var hops []hop
	if nodes == nil && hosts == nil && protos == nil {
		hops = parseForwarded(strings.Join(r.Header["Forwarded"], ","))
	} else {
		hops = []hop{{}}
		if nodes != nil {
			hops = hops[:0]
			for node := range strings.SplitSeq(strings.Join(nodes, ","), ",") {
				hops = append(hops, hop{node: strings.TrimSpace(node)})
			}
		}
		// Which hop of several wrote which value is not said: the peer the last.
		for i := range hops {
			hops[i].host, hops[i].proto = lastOf(hosts), lastOf(protos)
		}
	}
	o := p.believe(hops)
	// What the peer took off the path; RFC 7239 has no word for it.
	if prefix := strings.TrimSuffix(lastOf(r.Header["X-Forwarded-Prefix"]), "/"); len(prefix) <= maxPrefix && p.isPrefix(prefix) {
		o.Prefix = prefix
	}
	return o
}

// Origin is where a call came from on its way to us, as far as trusted proxies
// say. What is empty nobody said: it is as the request shows.
type Origin struct {
	For         []netip.Addr // the client first, without the request's own peer
	Host, Proto string
	Prefix      string // of the path, which a proxy took off; without a slash at its end
}

// Of returns o, completed by what r itself shows. Host stays empty where r names
// none.
func (o Origin) Of(r *http.Request) Origin {
	if o.Host == "" {
		o.Host = r.Host
	}
	switch {
	case o.Proto != "":
	case r.TLS != nil:
		o.Proto = "https"
	default:
		o.Proto = "http"
	}
	return o
}

// maxPrefix is how long a prefix may be, in bytes.
const maxPrefix = 255

// lastOf returns the last value of a list that may be spread over several lines.
func lastOf(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	list := lines[len(lines)-1]
	return strings.TrimSpace(list[strings.LastIndexByte(list, ',')+1:])
}

// hop is what one proxy says of the request it got: from where, for which host, in
// which way.
type hop struct{ node, host, proto string }

// believe goes from the last hop, which the peer wrote, to the first that a
// trusted proxy wrote: the client's. What is further left the client itself may
// have sent.
func (p *Proxies) believe(hops []hop) Origin {
	var o Origin
	for _, h := range slices.Backward(hops) {
		o.Host, o.Proto = "", ""
		if isHost(h.host) {
			o.Host = h.host
		}
		if proto := strings.ToLower(h.proto); proto == "http" || proto == "https" {
			o.Proto = proto
		}
		addr, ok := parseNode(h.node)
		if !ok {
			break
		}
		o.For = append(o.For, addr)
		if !p.trust(addr) {
			break
		}
	}
	slices.Reverse(o.For)
	return o
}

// parseNode reads an address, with or without a port.
func parseNode(s string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		var withPort netip.AddrPort
		withPort, err = netip.ParseAddrPort(s)
		addr = withPort.Addr()
	}
	return addr.Unmap(), err == nil && addr.Zone() == ""
}

// isHost reports whether s is a host, with or without a port, that can stand in a
// URL.
func isHost(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune(".-_:[]", rune(c)) {
			return false
		}
	}
	u, err := url.Parse("//" + s)
	return err == nil && u.Hostname() != "" && len(s) <= 255
}

// parseForwarded reads the elements of a Forwarded header (RFC 7239, section 4).
// One that is malformed anywhere says nothing.
func parseForwarded(s string) []hop {
	var hops []hop
	element := map[string]string{} // of lower-case names
	end := func() {
		if len(element) > 0 {
			hops = append(hops, hop{element["for"], element["host"], element["proto"]})
			element = map[string]string{}
		}
	}
	for {
		s = strings.TrimLeft(s, " \t")
		switch {
		case s == "":
			end()
			return hops
		case s[0] == ',':
			end()
			s = s[1:]
			continue
		case s[0] == ';':
			s = s[1:]
			continue
		}
		name, rest, _ := strings.Cut(s, "=")
		name = strings.ToLower(name)
		value, rest, ok := cutForwardedValue(rest)
		if _, twice := element[name]; twice || !ok || !httpguts.ValidHeaderFieldName(name) {
			return nil
		}
		element[name], s = value, rest
	}
}

// cutForwardedValue takes a value off the front, quoted or not, behind which the
// pair, the element or the header ends.
func cutForwardedValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, " \t,;")
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:], httpguts.ValidHeaderFieldName(s[:end]) || isHost(s[:end])
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			rest = strings.TrimLeft(s[i+1:], " \t")
			return b.String(), rest, rest == "" || rest[0] == ',' || rest[0] == ';'
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}
