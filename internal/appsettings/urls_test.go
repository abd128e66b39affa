package appsettings_test

import (
	"net"
	"strings"
	"testing"

	"middletier/internal/appsettings"
	"middletier/internal/listener"
)

func TestAddressesOfASPNET(t *testing.T) {
	const noHTTP = "has no http address: a sidecar listens without TLS"
	for _, row := range []struct{ urls, want, problem string }{
		{urls: "http://+:5000", want: ":5000"},
		{urls: "http://*:5000", want: ":5000"},
		{urls: "HTTP://*:80;https://*:443", want: ":80"},
		{urls: "https://*:443; http://*:8080/ ;", want: ":8080"},
		{urls: "http://0.0.0.0:5000", want: "0.0.0.0:5000"},
		{urls: "http://127.0.0.1:5178", want: "127.0.0.1:5178"},
		{urls: "http://[::]:8080", want: "[::]:8080"},
		{urls: "http://[::1]", want: "[::1]:80"},
		{urls: "http://localhost:5178", want: "localhost:5178"},
		{urls: "http://LOCALHOST", want: "localhost:80"},
		{urls: "http://sidecar.contoso.example:5000", want: ":5000"}, // as Kestrel does
		{urls: "http://+", want: ":80"},
		{urls: "http://+:05000", want: ":5000"},
		{urls: "http://unix:/run/sidecar.sock", want: "unix:/run/sidecar.sock"},
		{urls: "http://unix:run/sidecar.sock", problem: "unix:run/sidecar.sock names no path that begins with a slash"},
		{urls: "https://+:5001", problem: noHTTP},
		{urls: " ; ", problem: noHTTP},
		{urls: "+:5000", problem: `"+:5000" is not a URL such as http://+:5000`},
		{urls: "http://:5000", problem: `":5000" names no host; + means all addresses`},
		{urls: "http://+:5000/base", problem: "/base is a path, and must be left out"},
		{urls: "http://+:70000", problem: `"70000" is not a port`},
		{urls: "http://+:-1", problem: `"-1" is not a port`},
		{urls: "http://+:", problem: `"" is not a port`},
		{urls: "http://+:5000;+", want: ":5000"},
	} {
		got, err := appsettings.AddressOfURLs(row.urls)
		checkAddress(t, "ASPNETCORE_URLS="+row.urls, got, err, row.want, row.problem)
	}
	for _, row := range []struct{ ports, want, problem string }{
		{ports: "8080", want: ":8080"},
		{ports: " 5000 ; 8080", want: ":5000"},
		{ports: ";", problem: noHTTP},
		{ports: "http", problem: `"http" is not a port`},
	} {
		got, err := appsettings.AddressOfPorts(row.ports)
		checkAddress(t, "ASPNETCORE_HTTP_PORTS="+row.ports, got, err, row.want, row.problem)
	}
}

func checkAddress(t *testing.T, what, got string, err error, want, problem string) {
	t.Helper()
	gotProblem := ""
	if err != nil {
		gotProblem = err.Error()
	}
	if got != want || gotProblem != problem {
		t.Errorf("%s: got %q, %q, want %q, %q", what, got, gotProblem, want, problem)
	}
}

// Whatever the variables hold, the result is an address or an error.
func FuzzAddressesOfASPNET(f *testing.F) {
	for _, seed := range []string{"http://+:5000", "http://[::1]:80;https://*", "http://unix:/a", "8080;80", "http://[fe80::1%eth0]:1", "http://]:[:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for _, parse := range []func(string) (string, error){appsettings.AddressOfURLs, appsettings.AddressOfPorts} {
			address, err := parse(value)
			if err != nil {
				continue
			}
			if _, ok := listener.UnixPath(address); ok {
				continue
			}
			host, _, err := net.SplitHostPort(address)
			if err != nil || host != "" && host != "localhost" && !strings.ContainsAny(host, ".:") {
				t.Errorf("%q: got %q (%v), want an address to listen at", value, address, err)
			}
		}
	})
}
