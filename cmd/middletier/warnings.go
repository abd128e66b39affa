package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// warn reports probable mistakes, which do not keep the service from starting.
func (f file) warn(report report) {
	f.apiConfig().CORS.Warn(under("server.cors", report))
	f.siteConfig().Warn(under("server", report))
	if f.Server.WebRoot != "" && f.Server.Address == "" {
		report("server.webRoot", "has no effect, since server.address is off: the sidecar listener serves no files")
	}
	if len(f.DownstreamAPIs) == 0 && f.Server.SidecarAddress == "" {
		report("downstreamApis", "there is no API that requests could be forwarded to")
	}
	if len(f.Server.TrustedProxies) > 0 && f.Server.PublicURL == "" {
		report("server.publicUrl", "it is not set, so challenges, metadata and problem types name the host that each request names, "+
			"as server.trustedProxies say. Set it to the URL that clients call")
	}
	if f.Server.Address == "" && len(f.Server.AllowedHosts) > 0 {
		report("server.allowedHosts", "has no effect, since server.address is off: the sidecar listener serves local names, "+
			"and those of sidecar.allowedHosts")
	}
	if f.Server.EasyAuth && len(f.Server.TrustedProxies) == 0 {
		report("server.easyAuth", "server.trustedProxies does not list the platform's front end, so requests of the service's own pages "+
			"may count as cross-site: their origin is https, and the front end calls the service over http")
	}
	for i, entry := range f.AzureAd.ClientCredentials {
		entry.Warn(under(fmt.Sprintf("azureAd.clientCredentials[%d]", i), report))
		if f.AzureAd.SendX5C && !entry.Skip && entry.SourceType == "Path" && entry.CertificateDiskPath == "" {
			report("azureAd.sendX5C", fmt.Sprintf("has no effect on clientCredentials[%d], which has a key and no certificate", i))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.DownstreamAPIs)) {
		d, section := f.DownstreamAPIs[name], under("downstreamApis."+name, report)
		f.warnOfListeners(d, section)
		f.warnOfClients(d, under("access", section))
		if f.Server.Address != "" {
			d.MCP.warn(name, f.apiConfig().FixedURL(), under("mcp", section))
		}
		f.warnOfAuthorizationServer(d, under("mcp.authorizationServer", section))
		if total := f.requestTimeout(d); d.Timeout > total {
			section("timeout", fmt.Sprintf("%s is longer than requestTimeout, which ends a request after %s", d.Timeout, total))
		}
	}
	f.warnOfSidecar(report)
	f.warnOfSession(report)
}

// warnOfListeners reports keys of d that have no effect on a listener that there is, and
// what is missing for it.
func (f file) warnOfListeners(d downstreamAPI, report report) {
	if f.Server.Address == "" {
		if len(d.Access) > 0 {
			report("access", "has no effect: access rules do not apply to the sidecar listener, and server.address is off")
		}
		return
	}
	switch {
	case d.BaseURL == "":
		report("baseUrl", "it is not set, so /api and /app do not know the API: it is for the sidecar listener only")
	case len(d.Scopes)+len(d.AppScopes) == 0:
		report("scopes", "there are none, so /api and /app do not know the API: it is for the sidecar listener only")
	case len(d.Access) == 0:
		report("access", "an API without access rules refuses every request. "+f.AzureAd.suggestRules(d))
	}
	for _, k := range []struct {
		key   string
		isSet bool
	}{
		{"relativePath", d.RelativePath != ""},
		{"httpMethod", d.HTTPMethod != ""},
		{"acceptHeader", d.AcceptHeader != ""},
		{"contentType", d.ContentType != ""},
		{"extraQueryParameters", len(d.ExtraQuery) > 0},
	} {
		if k.isSet {
			report(k.key, callerCounts)
		}
	}
	if len(d.ExtraHeader) > 0 {
		names := slices.Sorted(maps.Keys(d.ExtraHeader))
		report("extraHeaderParameters", callerCounts+"; to send the headers with every request: requestHeaders: {set: {"+
			strings.Join(names, ": …, ")+": …}}")
	}
}

const callerCounts = "has no effect on /api and /app: there, the caller's request decides"

// suggestRules says which access rules d could have. If d's scopes are this service's
// own, they can be required of callers. Of an API that is called as the application only,
// no user's token is let in.
func (a azureAd) suggestRules(d downstreamAPI) string {
	if d.appOnly() {
		return "With an app role of this service in place of the name: access: [{appPermissions: [APP-ROLE]}]"
	}
	var own []string
	for _, scope := range d.Scopes {
		for _, resource := range []string{a.idURI(), "api://" + a.ClientID, a.ClientID} {
			if name, ok := strings.CutPrefix(scope, resource+"/"); ok && name != ".default" && !slices.Contains(own, name) {
				own = append(own, name)
			}
		}
	}
	if own != nil {
		return fmt.Sprintf("To allow users with its scopes: access: [{scopes: [%s]}]", strings.Join(own, ", "))
	}
	return "With scopes of this service in place of the two names: " +
		"access: [{methods: [GET, HEAD], scopes: [SCOPE-TO-READ]}, {scopes: [SCOPE-TO-WRITE]}]"
}

// warnOfFiles reports every file that serve needs and cannot read: secrets, certificates
// and passwords. A pipeline that checks a configuration before its deployment has none.
func (f file) warnOfFiles(report report) {
	checkServing(f, func(key, problem string) { report(key, problem+". serve does not start without it") })
}

// warnOfClients reports lists of clients in the access rules of d that do not mean what
// they seem to.
func (f file) warnOfClients(d downstreamAPI, report report) {
	allowed := f.AzureAd.AllowedClients
	for i, rule := range d.Access {
		if len(rule.Clients) > 0 && len(rule.Scopes) > 0 && len(rule.AppPermissions) == 0 {
			report(fmt.Sprintf("[%d].clients", i), "the list does not restrict users: it only lets these applications in on /app, "+
				"where all others are refused. To restrict which applications users may use, set azureAd.allowedClients")
		}
		for j, client := range rule.Clients {
			if len(allowed) > 0 && !slices.ContainsFunc(allowed, func(id string) bool { return strings.EqualFold(id, client) }) {
				report(fmt.Sprintf("[%d].clients[%d]", i, j), "azureAd.allowedClients does not list it, so its tokens are refused")
			}
		}
	}
}
