package main

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// The demo's platform can be used by clients of one's own: at a port that is known, with
// a certificate that can be trusted.
func TestDemoPlatformIsForOtherClientsToo(t *testing.T) {
	ca, port := filepath.Join(t.TempDir(), "ca.pem"), freePorts(t, 1)[0]
	p := startProcess(t, nil, "demo", "--port", "0", "--idp-port", port, "--ca-out", ca)
	p.await(t, "Ctrl-C stops it.")
	output, err := runScript(t, t.TempDir(), "curl -sf --cacert "+ca+" https://127.0.0.1:"+port+"/mock/tokens/alice")
	if err != nil || !strings.HasPrefix(output, "ey") {
		t.Errorf("got %q, %v, want a token", output, err)
	}
}

func TestDemoSaysWhichFlagIsAtFault(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"--port", port}, "--port: "},
		{[]string{"--port", "0", "--idp-port", port}, "--idp-port: "},
		{[]string{"--port", "0", "--ca-out", t.TempDir()}, "--ca-out: "},
	} {
		p := startProcess(t, nil, append([]string{"demo"}, row.args...)...)
		if code := p.wait(t); code != 1 || !strings.HasPrefix(p.stdout.String(), row.want) {
			t.Errorf("%q: exit code %d, %q, want 1 and %s", row.args, code, p.stdout.String(), row.want)
		}
	}
}

// At port 80 the page was not found: browsers leave the default port out of the Host header.
func TestDemoHostIsThatOfBrowsers(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:80": "127.0.0.1", "127.0.0.1:8080": "127.0.0.1:8080", "127.0.0.1:180": "127.0.0.1:180",
	} {
		if got := webHost(address); got != want {
			t.Errorf("%s: got %s, want %s", address, got, want)
		}
	}
}
