package door

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// AllowedHosts are the hosts that a listener serves.
type AllowedHosts struct {
	any      bool
	names    map[string]bool
	suffixes []string // .example.com for *.example.com
}

// Any reports whether every host is allowed.
func (h *AllowedHosts) Any() bool { return h.any }

// NewAllowedHosts parses host names. It reports every mistake by its key, relative to the
// list. An empty list allows any host.
func NewAllowedHosts(list []string, report func(key, problem string)) *AllowedHosts {
	hosts := &AllowedHosts{any: len(list) == 0, names: map[string]bool{}}
	for i, entry := range list {
		suffix, wildcard := strings.CutPrefix(entry, "*.")
		name, ok := parseHost(suffix)
		switch {
		case entry == "*":
			hosts.any = true
		case !ok:
			report(fmt.Sprintf("[%d]", i), "must be a host name or an address without a port, such as api.contoso.example or *.contoso.example; "+
				"a name beyond ASCII as clients send it, in Punycode")
		case wildcard:
			hosts.suffixes = append(hosts.suffixes, "."+name)
		default:
			hosts.names[name] = true
		}
	}
	return hosts
}

// parseHost returns the name or the address of an entry, in the spelling of hostName. IPv6
// may have brackets.
func parseHost(entry string) (name string, ok bool) {
	if addr, err := netip.ParseAddr(entry); err == nil {
		return addr.String(), addr.Zone() == ""
	}
	name = hostName(entry)
	if strings.HasPrefix(entry, "[") {
		return name, name != "" && strings.HasSuffix(entry, "]")
	}
	return name, domainName.MatchString(name) && !strings.Contains(entry, ":")
}

// domainName matches a name as clients send it, in lower case.
var domainName = regexp.MustCompile(`^[a-z0-9_-]+(\.[a-z0-9_-]+)*$`)

// Allow reports whether a Host header, with or without a port, names an allowed host. Of
// HTTP/1.0 there may be none: no browser sends such a request.
func (h *AllowedHosts) Allow(host string) bool {
	if h.any || host == "" {
		return true
	}
	name := hostName(host)
	if h.names[name] {
		return true
	}
	for _, suffix := range h.suffixes {
		if len(name) > len(suffix) && strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// hostName returns the name or the address in a Host header, in one spelling: lower case,
// without port and dot at the end. It returns "" if the header is malformed.
func hostName(host string) string {
	name, port, hasPort := strings.Cut(host, ":")
	if rest, literal := strings.CutPrefix(host, "["); literal { // RFC 3986, section 3.2.2
		var closed bool
		name, port, closed = strings.Cut(rest, "]")
		addr, err := netip.ParseAddr(name)
		if !closed || err != nil || !addr.Is6() {
			return ""
		}
		name = addr.String()
		port, hasPort = strings.CutPrefix(port, ":")
		if !hasPort && port != "" {
			return ""
		}
	}
	if hasPort && strings.Trim(port, "0123456789") != "" {
		return ""
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}
