package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
)

// check warns of probable mistakes, with their line, and serve logs them. They do not
// count as mistakes.
func TestWarningsOfTheConfiguration(t *testing.T) {
	text := strings.Replace(goodConfig, "    access:", "    timeout: 120s\n    access:", 1) + `  quick:
    baseUrl: https://quick.contoso.example/
    scopes: [api://quick/.default]
    timeout: 120s
    requestTimeout: 120s
  own:
    baseUrl: https://own.contoso.example/
    scopes: [api://22222222-2222-4222-8222-222222222222/ToDoList.Read, api://22222222-2222-4222-8222-222222222222/ToDoList.Write]
server:
  address: 127.0.0.1:0
  adminAddress: off
  trustedProxies: [10.0.0.0/8]
  cors:
    allowedOrigins:
      - http://localhost:3000
      - http://app.contoso.example
`
	path := writeConfig(t, text)
	want := []string{
		path + ":10: downstreamApis.todo.timeout: warning: 2m0s is longer than requestTimeout, which ends a request after 30s",
		path + ":12: downstreamApis.quick.access: warning: an API without access rules refuses every request. With scopes of this service in place of the two names: access: [{methods: [GET, HEAD], scopes: [SCOPE-TO-READ]}, {scopes: [SCOPE-TO-WRITE]}]",
		path + ":17: downstreamApis.own.access: warning: an API without access rules refuses every request. To allow users with its scopes: access: [{scopes: [ToDoList.Read, ToDoList.Write]}]",
		path + ":20: server.publicUrl: warning: it is not set, so challenges, metadata and problem types name the host that each request names, as server.trustedProxies say. Set it to the URL that clients call",
		path + ":27: server.cors.allowedOrigins[1]: warning: a page that is loaded over http can be modified on the network, and could then take its user's token: http://app.contoso.example",
	}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"check", "--config", path}, streams{nil, &stdout, &stderr}); code != 0 {
		t.Errorf("check: exit code %d, want 0", code)
	}
	if got := strings.Split(strings.TrimSpace(stderr.String()), "\n"); !slices.Equal(got, want) {
		t.Errorf("check: got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !strings.Contains(stdout.String(), "no mistakes") {
		t.Errorf("check: standard output: got %q", stdout.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log := listeningLog{listening: cancel}
	if code := run(ctx, []string{"serve", "--config", path}, streams{nil, &log, &stderr}); code != 0 {
		t.Fatalf("serve: exit code %d, want 0: %s", code, &stderr)
	}
	got := map[string]string{}
	for lines := json.NewDecoder(&log.Buffer); ; {
		var line struct{ Level, Msg, Key string }
		if err := lines.Decode(&line); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if line.Level == "WARN" && line.Key != "" {
			got[line.Key] = line.Msg
		}
	}
	for _, line := range want {
		part := strings.SplitN(line, ": ", 4)
		if got[part[1]] != part[3] {
			t.Errorf("serve: %s: got %q, want %q", part[1], got[part[1]], part[3])
		}
	}
	if len(got) != len(want) {
		t.Errorf("serve: got %d warnings, want %d: %q", len(got), len(want), got)
	}
}

// listeningLog calls listening when the log says that the service listens.
type listeningLog struct {
	bytes.Buffer
	listening func()
}

func (l *listeningLog) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(`"listening"`)) {
		l.listening()
	}
	return l.Buffer.Write(p)
}

// The rule that a warning suggests can be pasted: then nothing is left to warn of.
func TestSuggestedAccessRules(t *testing.T) {
	t.Parallel()
	i := strings.Index(goodConfig, "    access:")
	for _, scopes := range []string{"api://todo/.default", "api://22222222-2222-4222-8222-222222222222/ToDoList.Read"} {
		text := strings.Replace(goodConfig[:i], "api://todo/.default", scopes, 1)
		check := func(text string) string {
			var stderr bytes.Buffer
			if code := run(t.Context(), []string{"check", "--config", writeConfig(t, text)}, streams{nil, io.Discard, &stderr}); code != 0 {
				t.Errorf("%s: exit code %d, %s", scopes, code, stderr.String())
			}
			return strings.TrimSpace(stderr.String())
		}
		_, rules, found := strings.Cut(check(text), ": access: ")
		if !found {
			t.Fatalf("%s: no rule is suggested", scopes)
		}
		if again := check(text + "    access: " + rules + "\n"); again != "" {
			t.Errorf("%s: with %s: got %s", scopes, rules, again)
		}
	}
}

// What will keep serve from starting, check says before; and what easyAuth needs.
func TestCheckWarnsOfMissingFilesAndProxies(t *testing.T) {
	t.Parallel()
	text := strings.Replace(goodConfig, "clientSecret: s3cret-value", "clientSecretFile: /nonexistent/secret", 1) + `server:
  easyAuth: true
  tls: {certFile: /nonexistent/cert, keyFile: /nonexistent/key}
tokenCache:
  redis:
    url: redis://127.0.0.1:1
    passwordFile: /nonexistent/password
    encryptionKeys: [AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=]
`
	path := writeConfig(t, text)
	var checked, served bytes.Buffer
	if code := run(t.Context(), []string{"check", "--config", path}, streams{nil, io.Discard, &checked}); code != 0 {
		t.Errorf("check: exit code %d, want 0: a pipeline has no secrets", code)
	}
	if code := run(t.Context(), []string{"serve", "--config", path}, streams{nil, io.Discard, &served}); code != 1 {
		t.Errorf("serve: exit code %d, want 1", code)
	}
	if !strings.Contains(checked.String(), ":12: server.easyAuth: warning: server.trustedProxies does not list") {
		t.Errorf("check: no warning of easyAuth in %s", checked.String())
	}
	for _, key := range []string{
		":5: azureAd.clientCredentials[0].clientSecretFile", ":13: server.tls.certFile", ":17: tokenCache.redis.passwordFile",
	} {
		warning := key + ": warning: "
		_, problem, found := strings.Cut(checked.String(), warning)
		problem, _, ends := strings.Cut(problem, ". serve does not start without it\n")
		if !found || !ends || !strings.Contains(served.String(), key+": "+problem+"\n") {
			t.Errorf("%s: check says\n%s\nserve says\n%s", key, checked.String(), served.String())
		}
	}
}
