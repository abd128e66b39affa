package api

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"middletier/internal/downstream"
)

// proxies are the networks whose word on where a request came from is believed.
type proxies []netip.Prefix

// parseProxies reads CIDRs. It reports mistakes by their index.
func parseProxies(cidrs []string, report func(key, problem string)) proxies {
	var all proxies
	for i, cidr := range cidrs {
		p, err := netip.ParsePrefix(cidr)
		if err != nil || p.Addr().Is4In6() {
			report(fmt.Sprintf("trustedProxies[%d]", i), "must be a CIDR, as 10.0.0.0/8 or 192.0.2.7/32")
		}
		all = append(all, p)
	}
	return all
}

func (p proxies) trust(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(network netip.Prefix) bool { return network.Contains(a) })
}

// sent reports whether the immediate peer of r is trusted.
func (p proxies) sent(r *http.Request) bool {
	if len(p) == 0 {
		return false
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && p.trust(peer.Addr().Unmap().WithZone(""))
}

// origin returns what is believed of where r came from: nothing, unless its
// immediate peer is trusted. Where the peer sends both kinds of headers the
// X-Forwarded ones count, and Forwarded (RFC 7239) is not looked at: most gateways
// write the former and let a client's Forwarded through.
func (p proxies) origin(r *http.Request) downstream.Origin {
	if !p.sent(r) {
		return downstream.Origin{}
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
	if prefix := strings.TrimSuffix(lastOf(r.Header["X-Forwarded-Prefix"]), "/"); len(prefix) <= maxPrefix && isPlainPath(prefix) {
		o.Prefix = prefix
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
func (p proxies) believe(hops []hop) downstream.Origin {
	var o downstream.Origin
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
