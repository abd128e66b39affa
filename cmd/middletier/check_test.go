package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/credential"
	"middletier/internal/listener"
	"middletier/internal/mockidp"
	"middletier/internal/testkit/redistest"
	"middletier/internal/testkit/wiretest"
)

func TestCheckReadsTheConfigurationAndNothingElse(t *testing.T) {
	good := strings.Replace(goodConfig, "clientSecret: s3cret-value", "clientSecretFile: /nonexistent/secret", 1)
	for _, row := range []struct {
		name, text string
		code       int
		stdout     string
		stderr     []string
	}{
		{"good", good, 0, "config.yaml: no mistakes", nil},
		{"two mistakes", strings.Replace(good, "tenantId", "tenentId", 1), 1, "", []string{
			`config.yaml:3: azureAd.tenentId: unknown key; did you mean "tenantId"?`, "azureAd.tenantId: must be set",
		}},
		{"clients, tenants and audiences that no token has", strings.Replace(good, "azureAd:\n", "azureAd:\n  allowedClients:\n    - 33333333-3333-4333-8333-333333333333\n    - the page\n"+
			"  allowedTenants: [contoso.example]\n  audiences:\n    - api://a api://b\n", 1), 1, "", []string{
			"config.yaml:5: azureAd.allowedClients[1]: must be an application (client) ID, a GUID",
			"config.yaml:6: azureAd.allowedTenants[0]: must be a tenant's GUID",
			"config.yaml:8: azureAd.audiences[0]: must be one audience without spaces",
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := writeConfig(t, row.text)
			var stdout, stderr, serveStderr bytes.Buffer
			if code := run(t.Context(), []string{"check", "--config", path}, streams{nil, &stdout, &stderr}); code != row.code {
				t.Errorf("exit code %d, want %d", code, row.code)
			}
			if !strings.Contains(stdout.String(), row.stdout) || row.stdout == "" && stdout.Len() > 0 {
				t.Errorf("standard output: got %q, want %q in it", stdout.String(), row.stdout)
			}
			for _, want := range row.stderr {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("standard error: got %q, want %q in it", stderr.String(), want)
				}
			}
			if row.code == 0 {
				return
			}
			run(t.Context(), []string{"serve", "--config", path}, streams{nil, io.Discard, &serveStderr})
			lines := serveStderr.String() // and one of the secret, which check does not read
			unread := path + ":" + lineOf(row.text, "clientSecretFile") + ": azureAd.clientCredentials[0].clientSecretFile: open"
			if i := strings.Index(lines, unread); i < 0 || stderr.String() != lines[:i] {
				t.Errorf("got\n%swant the lines of serve\n%swithout the secret's", stderr.String(), lines)
			}
		})
	}
}

// lineOf returns the number of the line that holds part.
func lineOf(text, part string) string {
	return strconv.Itoa(1 + strings.Count(text[:strings.Index(text, part)], "\n"))
}

// roundTrip is a transport made of a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// mailServer returns the address of a server that greets with what is not HTTP.
func mailServer(t *testing.T) string {
	t.Helper()
	return wiretest.Serve(t, nil, func(conn net.Conn) {
		_, _ = io.WriteString(conn, "220 eyJ.mail.contoso.example ESMTP\r\n") // the client sees what is missing
	})
}

// check makes all trials of w's configuration and returns the table's lines by
// what they are about, and its error.
func (w *world) check(provider http.RoundTripper) (lines map[string]string, err error) {
	w.t.Helper()
	var out bytes.Buffer
	err = printFindings(&out, try(w.t.Context(), trials(w.file, provider, http.DefaultTransport)))
	for _, secret := range []string{testSecret, "wrong-secret", "eyJ"} {
		if strings.Contains(out.String(), secret) {
			w.t.Errorf("%q is printed:\n%s", secret, out.String())
		}
	}
	lines = map[string]string{}
	_, table, _ := strings.Cut(out.String(), "\n")
	for line := range strings.Lines(table) {
		what, rest, _ := strings.Cut(strings.TrimSpace(line), "  ")
		lines[what] = strings.Join(strings.Fields(rest), " ")
	}
	return lines, err
}

// Each broken part fails alone, with a reason to act on; all other trials succeed.
func TestCheckOnlineFindsWhatIsBroken(t *testing.T) {
	t.Parallel()
	api := func(change func(*downstreamAPI)) func(*file) {
		return func(f *file) {
			d := f.DownstreamAPIs["todo"]
			change(&d)
			f.DownstreamAPIs["todo"] = d
		}
	}
	credentials := func(all ...credential.Config) func(*file) {
		return func(f *file) { f.AzureAd.ClientCredentials = all }
	}
	good := credential.Config{SourceType: "ClientSecret", ClientSecret: testSecret}
	wrong := credential.Config{SourceType: "ClientSecret", ClientSecret: "wrong-secret"}
	fault := func(f mockidp.Fault) func(*world) { return func(w *world) { w.idp.AddFault(f) } }
	insecure := httptest.NewUnstartedServer(http.NotFoundHandler())
	insecure.Config.ErrorLog = log.New(io.Discard, "", 0)
	insecure.TLS = &tls.Config{Certificates: []tls.Certificate{ownCertificate(t)}} // the tests trust that of httptest
	insecure.StartTLS()
	defer insecure.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	mail := mailServer(t)

	for _, row := range []struct {
		name   string
		change func(*file)
		damage func(*world)
		want   map[string]string
	}{
		{"nothing", nil, nil, nil},
		{"an API for the sidecar alone", func(f *file) {
			f.Server.SidecarAddress = "127.0.0.1:0"
			api(func(d *downstreamAPI) { d.BaseURL = "" })(f)
		}, nil, nil},
		{"provider down", nil, func(w *world) { w.idp.Stop() }, map[string]string{
			"metadata v2.0": "failed connection refused", "metadata v1.0": "failed connection refused",
			"signing keys v2.0": "failed connection refused", "signing keys v1.0": "failed connection refused",
			"clientCredentials[0]": "failed ClientSecret: connection refused", "todo: app token": "failed api://todo/.default: connection refused",
		}},
		{"unknown tenant", func(f *file) { f.AzureAd.TenantID = fabrikam[:35] + "8" }, nil, map[string]string{
			"metadata v2.0": "failed answered 400", "metadata v1.0": "failed answered 400",
			"signing keys v2.0": "failed metadata: answered 400", "signing keys v1.0": "failed metadata: answered 400",
			"clientCredentials[0]": "failed ClientSecret: invalid_tenant AADSTS90002: no such tenant", "todo: app token": "failed api://todo/.default: invalid_tenant AADSTS90002",
		}},
		{"broken keys", nil, fault(mockidp.Fault{Flow: "keys", Body: `{"keys":[]}`}), map[string]string{
			"signing keys v2.0": "failed keys: none that can be used", "signing keys v1.0": "failed keys: none that can be used",
		}},
		{"metadata in colours and lines", nil, fault(mockidp.Fault{Flow: "metadata", Body: `{"issuer":"https://a/\u001b[31m\n\tb"}`}), map[string]string{
			"metadata v2.0": "ok issuer https://a/ [31m b", "signing keys v2.0": "failed metadata: jwks_uri is not", "signing keys v1.0": "failed metadata: jwks_uri is not",
			"clientCredentials[0]": "failed ClientSecret: the provider answered 200 and no", "todo: app token": "failed ",
		}},
		{"a page instead of keys", nil, fault(mockidp.Fault{Flow: "keys", Body: `<html>eyJ`}), map[string]string{
			"signing keys v2.0": "failed the answer is not the JSON", "signing keys v1.0": "failed the answer is not the JSON",
		}},
		{"wrong secret", credentials(wrong), nil, map[string]string{
			"clientCredentials[0]": "failed ClientSecret: invalid_client AADSTS7000215: the client secret is wrong", "todo: app token": "failed api://todo/.default: invalid_client AADSTS7000215",
		}},
		{"wrong second secret", credentials(good, wrong), nil, map[string]string{"clientCredentials[1]": "failed ClientSecret: invalid_client AADSTS7000215"}},
		{"second secret absent", credentials(good, credential.Config{SourceType: "ClientSecret", ClientSecretFile: "/nonexistent/secret"}), nil, map[string]string{
			"clientCredentials[1]": "failed ClientSecret: clientSecretFile: open /nonexistent/secret: no such file or directory",
		}},
		{"no secret at all", credentials(credential.Config{SourceType: "ClientSecret", ClientSecretFile: "/nonexistent/secret"}), nil, map[string]string{
			"clientCredentials[0]": "failed ClientSecret: clientSecretFile: open /nonexistent/secret", "todo: app token": "skipped no credential can be loaded",
		}},
		{"unknown scope", api(func(d *downstreamAPI) { d.AppScopes = []string{"api://nobody/.default"} }), nil, map[string]string{
			"clientCredentials[0]": "skipped loaded, but", "todo: app token": "failed api://nobody/.default: invalid_resource AADSTS500011",
		}},
		{"unknown scope of one of two", func(f *file) {
			other := f.DownstreamAPIs["todo"]
			other.AppScopes = []string{"api://nobody/.default"}
			f.DownstreamAPIs["a"] = other // comes before todo
		}, nil, map[string]string{"a: app token": "failed api://nobody/.default: invalid_resource", "a: reachable": "ok "}},
		{"short scopes", api(func(d *downstreamAPI) {
			d.Scopes, d.Access = []string{"User.Read"}, d.Access[:0]
		}), nil, map[string]string{"clientCredentials[0]": "skipped ", "todo: app token": "skipped appScopes: must be set"}},
		{"throttled", nil, fault(mockidp.Fault{Status: 429, Error: "temporarily_unavailable"}), map[string]string{
			"clientCredentials[0]": "failed ClientSecret: temporarily_unavailable: the provider answered 429, try again later", "todo: app token": "failed ",
		}},
		{"an answer that is none", nil, fault(mockidp.Fault{Body: "<html>eyJ"}), map[string]string{
			"clientCredentials[0]": "failed ClientSecret: the provider answered 200 and no", "todo: app token": "failed ",
		}},
		{"an error in colours", nil, fault(mockidp.Fault{Error: "\x1b[31mred\n\tinjected", ErrorCodes: []int{1}}), map[string]string{
			"clientCredentials[0]": "failed ClientSecret: the provider answered 400 and no OAuth error", "todo: app token": "failed ",
		}},
		{"API down", nil, func(w *world) { w.api.Close() }, map[string]string{"todo: reachable": "failed http://127.0.0.1: … : connection refused"}},
		{"API of a CA that is not trusted", api(func(d *downstreamAPI) { d.BaseURL = insecure.URL }), nil, map[string]string{"todo: reachable": "failed https://127.0.0.1: … SSL_CERT_FILE"}},
		{"API refuses", nil, func(w *world) {
			w.api.handle(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "" {
					t.Error("the reachability of an API is tried with a token")
				}
				w.WriteHeader(http.StatusUnauthorized)
			})
		}, map[string]string{"todo: reachable": "ok http://127.0.0.1: … answers (401)"}},
		{"API redirects", nil, func(w *world) {
			w.api.handle(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://todo.invalid/", http.StatusFound)
			})
		}, map[string]string{"todo: reachable": "ok http://127.0.0.1: … answers (302)"}},
		{"API breaks off", nil, func(w *world) {
			w.api.handle(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		}, map[string]string{"todo: reachable": "failed http://127.0.0.1: … the connection was closed"}},
		{"API without TLS", api(func(d *downstreamAPI) { d.BaseURL = "https" + plain.URL[len("http"):] }), nil, map[string]string{"todo: reachable": "failed https://127.0.0.1: … the server does not use TLS"}},
		{"API that is no web server", api(func(d *downstreamAPI) { d.BaseURL = "http://" + mail }), nil, map[string]string{"todo: reachable": "failed http://127.0.0.1: … the answer is not HTTP"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var changes []func(*file)
			if row.change != nil {
				changes = append(changes, row.change)
			}
			w := newStoppedWorld(t, changes...)
			if row.damage != nil {
				row.damage(w)
			}
			w.expectCheck(w.transport(), row.want)
		})
	}
}

func TestCheckOnlineWithDocumentsMissing(t *testing.T) {
	for _, row := range []struct {
		path string
		want map[string]string
	}{
		{"/.well-known/openid-configuration", map[string]string{
			"metadata v1.0": "skipped the provider issues v2.0 tokens only", "signing keys v1.0": "skipped the provider issues v2.0 tokens only",
		}},
		{"/v2.0/.well-known/openid-configuration", map[string]string{
			"metadata v2.0": "failed answered 404", "signing keys v2.0": "failed metadata: answered 404",
			"clientCredentials[0]": "failed ClientSecret: the provider answered 404 and no", "todo: app token": "failed ",
		}},
		{"/discovery/keys", map[string]string{"signing keys v1.0": "failed keys: answered 404"}},
	} {
		t.Run(row.path, func(t *testing.T) {
			w := newStoppedWorld(t)
			w.expectCheck(roundTrip(func(r *http.Request) (*http.Response, error) {
				if r.URL.Path == "/"+demoTenant+row.path {
					return &http.Response{StatusCode: 404, Body: http.NoBody}, nil
				}
				return w.transport().RoundTrip(r)
			}), row.want)
		})
	}
}

// expectCheck tries everything of w's configuration. want is what each line
// says beside those that are ok: how it begins … and a part of it.
func (w *world) expectCheck(provider http.RoundTripper, want map[string]string) {
	w.t.Helper()
	lines, err := w.check(provider)
	failed := 0
	for what, line := range lines {
		begin, part, _ := strings.Cut(cmp.Or(want[what], "ok "), " … ")
		if !strings.HasPrefix(line, begin) || !strings.Contains(line, part) {
			w.t.Errorf("%s: got %q, want %q", what, line, cmp.Or(want[what], "ok"))
		}
		if strings.HasPrefix(line, "failed") {
			failed++
		}
	}
	for what := range want {
		if lines[what] == "" {
			w.t.Errorf("no line for %q", what)
		}
	}
	if failed == 0 && err != nil || failed > 0 && (err == nil || err.Error() != fmt.Sprintf("%d of %d failed", failed, len(lines))) {
		w.t.Errorf("%d lines failed, error is %v", failed, err)
	}
}

// A trial that hangs ends after its limit, even if it ignores its context, and
// delays no other trial.
func TestCheckBoundsEachTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		start := time.Now()
		findings := try(t.Context(), []trial{
			{"heeds", func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }},
			{"does not heed", func(context.Context) (string, error) { <-release; return "", nil }},
			{"is quick", func(context.Context) (string, error) { return "", nil }},
		})
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("took %s, want 10s", took)
		}
		for i, want := range []result{resultFailed, resultFailed, resultOK} {
			if findings[i].result != want {
				t.Errorf("%s: got %s %s, want %s", findings[i].what, findings[i].result, findings[i].detail, want)
			}
		}
	})
}

// The command in a process, which trusts the platform's CA by SSL_CERT_FILE.
func TestCheckOnlineInAProcess(t *testing.T) {
	w := newStoppedWorld(t)
	environment, path := w.onDisk()
	p := startProcess(t, environment, "check", "--online", "--config", path)
	if code := p.wait(t); code != 0 {
		t.Errorf("exit code %d, want 0\n%s", code, p.stdout.String())
	}
	for _, want := range []string{"WHAT", "configuration", "metadata v2.0", "clientCredentials[0]", "todo: reachable"} {
		if !strings.Contains(p.stdout.String(), want) {
			t.Errorf("no %q in\n%s", want, p.stdout.String())
		}
	}
	w.api.Close()
	p = startProcess(t, environment, "check", "--online", "--config", path)
	if code := p.wait(t); code != 1 || !strings.Contains(p.stdout.String(), "1 of 8 failed") {
		t.Errorf("API down: exit code %d, want 1 and a count\n%s", code, p.stdout.String())
	}
	p = startProcess(t, nil, "check", "--online", "--config", path)
	if code := p.wait(t); code != 1 || !strings.Contains(p.stdout.String(), "SSL_CERT_FILE") {
		t.Errorf("CA not trusted: exit code %d, want 1 and what to do\n%s", code, p.stdout.String())
	}
}

// onDisk writes what w's configuration says to a file, and the environment in
// which a process trusts the platform.
func (w *world) onDisk() (environment []string, path string) {
	w.t.Helper()
	ca := filepath.Join(w.t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, w.idp.CAPEM(), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return []string{"SSL_CERT_FILE=" + ca}, writeConfig(w.t, fmt.Sprintf(`
azureAd:
  instance: %s/
  tenantId: %s
  clientId: %s
  clientCredentials: [{sourceType: ClientSecret, clientSecret: %s}]
downstreamApis:
  todo: {baseUrl: %s/base/, scopes: [api://todo/.default], access: [{scopes: [ToDoList.Read]}]}
`, w.idp.URL(), demoTenant, demoMiddleTier, testSecret, w.api.URL))
}

// wait returns the exit code.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.ProcessState.ExitCode()
	case <-time.After(30 * time.Second):
		t.Fatalf("the program goes on:\n%s", p.stdout.String())
		return -1
	}
}

func TestCheckOnlineTriesTheTLSFiles(t *testing.T) {
	dir := t.TempDir()
	pair := func(name string, from, to time.Duration) listener.TLSFiles {
		return writePairOf(t, filepath.Join(dir, name), name, time.Now().Add(from), time.Now().Add(to))
	}
	for _, name := range []string{"good", "expired", "early"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	good, expired := pair("good", -time.Hour, time.Hour), pair("expired", -2*time.Hour, -time.Hour)
	early := pair("early", time.Hour, 2*time.Hour)
	nowhere := filepath.Join(dir, "nowhere")
	for _, row := range []struct {
		name  string
		files listener.TLSFiles
		want  string
	}{
		{"none", listener.TLSFiles{}, ""},
		{"good", good, "ok expires at 20"},
		{"expired", expired, "failed certFile: the certificate expired at 20"},
		{"not valid yet", early, "failed certFile: the certificate is not valid before 20"},
		{"no certificate", listener.TLSFiles{CertFile: nowhere, KeyFile: good.KeyFile}, "failed certFile: open " + nowhere + ": no such file or directory"},
		{"no key", listener.TLSFiles{CertFile: good.CertFile, KeyFile: nowhere}, "failed keyFile: open " + nowhere + ": no such file or directory"},
		{"key of another", listener.TLSFiles{CertFile: good.CertFile, KeyFile: early.KeyFile}, "failed keyFile: " + early.KeyFile + ": the private key fits none of the certificates of certFile"},
		{"a key for a certificate", listener.TLSFiles{CertFile: good.KeyFile, KeyFile: good.KeyFile}, "failed certFile: " + good.KeyFile + ": holds no certificate"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newStoppedWorld(t, func(f *file) { f.Server.TLS = row.files })
			want := map[string]string{"server.tls": row.want}
			if row.want == "" {
				want = nil
				if lines, _ := w.check(w.transport()); lines["server.tls"] != "" {
					t.Errorf("got %q, want no line", lines["server.tls"])
				}
			}
			w.expectCheck(w.transport(), want)
		})
	}
}

func TestCheckOnlineTriesRedis(t *testing.T) {
	redis := redistest.Start(t, "--requirepass", "redis-password")
	with := func(user string) func(*file) {
		return func(f *file) {
			f.TokenCache.Redis.URL = strings.Replace(redis.URL(), "redis://", "redis://"+user, 1)
			f.TokenCache.Redis.EncryptionKeys = []string{base64.StdEncoding.EncodeToString(make([]byte, 32))}
			f.TokenCache.Redis.Timeout = 5 * time.Second
		}
	}
	for _, row := range []struct {
		name, user string
		down       bool
		want       string
	}{
		{"good", ":redis-password@", false, "ok " + redis.Addr()},
		{"wrong password", ":guessed@", false, "failed " + redis.Addr() + " … WRONGPASS"},
		{"down", ":redis-password@", true, "failed " + redis.Addr() + " … connection refused"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.down {
				redis.Kill()
			}
			w := newStoppedWorld(t, with(row.user))
			lines, _ := w.check(w.transport())
			begin, part, _ := strings.Cut(row.want, " … ")
			if got := lines["Redis"]; !strings.HasPrefix(got, begin) || !strings.Contains(got, part) ||
				strings.Contains(got, "password@") || strings.Contains(got, "guessed") {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

// Sessions last in Redis only if it evicts none. Managed Redis tells its policy to INFO only.
func TestCheckOnlineReadsTheEvictionPolicy(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	redis.Do("ACL SETUSER managed on nopass ~* +@all -config")
	redis.Do("ACL SETUSER closed on nopass ~* +@all -config -info")
	const row = "Redis: eviction"
	for _, c := range []struct{ name, user, policy, want string }{
		{"it keeps all", "", "noeviction", "ok noeviction"},
		{"it evicts", "", "allkeys-lru", "warning maxmemory-policy is allkeys-lru: when its memory is full, Redis evicts sessions"},
		{"it evicts what expires, as sessions do", "", "volatile-ttl", "warning maxmemory-policy is volatile-ttl"},
		{"managed, it keeps all", "managed:x@", "noeviction", "ok noeviction"},
		{"managed, it evicts", "managed:x@", "volatile-lru", "warning maxmemory-policy is volatile-lru"},
		{"it does not tell", "closed:x@", "noeviction", "skipped the policy is not known: … Sessions need maxmemory-policy noeviction"},
	} {
		redis.Do("CONFIG SET maxmemory-policy " + c.policy)
		w := newStoppedSessionWorld(t, withRedis(redis), patientWithRedis, func(f *file) {
			f.TokenCache.Redis.URL = strings.Replace(redis.URL(), "redis://", "redis://"+c.user, 1)
		})
		t.Log(c.name)
		w.expectCheck(w.transport(), map[string]string{row: c.want})
	}
	redis.Do("CONFIG SET maxmemory-policy allkeys-lru")
	w := newStoppedWorld(t, withRedis(redis), patientWithRedis)
	if lines, _ := w.check(w.transport()); lines[row] != "" {
		t.Errorf("without sessions: got %q, want no line", lines[row])
	}
	redis.Kill()
	w = newStoppedSessionWorld(t, withRedis(redis), patientWithRedis)
	w.expectCheck(w.transport(), map[string]string{"Redis": "failed ", row: "skipped the policy is not known: … refused"})
}

// The web app's credential is tried as the service's is, and nothing is said twice.
func TestCheckOnlineTriesTheCredentialOfSessions(t *testing.T) {
	t.Parallel()
	secret := func(text string) []credential.Config {
		return []credential.Config{{SourceType: "ClientSecret", ClientSecret: text}}
	}
	const own, inherited, shared = "session.clientCredentials[0]", "session.clientId: credential", "session.clientId"
	refused := "failed ClientSecret: invalid_client AADSTS7000215: the client secret is wrong"
	for _, row := range []struct {
		name   string
		change func(*file)
		damage func(*world)
		want   map[string]string // "": no such line
	}{
		{"without sessions", func(f *file) { f.Session = defaults().Session }, nil, map[string]string{own: "", inherited: "", shared: ""}},
		{"its own", func(f *file) { f.Session.ClientCredentials = secret(testSecret) }, nil, map[string]string{own: "ok ClientSecret", inherited: "", shared: ""}},
		{"its own, wrong", func(f *file) { f.Session.ClientCredentials = secret("wrong-secret") }, nil, map[string]string{own: refused}},
		{"its own, for an API that wants an assignment", func(f *file) { f.Session.ClientCredentials = secret(testSecret) }, func(w *world) {
			w.idp.AddFault(mockidp.Fault{Error: "invalid_grant", ErrorCodes: []int{501051}})
		}, map[string]string{own: "skipped loaded, but not tried: the provider accepts none"}},
		{"the service's", func(*file) {}, nil, map[string]string{own: "", inherited: "ok one of azureAd.clientCredentials", shared: ""}},
		{"the service's, of another registration", func(*file) {}, func(w *world) {
			w.idp.AddFault(mockidp.Fault{Error: "invalid_client", ErrorCodes: []int{7000215}})
		}, map[string]string{inherited: "failed one of azureAd.clientCredentials: invalid_client AADSTS7000215"}},
		{"the service's, which cannot be loaded", func(f *file) {
			f.AzureAd.ClientCredentials = []credential.Config{{SourceType: "ClientSecret", ClientSecretFile: "/nonexistent/secret"}}
		}, nil, map[string]string{
			"clientCredentials[0]": "failed ClientSecret: clientSecretFile: open /nonexistent/secret",
			"todo: app token":      "skipped no credential can be loaded", inherited: "skipped no credential can be loaded",
		}},
		{"the service itself", func(f *file) { f.Session.ClientID = "" }, nil, map[string]string{
			own: "", inherited: "", shared: "warning it is azureAd.clientId, so … AADSTS90009",
		}},
		{"the service itself, with a credential of its own", func(f *file) {
			f.Session.ClientID, f.Session.ClientCredentials = demoMiddleTier, secret(testSecret)
		}, nil, map[string]string{own: "ok ClientSecret", inherited: "", shared: "warning "}},
		{"tenants without a home", func(f *file) {
			f.AzureAd.TenantID, f.AzureAd.AllowedTenants = "organizations", []string{demoTenant}
			api := f.DownstreamAPIs["todo"]
			api.Tenant = demoTenant
			f.DownstreamAPIs["todo"] = api
		}, nil, map[string]string{inherited: "skipped loaded, but not tried: no scopes"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newStoppedSessionWorld(t, row.change)
			if row.damage != nil {
				row.damage(w)
			}
			lines, _ := w.check(w.transport())
			for what, want := range row.want {
				begin, part, _ := strings.Cut(want, " … ")
				if got := lines[what]; !strings.HasPrefix(got, begin) || !strings.Contains(got, part) || want == "" && got != "" {
					t.Errorf("%s: got %q, want %q", what, got, want)
				}
			}
		})
	}
}

// ownCertificate returns a certificate for this machine that nobody trusts.
func ownCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	files := writePair(t, t.TempDir(), "own")
	pair, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}
