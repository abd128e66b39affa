package sidecar

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestPeers(t *testing.T) {
	noMistake := func(key, problem string) { t.Errorf("%s: %s", key, problem) }
	loopback := callers{networks: newNetworks([]string{"127.0.0.0/8", "::1/128"}, noMistake)}
	bridge := callers{networks: newNetworks([]string{"172.17.0.0/16", "fd00::/8"}, noMistake)}
	nobody := callers{}
	tcp, unix := &net.TCPAddr{}, &net.UnixAddr{Name: "/run/middletier.sock", Net: "unix"}
	for _, row := range []struct {
		who   callers
		local net.Addr
		peer  string
		want  bool
	}{
		{loopback, tcp, "127.0.0.1:1", true},
		{loopback, tcp, "127.9.9.9:1", true},
		{loopback, tcp, "[::1]:1", true},
		{loopback, tcp, "[::ffff:127.0.0.1]:1", true},
		{loopback, tcp, "172.17.0.2:1", false},
		{loopback, tcp, "[::ffff:172.17.0.2]:1", false},
		{loopback, tcp, "[fe80::1%eth0]:1", false},
		{loopback, tcp, "128.0.0.1:1", false},
		{loopback, tcp, "@", false},
		{loopback, tcp, "", false},
		{bridge, tcp, "172.17.0.2:1", true},
		{bridge, tcp, "[fd12::1%eth0]:1", true},
		{bridge, tcp, "127.0.0.1:1", false},
		{nobody, tcp, "127.0.0.1:1", false},
		{nobody, unix, "@", true},
		{nobody, unix, "", true},
	} {
		r := httptest.NewRequest("GET", "/Validate", nil)
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, row.local))
		r.RemoteAddr = row.peer
		r.Header.Set("X-Forwarded-For", "127.0.0.1")
		if got := row.who.allowsPeer(r); got != row.want {
			t.Errorf("%q at %v: got %v, want %v", row.peer, row.local, got, row.want)
		}
	}
}

func TestMistakesInAllowedCallers(t *testing.T) {
	var mistakes string
	newNetworks([]string{"10.0.0.0/8", "10.0.0.1", "::ffff:10.0.0.0/104", "localhost", "10.0.0.1/8", "fd00::/8", ""},
		func(key, _ string) { mistakes += key })
	if want := "[1][2][3][6]"; mistakes != want {
		t.Errorf("got %s, want %s", mistakes, want)
	}
}
