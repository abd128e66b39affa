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

// Proxies are the networks of trusted proxies.
type Proxies struct {
	networks []netip.Prefix
	isPrefix func(path string) bool
}

// NewProxies parses CIDRs. It reports every mistake by its key, relative to the
// list. isPrefix reports whether a path is accepted as a Client's Prefix.
func NewProxies(cidrs []string, isPrefix func(path string) bool, report func(key, problem string)) *Proxies {
	p := &Proxies{isPrefix: isPrefix}
	for i, cidr := range cidrs {
		network, err := netip.ParsePrefix(cidr)
		if err != nil || network.Addr().Is4In6() {
			report(fmt.Sprintf("[%d]", i), "must be a CIDR, such as 10.0.0.0/8 or 192.0.2.7/32")
		}
		p.networks = append(p.networks, network)
	}
	return p
}

func (p *Proxies) trust(a netip.Addr) bool {
	return slices.ContainsFunc(p.networks, func(network netip.Prefix) bool { return network.Contains(a) })
}

// TrustsPeer reports whether the immediate peer of r is trusted.
func (p *Proxies) TrustsPeer(r *http.Request) bool {
	if len(p.networks) == 0 {
		return false
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && p.trust(peer.Addr().Unmap().WithZone(""))
}

// Client returns what the headers of r say about its client: nothing, unless the
// immediate peer is trusted. If there are headers of both kinds, X-Forwarded counts
// and Forwarded (RFC 7239) is ignored: most gateways write the former and pass a
// client's Forwarded on.
func (p *Proxies) Client(r *http.Request) Client {
	if !p.TrustsPeer(r) {
		return Client{}
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
		// The headers do not say which hop wrote which value, but the peer wrote the last.
		for i := range hops {
			hops[i].host, hops[i].proto = lastValue(hosts), lastValue(protos)
		}
	}
	c := p.clientOf(hops)
	// RFC 7239 has no parameter for it.
	if prefix := strings.TrimSuffix(lastValue(r.Header["X-Forwarded-Prefix"]), "/"); len(prefix) <= maxPrefix && p.isPrefix(prefix) {
		c.Prefix = prefix
	}
	return c
}

// maxPrefix is the length of the longest accepted prefix, in bytes.
const maxPrefix = 255

// lastValue returns the last value of a list that may span several header lines.
func lastValue(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	list := lines[len(lines)-1]
	return strings.TrimSpace(list[strings.LastIndexByte(list, ',')+1:])
}

// hop is what one proxy says about the request that it received: the address of its
// peer, the host and the scheme.
type hop struct{ node, host, proto string }

// clientOf goes back from the last hop, which the peer wrote, to the first one that
// a trusted proxy wrote: it describes the client. The client itself may have sent
// any hop before it.
func (p *Proxies) clientOf(hops []hop) Client {
	var c Client
	for _, h := range slices.Backward(hops) {
		c.Host, c.Proto = "", ""
		if isHost(h.host) {
			c.Host = h.host
		}
		if proto := strings.ToLower(h.proto); proto == "http" || proto == "https" {
			c.Proto = proto
		}
		addr, ok := parseNode(h.node)
		if !ok {
			break
		}
		c.For = append(c.For, addr)
		if !p.trust(addr) {
			break
		}
	}
	slices.Reverse(c.For)
	return c
}

// parseNode parses an address with or without a port.
func parseNode(s string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		var withPort netip.AddrPort
		withPort, err = netip.ParseAddrPort(s)
		addr = withPort.Addr()
	}
	return addr.Unmap(), err == nil && addr.Zone() == ""
}

// isHost reports whether s is a host, with or without a port, as in a URL.
func isHost(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune(".-_:[]", rune(c)) {
			return false
		}
	}
	u, err := url.Parse("//" + s)
	return err == nil && u.Hostname() != "" && len(s) <= 255
}

// parseForwarded parses a Forwarded header (RFC 7239, section 4). A malformed one
// has no hops.
func parseForwarded(s string) []hop {
	var hops []hop
	element := map[string]string{} // by name in lower case
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

// cutForwardedValue splits off the value, quoted or not, that s begins with. After
// it, the pair, the element or the header must end.
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
