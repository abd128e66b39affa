package appsettings

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// errNoHTTP: the addresses are for https, or there is none.
var errNoHTTP = errors.New("has no http address: a sidecar listens without TLS")

// AddressOfURLs returns where ASP.NET would listen by the value of ASPNETCORE_URLS: the
// first http address, as HOST:PORT or unix:/path.
func AddressOfURLs(urls string) (string, error) {
	for url := range strings.SplitSeq(urls, ";") {
		url = strings.TrimSpace(url)
		if url == "" {
			continue
		}
		scheme, rest, ok := strings.Cut(url, "://")
		if !ok {
			return "", fmt.Errorf("%q is not a URL such as http://+:5000", url)
		}
		if strings.EqualFold(scheme, "http") {
			return addressOfURL(rest)
		}
	}
	return "", errNoHTTP
}

// AddressOfPorts is AddressOfURLs for ASPNETCORE_HTTP_PORTS.
func AddressOfPorts(ports string) (string, error) {
	for port := range strings.SplitSeq(ports, ";") {
		if port = strings.TrimSpace(port); port != "" {
			return join("", port)
		}
	}
	return "", errNoHTTP
}

// addressOfURL returns the address of a URL without its scheme. A host that is neither an
// address nor localhost means all addresses, as in ASP.NET, such as + and *.
func addressOfURL(url string) (string, error) {
	if path, ok := strings.CutPrefix(url, "unix:"); ok {
		if !strings.HasPrefix(path, "/") {
			return "", fmt.Errorf("unix:%s names no path that begins with a slash", path)
		}
		return "unix:" + path, nil
	}
	url, path, _ := strings.Cut(url, "/")
	if path != "" {
		return "", fmt.Errorf("/%s is a path, and must be left out", path)
	}
	host, port := url, "80"
	if i := strings.LastIndexByte(url, ':'); i > strings.LastIndexByte(url, ']') {
		host, port = url[:i], url[i+1:]
	}
	bare := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if bare == "" || strings.ContainsAny(bare, "[]") {
		return "", fmt.Errorf("%q names no host; + means all addresses", url)
	}
	if _, err := netip.ParseAddr(bare); err == nil {
		return join(bare, port)
	}
	if strings.EqualFold(host, "localhost") {
		return join("localhost", port)
	}
	return join("", port)
}

func join(host, port string) (string, error) {
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", fmt.Errorf("%q is not a port", port)
	}
	return net.JoinHostPort(host, strconv.FormatUint(number, 10)), nil
}
