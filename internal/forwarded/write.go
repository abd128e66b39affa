package forwarded

import (
	"net"
	"strings"
)

// IsHeader reports whether a header, named in canonical form, is one that this
// package writes.
func IsHeader(name string) bool {
	switch name {
	case "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix":
		return true
	}
	return false
}

// Write sets the headers that say who called, afresh, behind what trusted proxies
// said. o is complete, and remoteAddr the request's own peer. (RFC 7239, and the de
// facto X-Forwarded headers.)
func (o Origin) Write(set func(name, value string), remoteAddr string) {
	set("X-Forwarded-Proto", o.Proto)
	if o.Prefix != "" {
		set("X-Forwarded-Prefix", o.Prefix)
	}
	// How the client reached us: on the first.
	var how string
	if o.Host == "" { // HTTP/1.0, or said to be none
		how = ";proto=" + o.Proto
	} else {
		set("X-Forwarded-Host", o.Host)
		// Quoted as RFC 9110, section 5.6.4, says.
		how = `;host="` + quoting.Replace(o.Host) + `";proto=` + o.Proto
	}
	peer, _, err := net.SplitHostPort(remoteAddr)
	if err != nil { // as of a Unix socket
		set("Forwarded", "for=unknown"+how)
		return
	}
	list, elements := peer, "for="+node(peer)+how
	if len(o.For) > 0 {
		var addrs, nodes []string
		for _, addr := range o.For {
			addrs, nodes = append(addrs, addr.String()), append(nodes, "for="+node(addr.String()))
		}
		nodes[0] += how
		list = strings.Join(append(addrs, peer), ", ")
		elements = strings.Join(append(nodes, "for="+node(peer)), ", ")
	}
	set("X-Forwarded-For", list)
	set("Forwarded", elements)
}

// node writes an address as RFC 7239, section 6, says.
func node(addr string) string {
	if strings.Contains(addr, ":") {
		return `"[` + addr + `]"`
	}
	return addr
}

var quoting = strings.NewReplacer(`\`, `\\`, `"`, `\"`)
