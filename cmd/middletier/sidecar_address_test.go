package main

import (
	"os"
	"strings"
	"testing"
)

// Where the public and the sidecar listener are, by the keys and by the variables that
// manifests for Microsoft's container have.
func TestSidecarAddress(t *testing.T) {
	t.Chdir(t.TempDir())
	const notAnAddress = "server.sidecarAddress: must be HOST:PORT, such as 127.0.0.1:5178, or unix:/path, auto or off"
	for _, row := range []struct {
		name            string
		yaml            string // of server
		environ         []string
		public, sidecar string
		problem         string // begins with it, after the place
	}{
		{name: "none", public: ":8080"},
		{name: "an address", yaml: "{sidecarAddress: 127.0.0.1:6000}", public: ":8080", sidecar: "127.0.0.1:6000"},
		{name: "a socket alone", yaml: "{address: off, sidecarAddress: unix:/run/s}", sidecar: "unix:/run/s"},
		{name: "auto", yaml: "{sidecarAddress: auto}", public: ":8080", sidecar: "127.0.0.1:5178"},
		{
			name: "auto, as ASP.NET would", yaml: "{sidecarAddress: auto}",
			environ: []string{"ASPNETCORE_URLS=http://+:5000"}, public: ":8080", sidecar: ":5000",
		},
		{
			name: "auto, by ports", yaml: "{sidecarAddress: auto, address: off}",
			environ: []string{"ASPNETCORE_HTTP_PORTS=5000"}, sidecar: ":5000",
		},
		{name: "auto from the environment", environ: []string{"SERVER__SIDECARADDRESS=AUTO"}, public: ":8080", sidecar: "127.0.0.1:5178"},
		{name: "not auto", environ: []string{"ASPNETCORE_HTTP_PORTS=5000"}, public: ":8080"},
		{
			name:    "by a gate",
			environ: []string{"Sidecar__AllowOverrides__GetAuthorizationHeaderUnauthenticated=true"}, sidecar: "127.0.0.1:5178",
		},
		{
			name:    "by a gate, and PORT",
			environ: []string{"Sidecar__AllowOverrides__CallDownstreamApi=false", "PORT=80"}, sidecar: "127.0.0.1:5178",
		},
		{
			name:    "by a gate, and an address",
			environ: []string{"Sidecar__AllowOverrides__CallDownstreamApi=false", "Server__Address=:80"}, public: ":80", sidecar: "127.0.0.1:5178",
		},
		{name: "by an empty gate", environ: []string{"Sidecar__AllowOverrides__CallDownstreamApi="}, public: ":8080"},
		{name: "off", environ: []string{"Sidecar__AllowOverrides__CallDownstreamApi=false", "Server__SidecarAddress=off"}, public: ":8080"},
		{
			name: "no listener", yaml: "{address: off, sidecarAddress: off}",
			problem: "server.address: must be HOST:PORT, such as :8080: without server.sidecarAddress there would be nothing to serve",
		},
		{name: "no port", yaml: "{sidecarAddress: localhost}", problem: notAnAddress},
		{name: "a socket without a path", yaml: `{sidecarAddress: "unix:"}`, problem: notAnAddress},
		{name: "a relative path", yaml: "{sidecarAddress: unix:s}", problem: notAnAddress},
		{
			name: "the public listener's port", yaml: "{sidecarAddress: auto}",
			environ: []string{"ASPNETCORE_HTTP_PORTS=8080"},
			problem: "server.sidecarAddress: has the port of server.address, :8080",
		},
		{
			name: "the admin listener's port", yaml: "{sidecarAddress: 0.0.0.0:8081}",
			problem: "server.sidecarAddress: has the port of server.adminAddress, 127.0.0.1:8081",
		},
		{
			name: "a port on two addresses", yaml: "{address: 127.0.0.2:5178, sidecarAddress: auto}",
			public: "127.0.0.2:5178", sidecar: "127.0.0.1:5178",
		},
		{
			name: "https alone", yaml: "{sidecarAddress: auto}",
			environ: []string{"ASPNETCORE_URLS=https://+:443"},
			problem: "ASPNETCORE_URLS: has no http address: a sidecar listens without TLS",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := ""
			if row.yaml != "" {
				text = "server: " + row.yaml + "\n"
			}
			if err := os.WriteFile("config.yaml", []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			f, _, err := configFlag{}.load(append(row.environ, aloneEnviron...))
			if row.problem != "" {
				if err == nil || !strings.Contains(err.Error(), ": "+row.problem) {
					t.Errorf("got %v, want %s", err, row.problem)
				}
				return
			}
			if err != nil || f.Server.Address != row.public || f.Server.SidecarAddress != row.sidecar {
				t.Errorf("got %q and %q, %v; want %q and %q", f.Server.Address, f.Server.SidecarAddress, err, row.public, row.sidecar)
			}
		})
	}
}
