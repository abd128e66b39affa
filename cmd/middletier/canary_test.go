package main

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"middletier/internal/credential"
	"middletier/internal/mockidp"
	"middletier/internal/testkit/redistest"
)

// Nothing that could be replayed is in the log, the metrics, the traces, the admin
// listener's answers or other answers: every flow is tried, with every failure on
// the way.
func TestSecretsAreSeenNowhere(t *testing.T) {
	c := newCollector(t)
	redis := redistest.Start(t, "--requirepass", "canary-of-redis")
	secretFile := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secretFile, []byte(testSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newStoppedWorld(t, withRedis(redis), func(f *file) {
		f.TokenCache.Redis.URL = "redis://:canary-of-redis@" + redis.Addr()
		f.TokenCache.Redis.Timeout = 5 * time.Second
		f.Telemetry.OTLPEndpoint, f.Telemetry.TraceSampleRatio = c.URL, 1
		f.Logging.Level, f.Server.ServerTiming = "debug", true
		f.AzureAd.ClientCredentials = []credential.Config{{SourceType: "ClientSecret", ClientSecretFile: secretFile}}
		api := f.DownstreamAPIs["todo"]
		api.RequestHeaders.Set = map[string]string{"X-Api-Key": "canary-api-key"}
		f.DownstreamAPIs["todo"] = api
	})
	p, stop := w.startStoppable()
	if err := p.validator.AwaitKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	admin := httptest.NewServer(p.api.Admin(new(slog.LevelVar)))
	t.Cleanup(admin.Close)

	var seen strings.Builder
	note := func(r *reply) {
		_ = r.Header.Write(&seen)
		seen.WriteString(r.body)
	}
	alice, bob, daemon := w.alice(), w.bob(), w.daemon()
	fault := func(f mockidp.Fault) { f.Times = 1; w.idp.AddFault(f) }
	dropped := func() { note(w.ask("DELETE", admin.URL+"/cache")) }

	// What goes well.
	for range 2 {
		note(w.call("GET", "/api/todo/items?access_token="+alice, alice, ""))
		note(w.call("POST", "/api/todo/items", alice, `{"title":"x"}`))
		note(w.call("GET", "/app/todo/items", daemon, ""))
	}
	// Tokens in wrong places. That a problem's instance repeats the path is right.
	w.call("GET", "/api/"+alice+"/items", bob, "")
	w.call("GET", "/"+alice, "", "")
	w.call("GET", "/api/todo/..%2f"+alice, alice, "")
	w.api.handle(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	w.call("DELETE", "/api/todo/items/"+alice, alice, "")
	// Tokens of wrong kinds.
	note(w.call("GET", "/api/todo/items", alice+"x", ""))
	note(w.call("GET", "/api/todo/items", alice+" "+bob, ""))
	note(w.call("GET", "/api/todo/items", w.idp.UserToken("alice", "app", "other", "Other.Read"), ""))
	note(w.call("GET", "/api/todo/items", daemon, ""))
	note(w.call("GET", "/app/todo/items", alice, ""))
	note(w.call("PATCH", "/api/todo/items", alice, ""))
	// Refusals of the provider, which may repeat what they were sent.
	for _, f := range []mockidp.Fault{
		{Error: "invalid_grant", Description: "AADSTS50013: Assertion " + bob + " is bad"},
		{Error: "interaction_required", Claims: `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`, Description: bob},
		{Error: "invalid_client", Description: "AADSTS700027: Client assertion " + bob},
		{Status: 500, Body: bob + testSecret},
		{Status: 200, Body: `{"access_token":"` + bob},
		{Status: 429, Body: `{"error":"too_many","error_description":"` + bob + `"}`},
		{Drop: true},
	} {
		f.Flow = "on_behalf_of"
		fault(f)
		note(w.call("GET", "/api/todo/items", bob, ""))
		dropped()
		f.Flow = "client_credentials"
		fault(f)
		note(w.call("GET", "/app/todo/items", daemon, ""))
		dropped()
		w.idp.ClearFaults()
	}
	// An API that fails, and one that sends our token back.
	w.api.handle(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(401) })
	note(w.call("GET", "/api/todo/items", alice, ""))
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("WWW-Authenticate", r.Header.Get("Authorization"))
		rw.WriteHeader(401)
	})
	note(w.call("GET", "/app/todo/items", daemon, ""))
	note(w.call("POST", "/signout", alice, ""))
	// Everything is gone.
	redis.Kill()
	w.idp.Stop()
	note(w.call("GET", "/api/todo/items", w.idp.UserToken("bob", "app", "middletier", "ToDoList.Read"), ""))
	note(w.call("GET", "/api/todo/items", bob, ""))
	for _, path := range []string{"/config", "/metrics", "/readyz"} {
		note(w.ask("GET", admin.URL+path))
	}
	sent := w.api.seen()
	stop()

	canaries := map[string]string{
		"the client secret": testSecret, "the password of Redis": "canary-of-redis", "the API's key": "canary-api-key",
		"the encryption key": w.file.TokenCache.Redis.EncryptionKeys[0], "Alice's token": alice, "Bob's token": bob, "the daemon's token": daemon,
		"the beginning of a token": alice[:20],
	}
	for _, r := range sent {
		canaries["a token for the API, "+r.URL.Path] = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	}
	if len(canaries) < 10 || len(sent) < 10 {
		t.Fatalf("%d canaries, %d requests: too little has happened", len(canaries), len(sent))
	}
	for what, text := range map[string]string{
		"log": w.log.String(), "answers and admin listener": seen.String(), "traces and metrics of the collector": c.text.String(),
	} {
		if len(text) < 1000 {
			t.Errorf("%s: only %d bytes", what, len(text))
		}
		for name, canary := range canaries {
			signature := canary[strings.LastIndex(canary, ".")+1:] // alone it is enough to recognise
			if i := strings.Index(text, signature); i >= 0 {
				t.Errorf("%s hold %s: …%s…", what, name, text[max(0, i-200):min(len(text), i+100)])
			}
		}
	}
}

// If an API or the identity provider answers with malformed HTTP that repeats what
// it received, none of that is in the log.
func TestMalformedAnswersAreNotLogged(t *testing.T) {
	t.Parallel()
	variants := map[string]string{
		"no HTTP":                    "%s\r\n\r\n",
		"a status that is no number": "HTTP/1.1 %s\r\n\r\n",
		"a version":                  "HTTP/%s 200 OK\r\n\r\n",
		"a header without a colon":   "HTTP/1.1 200 OK\r\n%s\r\n\r\n",
		"a header's name":            "HTTP/1.1 200 OK\r\nX %s: x\r\n\r\n",
		"a header that goes on":      "HTTP/1.1 200 OK\r\n %s\r\n\r\n",
		"a transfer encoding":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n",
		"a length":                   "HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n",
		"a chunk's length":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n",
		"an error's codes":           "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n{\"error\":\"a %s\",\"suberror\":\"a %s\",\"correlation_id\":\"a %s\",\"trace_id\":\"a %s\",\"error_description\":\"AADSTS50000: %s\"}",
		"a refusal's suberror":       "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n{\"error\":\"invalid_grant\",\"suberror\":\"a %s\",\"correlation_id\":\"a %s\",\"trace_id\":\"a %s\",\"error_description\":\"a %s\"}",
	}
	for name, answer := range variants {
		t.Run(name, func(t *testing.T) {
			c := newCollector(t)
			w := newStoppedWorld(t, func(f *file) { f.Telemetry.OTLPEndpoint, f.Telemetry.TraceSampleRatio = c.URL, 1 })
			_, stop := w.startStoppable()
			alice, bob := w.alice(), w.bob()
			if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != 200 {
				t.Fatalf("got %d %s, want 200", r.StatusCode, r.body)
			}
			canary := strings.TrimPrefix(w.api.last(t).Header.Get("Authorization"), "Bearer ")
			w.api.handle(func(rw http.ResponseWriter, _ *http.Request) { answerRaw(t, rw, answer, canary) })
			conn := w.dial(t, time.Minute) // what the API's answer becomes may break off
			fmt.Fprintf(conn, "GET /api/todo/items HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer %s\r\n\r\n", alice)
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()

			provider := newUpstream(t)
			provider.handle(func(rw http.ResponseWriter, r *http.Request) {
				_ = r.ParseForm()
				answerRaw(t, rw, answer, r.PostForm.Get("client_secret")+" "+r.PostForm.Get("assertion"))
			})
			astray := detour(func(r *http.Request, _ http.RoundTripper) (*http.Response, error) {
				r = r.Clone(r.Context())
				r.URL.Scheme, r.URL.Host = "http", provider.Listener.Addr().String()
				return http.DefaultTransport.RoundTrip(r)
			})
			w.detour.Store(&astray)
			r := w.call("GET", "/api/todo/items", bob, "")
			if r.StatusCode < 400 {
				t.Errorf("got %d %s, want an error", r.StatusCode, r.body)
			}
			stop()
			for what, canary := range map[string]string{"the API's token": canary, "the client secret": testSecret, "the assertion": bob} {
				signature := canary[strings.LastIndex(canary, ".")+1:]
				for where, text := range map[string]string{"log": w.log.String(), "traces": c.text.String(), "answer": r.body} {
					if i := strings.Index(text, signature); i >= 0 {
						t.Errorf("%s hold %s: …%s…", where, what, text[max(0, i-200):min(len(text), i+60)])
					}
				}
			}
		})
	}
}

// answerRaw answers with bytes of which each %s is what a secret is.
func answerRaw(t *testing.T, w http.ResponseWriter, format, secret string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	_, _ = conn.Write([]byte(strings.ReplaceAll(format, "%s", secret))) // the program may have had enough
	_ = conn.Close()
}
