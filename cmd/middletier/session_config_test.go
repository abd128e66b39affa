package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	webAppID = "33333333-3333-4333-8333-333333333333"

	noSharedSessions = "tokenCache.redis.url: warning: without it, sessions are in the memory of one process, and end with it: " +
		"with several replicas, a user is signed in at one of them only"
	sharedRegistration = "session.clientId: warning: the web app is azureAd.clientId, the service itself, whose token for itself Entra may refuse to exchange. " +
		"Give the web app a registration of its own (docs/registering.md)"
	needsSID = "session.remoteSignOutPath: warning: a sign-out elsewhere ends sessions only if ID tokens have the claim sid: " +
		"add it to the optional claims of the web app's registration (docs/registering.md)"
)

// What check says about sessions: mistakes, else warnings.
func TestSessionConfigurationIsChecked(t *testing.T) {
	const (
		public  = "server: {publicUrl: https://app.contoso.example}\n"
		own     = "session: {enabled: true, clientId: " + webAppID + ", clientCredentials: [{sourceType: ClientSecret, clientSecret: s3cret}]"
		wantURL = "server.publicUrl: must be set to an https URL where session.enabled is true, or to an http URL of this machine: " +
			"the identity provider sends browsers back to it, and cookies are for it alone"
	)
	for _, row := range []struct {
		name, text string
		want       []string
	}{
		{"off", public, nil},
		{"off, with other keys", public + "session: {lifetime: 1h}\n", []string{"session: warning: has no effect without session.enabled: true"}},
		{"with the defaults", public + "session: {enabled: true}\n", []string{noSharedSessions, sharedRegistration, needsSID}},
		{"with a registration of its own", public + own + "}\n", []string{noSharedSessions, needsSID}},
		{"with a registration of its own, and the service's credential", public + "session: {enabled: true, clientId: " + webAppID + "}\n", []string{
			noSharedSessions, needsSID,
			"session.clientCredentials: warning: there are none, so those of azureAd.clientCredentials are used: they must be registered with session.clientId too",
		}},
		{"on this machine", "server: {publicUrl: 'http://localhost:8080'}\n" + own + "}\n", []string{noSharedSessions, needsSID}},
		{"on this machine, by address", "server: {publicUrl: 'http://[::1]:8080'}\n" + own + "}\n", []string{noSharedSessions, needsSID}},
		{"without a URL", own + "}\n", []string{wantURL}},
		{"in cleartext", "server: {publicUrl: 'http://app.contoso.example'}\n" + own + "}\n", []string{wantURL}},
		{"in cleartext, by a name like this machine's", "server: {publicUrl: 'http://localhost.contoso.example'}\n" + own + "}\n", []string{wantURL}},
		{"without a public listener", "server: {publicUrl: https://app.contoso.example, address: off, sidecarAddress: auto}\n" + own + "}\n", []string{
			"session.enabled: needs server.address: the routes of a session are on the public listener",
		}},
		{"beside the platform's sign-in", "server: {publicUrl: https://app.contoso.example, easyAuth: true}\n" + own + "}\n", []string{
			"server.easyAuth: cannot be true where session.enabled is: the platform's sign-in and this one would both answer for the user",
		}},
		{"mistakes in values", public + "session: {enabled: true, clientId: web, clientCredentials: [{sourceType: ClientSecrt}], scopes: [a b, ToDoList.Read], lifetime: 1m, callbackPath: /bff/x, signedOutCallbackPath: signed-out}\n", []string{
			"session.lifetime: must not be shorter than idleTimeout", "session.callbackPath: must not be at or below /bff, which is a route of this service",
			"session.signedOutCallbackPath: must be a plain path that begins with a slash, such as /signin-oidc",
			"session.clientId: must be an application (client) ID, a GUID",
			`session.clientCredentials[0].sourceType: expected "ClientSecret", "Path", "Base64Encoded", "KeyVault", "SignedAssertionFilePath" or "SignedAssertionFromManagedIdentity", got "ClientSecrt"`,
			"session.scopes[0]: must be the name of a scope of this service, such as ToDoList.Read",
		}},
		{"a secret that cannot be read", public + "session: {enabled: true, clientId: " + webAppID + ", clientCredentials: [{sourceType: ClientSecret, clientSecretFile: /nowhere/secret}]}\n", []string{
			noSharedSessions, needsSID,
			"session.clientCredentials[0].clientSecretFile: warning: open /nowhere/secret: no such file or directory. serve does not start without it",
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(path, []byte(goodConfig+row.text), 0o600); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			run(t.Context(), []string{"check", "--config", path}, streams{nil, &stdout, &stderr})
			var got []string
			for line := range strings.Lines(stderr.String()) {
				if line = strings.TrimSpace(placeOfLine.ReplaceAllString(line, "")); line != "" {
					got = append(got, line)
				}
			}
			slices.Sort(got)
			slices.Sort(row.want)
			if !slices.Equal(got, row.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(row.want, "\n"))
			}
			if strings.Contains(stdout.String()+stderr.String(), "s3cret") {
				t.Error("check shows a secret")
			}
		})
	}
}

// The scopes of a session are this service's, in full. An application that is the service
// itself names itself by its client ID.
func TestScopesOfSessions(t *testing.T) {
	t.Parallel()
	const service = "22222222-2222-4222-8222-222222222222"
	with := func(keys string) string {
		return goodConfig + "  second:\n    baseUrl: https://second.contoso.example/\n    scopes: [api://second/.default]\n" +
			"    access: [{scopes: [B.Read, ToDoList.Read]}, {appPermissions: [C.All]}]\n" +
			"server: {publicUrl: https://app.contoso.example}\nsession: {enabled: true" + keys + "}\n"
	}
	for _, row := range []struct {
		name, text string
		want       []string
	}{
		{"all that rules mention", with(", clientId: " + webAppID), []string{"api://" + service + "/B.Read", "api://" + service + "/ToDoList.Read"}},
		{"of the service itself", with(""), []string{service + "/B.Read", service + "/ToDoList.Read"}},
		{"of the service itself, by name", with(", clientId: " + service), []string{service + "/B.Read", service + "/ToDoList.Read"}},
		{"some of them", with(", clientId: " + webAppID + ", scopes: [ToDoList.Read]"), []string{"api://" + service + "/ToDoList.Read"}},
		{"some of them, in full", with(", scopes: ['api://" + service + "/ToDoList.Read']"), []string{service + "/ToDoList.Read"}},
		{
			"of another App ID URI", strings.Replace(with(", clientId: "+webAppID+", scopes: [a]"), "azureAd:", "azureAd:\n  appIdUri: https://todo.contoso.example/", 1),
			[]string{"https://todo.contoso.example/a"},
		},
		{
			"none", strings.Replace(goodConfig, "scopes: [ToDoList.Read]", "appPermissions: [A.All]", 1) +
				"server: {publicUrl: https://app.contoso.example}\nsession: {enabled: true, clientId: " + webAppID + "}\n",
			[]string{"api://" + service + "/.default"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			f, err := load(writeConfig(t, row.text), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := f.sessionConfig().Scopes; !slices.Equal(got, row.want) {
				t.Errorf("got %q, want %q", got, row.want)
			}
			if got := f.effective().Session.Scopes; !slices.Equal(got, row.want) {
				t.Errorf("in force: got %q, want %q", got, row.want)
			}
		})
	}
}

// The web app counts as an allowed client: the session's own tokens are issued to it.
func TestWebAppIsAnAllowedClient(t *testing.T) {
	t.Parallel()
	const other = "44444444-4444-4444-8444-444444444444"
	for _, row := range []struct {
		allowed, session string
		want             []string
	}{
		{"", "enabled: true, clientId: " + webAppID, nil},
		{other, "enabled: true, clientId: " + webAppID, []string{other, webAppID}},
		{other, "clientId: " + webAppID, []string{other}},
	} {
		text := strings.Replace(goodConfig, "azureAd:", "azureAd:\n  allowedClients: ["+row.allowed+"]", 1) +
			"server: {publicUrl: https://app.contoso.example}\nsession: {" + row.session + "}\n"
		f, err := load(writeConfig(t, text), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.validateConfig().AllowedClients; !slices.Equal(got, row.want) {
			t.Errorf("allowedClients: [%s], session: {%s}: got %q, want %q", row.allowed, row.session, got, row.want)
		}
	}
}
