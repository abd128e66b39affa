package forwarded

import (
	"net"
	"strings"
)

// IsHeader reports whether this package writes the header with a canonical name.
func IsHeader(name string) bool {
	switch name {
	case "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix":
		return true
	}
	return false
}

// Write sets the headers for the next hop. c must be complete; remoteAddr is the
// request's own peer, which is added to the end of the list (RFC 7239, section 4,
// and the de facto X-Forwarded headers).
func (c Client) Write(set func(name, value string), remoteAddr string) {
	set("X-Forwarded-Proto", c.Proto)
	if c.Prefix != "" {
		set("X-Forwarded-Prefix", c.Prefix)
	}
	// Host and scheme describe the client's request: they belong to the first hop.
	before, host, after := "", "", ";proto="
	if c.Host != "" { // not HTTP/1.0
		set("X-Forwarded-Host", c.Host)
		before, host, after = `;host="`, quote(c.Host), `";proto=`
	}
	peer, _, err := net.SplitHostPort(remoteAddr)
	if err != nil { // such as a Unix socket
		set("Forwarded", "for=unknown"+before+host+after+c.Proto)
		return
	}
	if len(c.For) == 0 {
		set("X-Forwarded-For", peer)
		set("Forwarded", "for="+node(peer)+before+host+after+c.Proto)
		return
	}
	var addrs, nodes []string
	for _, addr := range c.For {
		addrs, nodes = append(addrs, addr.String()), append(nodes, "for="+node(addr.String()))
	}
	nodes[0] += before + host + after + c.Proto
	set("X-Forwarded-For", strings.Join(append(addrs, peer), ", "))
	set("Forwarded", strings.Join(append(nodes, "for="+node(peer)), ", "))
}

// node returns an address in the form of RFC 7239, section 6.
func node(addr string) string {
	if strings.Contains(addr, ":") {
		return `"[` + addr + `]"`
	}
	return addr
}

// quote returns what stands between the quotes of a quoted string (RFC 9110, section
// 5.6.4).
func quote(s string) string {
	if strings.IndexByte(s, '"') < 0 && strings.IndexByte(s, '\\') < 0 { // every usual host
		return s
	}
	return quoting.Replace(s)
}

var quoting = strings.NewReplacer(`\`, `\\`, `"`, `\"`)
