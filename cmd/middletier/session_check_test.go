package main

import (
	"slices"
	"strings"
	"testing"
)

// problemsOf returns what check says of the keys of a configuration, sorted: mistakes, else
// warnings.
func problemsOf(t *testing.T, text string) (got []string) {
	t.Helper()
	f, err := load(writeConfig(t, text), nil)
	if err == nil {
		f.warnOfSession(func(key, problem string) { got = append(got, key+": warning: "+problem) })
	} else {
		for line := range strings.Lines(err.Error()) {
			got = append(got, strings.TrimSpace(placeOfLine.ReplaceAllString(line, "")))
		}
	}
	slices.Sort(got)
	return got
}

// Each mistake of a session is reported once, under the key that it is in, and nothing is said of
// what is right.
func TestMistakesOfSessionsAreReportedOnce(t *testing.T) {
	t.Parallel()
	const (
		service = "22222222-2222-4222-8222-222222222222"
		own     = ", clientId: " + webAppID + ", clientCredentials: [{sourceType: ClientSecret, clientSecret: s3cret}]"
		wantURL = "server.publicUrl: must be set to an https URL where session.enabled is true, or to an http URL of this machine: " +
			"the identity provider sends browsers back to it, and cookies are for it alone"
		badScope = "must be the name of a scope of this service, such as ToDoList.Read"
		noScopes = "session.scopes: warning: there are none, and no access rule names one, so users get what they have consented to already"
		noSecret = "session.clientCredentials[0].clientSecretFile: warning: has no effect: it does not belong to Path"
	)
	at := func(url, session string) string {
		return goodConfig + "server: {publicUrl: '" + url + "'}\nsession: {enabled: true" + session + "}\n"
	}
	secure := func(session string) string { return at("https://app.contoso.example", session) }
	noRule := func(text string) string {
		return strings.Replace(text, "scopes: [ToDoList.Read]", "appPermissions: [A.All]", 1)
	}
	redis := "tokenCache: {redis: {url: 'rediss://redis.contoso.example', encryptionKeys: [AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=]}}\n"
	for name, row := range map[string]struct {
		text string
		want []string
	}{
		"a credential that is none, while off": {
			goodConfig + "session: {clientId: " + webAppID + ", clientCredentials: [{sourceType: ClientSecrt}]}\n",
			[]string{`session.clientCredentials[0].sourceType: expected "ClientSecret", "Path", "Base64Encoded", "KeyVault", ` +
				`"SignedAssertionFilePath" or "SignedAssertionFromManagedIdentity", got "ClientSecrt"`},
		},
		"a key of azureAd": {
			strings.Replace(secure(own), "azureAd:", "azureAd:\n  azureRegion: west/europe", 1),
			[]string{"azureAd.azureRegion: must be the short name of a region, such as westeurope, or TryAutoDetect"},
		},
		"no client ID of azureAd": {
			strings.Replace(secure(", scopes: [a]"), "clientId: "+service, "", 1),
			[]string{"azureAd.clientId: must be set: this service's application (client) ID"},
		},
		"a scope without a name": {
			secure(own + ", scopes: ['api://" + service + "/']"), []string{"session.scopes[0]: " + badScope},
		},
		"a scope of another one": {
			secure(own + ", scopes: [ToDoList.Read, 'api://other/Read']"), []string{"session.scopes[1]: " + badScope},
		},
		"a scope with a quote":                        {secure(own + `, scopes: ['a"b']`), []string{"session.scopes[0]: " + badScope}},
		"in cleartext, by address of another machine": {at("http://10.0.0.1", own), []string{wantURL}},
		"in cleartext, by an address of this one":     {at("http://127.0.0.2", own), []string{noSharedSessions}},
		"the service's own registration, in capitals": {
			strings.ReplaceAll(secure(", clientId: ABCDEFAB-2222-4222-8222-222222222222"), service, "abcdefab-2222-4222-8222-222222222222"),
			[]string{sharedRegistration, noSharedSessions},
		},
		"sessions in Redis":           {secure(own) + redis, nil},
		"no scopes":                   {noRule(secure(own)), []string{noScopes, noSharedSessions}},
		"no scopes, own registration": {noRule(secure("")), []string{sharedRegistration, noScopes, noSharedSessions}},
		"a key of another credential": {
			secure(", clientId: " + webAppID + ", clientCredentials: [{sourceType: Path, certificateDiskPath: /c.pem, clientSecretFile: /s}]"),
			[]string{noSecret, noSharedSessions},
		},
		"nothing that is not a default": {goodConfig + "session: {enabled: false}\n", nil},
	} {
		if got := problemsOf(t, row.text); !slices.Equal(got, row.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(row.want, "\n"))
		}
	}
}

// A sign-in may name the scopes of the session, those of access rules, and those of APIs that users
// call. A scope of this service may be written in full, in each of its forms.
func TestScopesThatASignInMayName(t *testing.T) {
	t.Parallel()
	const service = "22222222-2222-4222-8222-222222222222"
	text := strings.Replace(goodConfig, "azureAd:", "azureAd:\n  appIdUri: https://todo.contoso.example\n  azureRegion: westeurope", 1) +
		"  daemon:\n    baseUrl: https://daemon.contoso.example/\n    scopes: [api://daemon/.default]\n    requestAppToken: true\n" +
		"    access: [{scopes: [Daemon.Read]}]\n" +
		"server: {publicUrl: https://app.contoso.example, basePath: /base}\n" +
		"session: {enabled: true, clientId: " + webAppID + ", " +
		"scopes: [a, 'https://todo.contoso.example/b', 'api://" + service + "/c', " + service + "/d]}\n"
	f, err := load(writeConfig(t, text), nil)
	if err != nil {
		t.Fatal(err)
	}
	full := func(names ...string) (all []string) {
		for _, name := range names {
			all = append(all, "https://todo.contoso.example/"+name)
		}
		return all
	}
	c := f.sessionConfig()
	for name, row := range map[string]struct{ got, want []string }{
		"the session's":   {c.Scopes, full("a", "b", "c", "d")},
		"of this service": {c.OwnScopes, full("a", "b", "c", "d", "Daemon.Read", "ToDoList.Read")},
		"of APIs":         {c.APIScopes, []string{"api://todo/.default", "https://todo.contoso.example/.default"}},
	} {
		if !slices.Equal(row.got, row.want) {
			t.Errorf("%s: got %q, want %q", name, row.got, row.want)
		}
	}
	if c.BasePath != "/base" || c.PublicURL != "https://app.contoso.example/base" {
		t.Errorf("got the base path %q below %q", c.BasePath, c.PublicURL)
	}
	if got := f.sessionOBOConfig().Region; got != "" {
		t.Errorf("the web app's region: got %q, want none: a region issues no tokens of users", got)
	}
}

// What sessions need is no matter while there are none.
func TestServeNeedsNoCredentialOfSessionsThatAreOff(t *testing.T) {
	t.Parallel()
	for enabled, want := range map[string]int{"true": 1, "false": 0} {
		f, err := load(writeConfig(t, goodConfig+"server: {publicUrl: https://app.contoso.example}\nsession: {enabled: "+enabled+
			", clientId: "+webAppID+", clientCredentials: [{sourceType: ClientSecret, clientSecretFile: /nowhere/secret}]}\n"), nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		checkServing(f, func(key, problem string) { got = append(got, key+": "+problem) })
		if len(got) != want {
			t.Errorf("enabled: %s: got %q, want %d", enabled, got, want)
		}
	}
}
