package main

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"middletier/internal/config"
	"middletier/internal/secretfile"
)

// check reports mistakes in the clients of POST /oauth2/token. apis are the names of the
// configured APIs.
func (k sidecarKeys) check(apis []string, report report) {
	seen := map[string]bool{}
	for i, client := range k.TokenClients {
		section := under(fmt.Sprintf("tokenClients[%d]", i), report)
		switch {
		case client.ClientID == "":
			section("clientId", "must be set: the name by which the program authenticates")
		case seen[client.ClientID]:
			section("clientId", "is the name of an earlier entry")
		}
		seen[client.ClientID] = true
		if client.ClientSecretFile == "" {
			section("clientSecretFile", "must be set: a file that holds the program's secret")
		}
		if len(client.APIs) == 0 {
			section("apis", "must list the APIs for which the program gets tokens")
		}
		for j, name := range client.APIs {
			if !slices.ContainsFunc(apis, func(known string) bool { return strings.EqualFold(known, name) }) {
				nearest := config.Closest(name, apis)
				section(fmt.Sprintf("apis[%d]", j), "is not below downstreamApis; the nearest are: "+
					strings.Join(nearest[:min(len(nearest), 5)], ", "))
			}
		}
	}
}

// checkLoading reports secrets of clients that cannot be read.
func (k sidecarKeys) checkLoading(report report) {
	for i, client := range k.TokenClients {
		if client.ClientSecretFile == "" {
			continue // reported already
		}
		if _, err := secretfile.ReadSecret(client.ClientSecretFile); err != nil {
			report(fmt.Sprintf("tokenClients[%d].clientSecretFile", i), err.Error())
		}
	}
}

// warnOfSidecar reports who may do what on the sidecar listener, where that is more than
// an application on this machine that acts for users who are there.
func (f file) warnOfSidecar(report report) {
	section := under("sidecar", report)
	if f.Server.SidecarAddress == "" {
		if !reflect.DeepEqual(f.Sidecar, defaults().Sidecar) {
			section("", "has no effect without server.sidecarAddress")
		}
		return
	}
	for i, cidr := range f.Sidecar.AllowedCallers {
		if network, err := netip.ParsePrefix(cidr); err == nil && !isLoopback(network) {
			section(fmt.Sprintf("allowedCallers[%d]", i), "everyone at "+cidr+" is the application itself: "+
				"they get its tokens, and those of users and agents, without a credential")
		}
	}
	const open = "whoever calls the listener gets tokens as any agent of this application, and as its agents' users, " +
		"for any scopes and tenant, without a user's token"
	gates := f.Sidecar.AllowOverrides
	if gates.GetAuthorizationHeaderUnauthenticated {
		section("allowOverrides.getAuthorizationHeaderUnauthenticated", "it is open, as Microsoft's Agents SDKs need it: "+open)
	}
	if gates.CallDownstreamAPIUnauthenticated {
		section("allowOverrides.callDownstreamApiUnauthenticated", "it is open: "+open)
	}
	if (gates.GetAuthorizationHeaderUnauthenticated || gates.CallDownstreamAPIUnauthenticated) && f.TokenCache.Redis.URL == "" {
		report("tokenCache.redis.url", "without it, the keys of long-running sessions are in the memory of one process, and end with it")
	}
	if len(f.Sidecar.TokenClients) > 0 {
		section("tokenClients", "the listener has no TLS: secrets and tokens must come through a proxy that has it. "+
			"A proxy on this machine must forward POST /oauth2/token only, since it is the application to every other route; "+
			"and it must send X-Forwarded-For, without which its clients are the application on this route too")
	}
}

// isLoopback reports whether all addresses of network are this machine's own.
func isLoopback(network netip.Prefix) bool {
	bits := 8 // 127.0.0.0/8
	if network.Addr().Is6() {
		bits = 128 // ::1/128
	}
	return network.Addr().IsLoopback() && network.Bits() >= bits
}
