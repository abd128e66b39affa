package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"middletier/internal/mockidp"
	"middletier/internal/testkit/redistest"
)

// sessionKey is the override with the key of a long-running session.
func sessionKey(key string) string {
	return option("AcquireTokenOptions.LongRunningWebApiSessionKey", key)
}

var (
	allocate = sessionKey("AllocateForMe")
	refresh  = option("AcquireTokenOptions.ForceRefresh", "true")
)

// beginSession begins a long-running session, and returns its key.
func (w *world) beginSession(token string, query ...string) string {
	w.t.Helper()
	r := w.beside("GET", headerPath("delegated", append(query, allocate)...), token)
	var answer struct{ AuthorizationHeader, LongRunningSessionKey string }
	if err := json.Unmarshal([]byte(r.body), &answer); err != nil || r.StatusCode != 200 ||
		answer.LongRunningSessionKey == "" || !strings.HasPrefix(answer.AuthorizationHeader, "Bearer ") {
		w.t.Fatalf("got %d %s, want a header and a key", r.StatusCode, r.body)
	}
	return answer.LongRunningSessionKey
}

// resume asks for a token with a key.
func (w *world) resume(key string, query ...string) *reply {
	w.t.Helper()
	return w.beside("GET", headerPathFree("delegated", append(query, sessionKey(key))...), "")
}

// wantEnded checks that a key gives no token.
func (w *world) wantEnded(key string) {
	w.t.Helper()
	r := w.resume(key)
	challenge := r.Header.Get("WWW-Authenticate")
	if r.StatusCode != 401 || r.kind() != "interaction-required" || !strings.Contains(challenge, "interaction_required") {
		w.t.Errorf("got %d %s %q, want 401 interaction-required", r.StatusCode, r.body, challenge)
	}
}

func TestSidecarSessionOutlivesTheUsersToken(t *testing.T) {
	w := newSidecar(t, withOpenGates, withAPIs, func(f *file) { f.AzureAd.ClockSkew = 0 })
	claims := w.idp.UserClaims("alice", "app", "middletier", "ToDoList.ReadWrite")
	claims["exp"] = time.Now().Add(2 * time.Second).Unix()
	short := w.idp.Sign(claims)
	key := w.beginSession(short)
	if len(key) < 128/5 || key != strings.ToLower(key) {
		t.Errorf("the key is %q, want 128 bits in lower case", key)
	}
	eventually(t, func() bool { return w.beside("GET", headerPath("delegated"), short).StatusCode == 401 },
		func() string { return "the user's token does not expire" })
	for _, row := range []struct {
		name string
		r    *reply
		aud  string
	}{
		{"as before", w.resume(key), demoToDo},
		{"refreshed", w.resume(key, refresh), demoToDo},
		{"refreshed again", w.resume(strings.ToUpper(key), refresh), demoToDo},
		{"another API", w.resume(key, option("Scopes", toNotes)), demoNotes},
		{"an API that is not configured", w.beside("GET", headerPathFree("default", option("Scopes", toNotes), sessionKey(key)), ""), demoNotes},
		{"its own tenant", w.resume(key, option("AcquireTokenOptions.Tenant", demoTenant)), demoToDo},
		{"claims", w.resume(key, option("AcquireTokenOptions.Claims", `{"access_token":{"nbf":{"essential":true}}}`)), demoToDo},
	} {
		if claims := headerToken(t, row.r); claims["aud"] != row.aud || claims["oid"] != aliceID || claims["azp"] != demoMiddleTier {
			t.Errorf("%s: got a token with %v, want alice's for %s", row.name, claims, row.aud)
		}
		if strings.Contains(row.r.body, "longRunningSessionKey") {
			t.Errorf("%s: got %s, want no key", row.name, row.r.body)
		}
	}
	// A tenant that the refresh token is not for does not end the session.
	if r := w.resume(key, option("AcquireTokenOptions.Tenant", fabrikam)); r.StatusCode == 200 {
		t.Errorf("another tenant: got %s, want the provider's refusal", r.body)
	}
	headerToken(t, w.resume(key, refresh))
	if log := w.log.String(); strings.Contains(strings.ToLower(log), key) || strings.Contains(log, "refreshToken") {
		t.Errorf("the log holds the key: %s", log)
	}
}

// Each session has its user, whoever resumes it and in whatever order.
func TestSidecarSessionsAreOfTheirUser(t *testing.T) {
	w := newSidecar(t, withOpenGates, withAPIs)
	agent := "AgentIdentity=" + agentOne
	alices, bobs := w.beginSession(w.alice()), w.beginSession(w.bob())
	byAgent := w.beginSession(w.alice(), agent)
	if again := w.beginSession(w.alice()); again == alices {
		t.Error("two sessions have one key")
	}
	for range 2 {
		for _, row := range []struct {
			name     string
			r        *reply
			oid, azp string
		}{
			{"alice", w.resume(alices, refresh), aliceID, demoMiddleTier},
			{"bob", w.resume(bobs, refresh), "bbbbbbbb-0000-4000-8000-000000000002", demoMiddleTier},
			{"alice by an agent", w.resume(byAgent, agent, refresh), aliceID, agentOne},
			{"an agent's, without its name", w.resume(byAgent, refresh), aliceID, agentOne},
		} {
			if claims := headerToken(t, row.r); claims["oid"] != row.oid || claims["azp"] != row.azp {
				t.Errorf("%s: got a token of %v by %v", row.name, claims["oid"], claims["azp"])
			}
		}
	}
	for name, r := range map[string]*reply{
		"ours for an agent":    w.resume(alices, agent),
		"another agent's":      w.resume(byAgent, "AgentIdentity="+agentTwo),
		"of a configured one":  w.beside("GET", headerPathFree("asAgent", sessionKey(alices)), ""),
		"a key nobody has":     w.resume("0123456789abcdefghijklmnopqrstuv"),
		"what is no key":       w.resume("my-key"),
		"a part of another":    w.resume(alices[:20]),
		"a key with more":      w.resume(alices + "0"),
		"an API that is ours?": w.resume("%00"),
	} {
		if r.StatusCode != 401 || r.kind() != "interaction-required" {
			t.Errorf("%s: got %d %s, want 401 interaction-required", name, r.StatusCode, r.body)
		}
	}
}

func TestSidecarRefusesSessionKeys(t *testing.T) {
	w := newSidecar(t, withOpenGates, withAPIs)
	key := w.beginSession(w.alice())
	alice, daemon := w.alice(), w.daemon()
	for _, row := range []struct {
		name, path, token string
		want              string // status, type, and what the detail says
	}{
		{"a chosen key", headerPath("delegated", sessionKey("mine")), alice, "400 invalid-request must be AllocateForMe"},
		{"a key of ours beside a token", headerPath("delegated", sessionKey(key)), alice, "400 invalid-request must be AllocateForMe"},
		{"free: a chosen key", headerPathFree("delegated", sessionKey("mine")), alice, "400 invalid-request must be AllocateForMe"},
		{"free: a key of ours beside a token", headerPathFree("delegated", sessionKey(key)), alice, "400 invalid-request must be AllocateForMe"},
		{"free: nobody begins", headerPathFree("delegated", allocate), "", "401 missing-token begins with a user's"},
		{"free: nobody begins, an application could", headerPathFree("todo", allocate), "", "401 missing-token begins with a user's"},
		{"an application begins", headerPath("delegated", allocate), daemon, "403 wrong-token-type no user"},
		{"free: an application resumes", headerPathFree("delegated", sessionKey(key)), daemon, "403 wrong-token-type no user"},
		{"free: a bad token beside a key", headerPathFree("delegated", sessionKey(key)), alice + "x", "401 invalid-token "},
		{"an agent's user begins", headerPath("asRobot", allocate), alice, "400 invalid-request agent's user"},
		{"free: an agent's user resumes", headerPathFree("asRobot", sessionKey(key)), "", "400 invalid-request agent's user"},
		{"fmi_path", headerPathFree("delegated", sessionKey(key), option("AcquireTokenOptions.FmiPath", "x")), "", "400 invalid-request FmiPath"},
		{"an API that is not there", headerPathFree("nope", sessionKey(key)), "", "404 unknown-api "},
	} {
		r := w.beside("GET", row.path, row.token)
		status, detail, _ := strings.Cut(row.want, " ")
		kind, detail, _ := strings.Cut(detail, " ")
		if r.Status[:3] != status || r.kind() != kind || !strings.Contains(r.problem.Detail, detail) {
			t.Errorf("%s: got %d %s, want %s", row.name, r.StatusCode, r.body, row.want)
		}
		if strings.Contains(r.body, key) {
			t.Errorf("%s: the answer holds the key: %s", row.name, r.body)
		}
	}
	headerToken(t, w.resume(key))
}

// An application's token has no user, so a key means nothing there.
func TestSidecarIgnoresSessionKeysOfApplications(t *testing.T) {
	w := newSidecar(t, withOpenGates, withAPIs)
	for _, r := range []*reply{
		w.beside("GET", headerPath("asApp", allocate), w.alice()),
		w.beside("GET", headerPathFree("asApp", sessionKey("mine")), ""),
		w.beside("GET", headerPathFree("delegated", sessionKey("mine"), option("RequestAppToken", "true")), ""),
	} {
		if claims := headerToken(t, r); claims["oid"] != usID || strings.Contains(r.body, "longRunningSessionKey") {
			t.Errorf("got %s, want our own token and no key", r.body)
		}
	}
	log := w.log.String()
	if got := strings.Count(log, "an application's token has no long-running session"); got != 3 || strings.Contains(log, "mine") {
		t.Errorf("the log: got %d lines, want 3 without keys: %s", got, log)
	}
}

func TestSidecarEndsSessions(t *testing.T) {
	w := newSidecar(t, withOpenGates, withAPIs)
	key, other := w.beginSession(w.alice()), w.beginSession(w.alice())
	for _, row := range []struct {
		name, method, path, header string
		status                     int
	}{
		{"of a page", "DELETE", "/LongRunningSession/" + key, "Origin: https://evil.example", 403},
		{"by another name", "DELETE", "/LongRunningSession/" + key, "Sec-Fetch-Site: cross-site", 403},
		{"read", "GET", "/LongRunningSession/" + key, "", 405},
		{"no key", "DELETE", "/LongRunningSession/", "", 404},
		{"more", "DELETE", "/LongRunningSession/" + key + "/x", "", 404},
		{"two slashes", "DELETE", "//longrunningsession//" + key, "", 404},
	} {
		var lines []string
		if row.header != "" {
			lines = append(lines, row.header)
		}
		r := w.beside(row.method, row.path, "", lines...)
		if r.StatusCode != row.status || strings.Contains(r.body, key) {
			t.Errorf("%s: got %d %s, want %d without the key", row.name, r.StatusCode, r.body, row.status)
		}
		if row.status == 405 && r.Header.Get("Allow") != "DELETE" {
			t.Errorf("%s: Allow: got %q, want DELETE", row.name, r.Header.Get("Allow"))
		}
	}
	headerToken(t, w.resume(key))
	for _, path := range []string{
		"/longrunningsession/" + strings.ToUpper(key) + "/", "/LongRunningSession/" + key, "/LongRunningSession/unknown",
	} {
		if r := w.beside("DELETE", path, ""); r.StatusCode != 204 || r.body != "" {
			t.Errorf("DELETE %s: got %d %s, want 204", path, r.StatusCode, r.body)
		}
	}
	w.wantEnded(key)
	headerToken(t, w.resume(other))
	if log := w.log.String(); strings.Contains(strings.ToLower(log), key) {
		t.Errorf("the log holds the key: %s", log)
	}
}

// A sign-out on the public listener and an operator end the sessions of a user.
func TestSidecarSessionsEndWithTheUser(t *testing.T) {
	redis := redistest.Start(t)
	for _, shared := range []bool{false, true} {
		change := []func(*file){withOpenGates, withAPIs}
		if shared {
			change = append(change, withRedis(redis), patientWithRedis)
		}
		w := newSidecar(t, change...)
		admin := w.admin(t)
		for name, end := range map[string]func() *reply{
			"sign-out": func() *reply { return w.call("POST", "/signout", w.alice(), "") },
			"user":     func() *reply { return w.ask("DELETE", admin+"/cache/users/"+demoTenant+"/"+strings.ToUpper(aliceID)) },
			"all":      func() *reply { return w.ask("DELETE", admin+"/cache") },
		} {
			key, bobs := w.beginSession(w.alice()), w.beginSession(w.bob())
			headerToken(t, w.resume(key))
			if r := end(); r.StatusCode != 204 {
				t.Fatalf("%s: got %d %s, want 204", name, r.StatusCode, r.body)
			}
			w.wantEnded(key)
			if name != "all" {
				headerToken(t, w.resume(bobs, refresh))
			}
		}
	}
}

func TestSidecarSessionEndsWhenTheProviderRevokesIt(t *testing.T) {
	w := newSidecar(t, withOpenGates, withAPIs)
	key, bobs := w.beginSession(w.alice()), w.beginSession(w.bob())
	w.idp.RevokeSignIns("alice")
	if r := w.resume(key, refresh); r.StatusCode != 401 || r.kind() != "interaction-required" {
		t.Errorf("got %d %s, want 401 interaction-required", r.StatusCode, r.body)
	}
	w.wantEnded(key) // although a token is left of it
	headerToken(t, w.resume(bobs, refresh))
	before := w.idp.Count("refresh_token")
	w.wantEnded(key)
	if got := w.idp.Count("refresh_token"); got != before {
		t.Errorf("the provider is asked %d times more for a session that it has ended", got-before)
	}
	// Trouble at the provider ends nothing.
	w.idp.AddFault(mockidp.Fault{Flow: "refresh_token", Times: 2, Status: 503})
	if r := w.resume(bobs, refresh); r.StatusCode != 503 || r.kind() != "identity-provider-unavailable" || r.Header.Get("Retry-After") == "" {
		t.Errorf("got %d %s, want 503 with Retry-After", r.StatusCode, r.body)
	}
	headerToken(t, w.resume(bobs, refresh))
}

// Two replicas with one Redis and refresh tokens that are good once: fifty requests at once
// are one refresh, and a replica that comes later knows the session.
func TestReplicasShareSessions(t *testing.T) {
	redis := redistest.Start(t)
	w := newSidecar(t, withOpenGates, withAPIs, withRedis(redis), patientWithRedis)
	w.idp.AddFault(mockidp.Fault{Flow: "refresh_token", SingleUse: true})
	key := w.beginSession(w.alice())
	sides := []string{w.side}
	w.startReady()
	sides = append(sides, w.side)
	w.idp.AddFault(mockidp.Fault{Flow: "refresh_token", Times: 1, Delay: 300 * time.Millisecond}) // so that all meet
	ask := func(side, query string) {
		req, err := http.NewRequest("GET", side+headerPathFree("default", query, sessionKey(key)), nil)
		if err != nil {
			t.Error(err)
			return
		}
		if r := w.do(req); r.StatusCode != 200 {
			t.Errorf("got %d %s, want 200", r.StatusCode, r.body)
		}
	}
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() { ask(sides[i%2], option("Scopes", toNotes)) })
	}
	group.Wait()
	if got := w.idp.Count("refresh_token"); got != 1 {
		t.Errorf("got %d refreshes for 50 requests, want 1", got)
	}
	for i, scope := range []string{"api://todo/ToDoList.Read", "api://todo/ToDoList.ReadWrite", toNotes, "api://notes/Notes.Read"} {
		group.Go(func() { ask(sides[i%2], option("Scopes", scope)) })
	}
	group.Wait()
	w.startReady()
	ask(w.side, option("Scopes", "api://notes/Notes.Read"))
	for _, name := range redis.Keys() {
		if strings.Contains(name, key) || !strings.HasSuffix(name, ":user") && strings.Contains(redis.Get(name), aliceID) {
			t.Errorf("%s is readable", name)
		}
	}
}

// While Redis cannot be read, a session is neither there nor gone.
func TestSidecarSessionsWithoutRedis(t *testing.T) {
	redis := redistest.Start(t)
	w := newSidecar(t, withOpenGates, withAPIs, withRedis(redis), func(f *file) { f.TokenCache.Redis.Timeout = time.Second })
	key := w.beginSession(w.alice())
	redis.Freeze()
	answers := []*reply{
		w.resume(key), w.beside("GET", headerPath("delegated", allocate), w.bob()), w.beside("DELETE", "/LongRunningSession/"+key, ""),
	}
	plain := w.beside("GET", headerPath("delegated"), w.bob())
	redis.Thaw()
	for _, r := range answers {
		if r.StatusCode != 503 || r.kind() != "shared-cache-unavailable" || r.Header.Get("Retry-After") == "" {
			t.Errorf("%s: got %d %s, want 503 shared-cache-unavailable with Retry-After", r.Request.Method, r.StatusCode, r.body)
		}
		if strings.Contains(r.body, key) {
			t.Errorf("%s: the answer holds the key: %s", r.Request.Method, r.body)
		}
	}
	if plain.StatusCode != 200 {
		t.Errorf("without a key: got %d %s, want 200", plain.StatusCode, plain.body)
	}
	if line := w.log.lines(t)[1]; line["tokenSource"] != "redis" {
		t.Errorf("got the log line %v, want the tokenSource redis", line)
	}
	eventually(t, func() bool { return w.resume(key).StatusCode == 200 },
		func() string { return "the session does not come back with Redis" })
	if log := w.log.String(); strings.Contains(strings.ToLower(log), key) {
		t.Errorf("the log holds the key: %s", log)
	}
}

// What the log and the metrics say of sessions.
func TestSidecarSessionsAreObserved(t *testing.T) {
	w := newStoppedWorldOf(t, agentDirectory(), withSidecar, withOpenGates, withAPIs)
	p := w.startReady()
	key := w.beginSession(w.alice())
	w.resume(key)
	w.resume(key, refresh)
	w.resume("unknown")
	w.beside("DELETE", "/LongRunningSession/"+key, "")
	var got []string
	for _, line := range w.log.lines(t) {
		got = append(got, fmt.Sprint(line["route"], " ", line["status"], " ", line["tokenSource"]))
	}
	want := []string{
		"/AuthorizationHeader/{apiName} 200 identity_provider",
		"/AuthorizationHeaderUnauthenticated/{apiName} 200 memory",
		"/AuthorizationHeaderUnauthenticated/{apiName} 200 identity_provider",
		"/AuthorizationHeaderUnauthenticated/{apiName} 401 memory",
		"/LongRunningSession/{key} 204 <nil>",
	}
	if !slices.Equal(got, want) {
		t.Errorf("log: got %q, want %q", got, want)
	}
	scraped := p.scrape(t)
	for _, labels := range []string{
		`flow="refresh_token",outcome="ok",source="memory"`,
		`flow="refresh_token",outcome="ok",source="identity_provider"`,
		`flow="refresh_token",outcome="interaction_required",source="memory"`,
	} {
		if line := "middletier_token_requests_total{" + labels + "} 1\n"; !strings.Contains(scraped, line) {
			t.Errorf("no metric %s", line)
		}
	}
}

// calledAs returns the claims of the token that an API saw in a call.
func calledAs(t *testing.T, r *reply) (claims jwt.MapClaims, key string) {
	t.Helper()
	token, _ := strings.CutPrefix(answerOf(t, r).called(t).Header.Get("Authorization"), "Bearer ")
	claims = jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, claims); err != nil {
		t.Fatalf("the API saw %q: %v", token, err)
	}
	var answer struct{ LongRunningSessionKey string }
	if err := json.Unmarshal([]byte(r.body), &answer); err != nil {
		t.Fatal(err)
	}
	return claims, answer.LongRunningSessionKey
}

func TestSidecarCallsInLongRunningSessions(t *testing.T) {
	w := newCaller(t, withOpenGates, withAPIs)
	claims, key := calledAs(t, w.postBeside("/DownstreamApi/delegated?"+allocate, w.alice(), nil))
	if claims["oid"] != aliceID || key == "" {
		t.Fatalf("got a call as %v and the key %q, want alice and a key", claims["oid"], key)
	}
	_, other := calledAs(t, w.postBeside("/DownstreamApiUnauthenticated/delegated?"+allocate, w.bob(), nil))
	if other == "" || other == key {
		t.Errorf("got the key %q, want another one", other)
	}
	resumed := "/DownstreamApiUnauthenticated/delegated?" + sessionKey(key)
	claims, again := calledAs(t, w.postBeside(resumed, "", nil))
	if claims["oid"] != aliceID || again != "" {
		t.Errorf("got a call as %v and the key %q, want alice and no key", claims["oid"], again)
	}
	claims, _ = calledAs(t, w.postBeside(resumed+"&"+option("Scopes", toNotes), "", nil))
	if claims["oid"] != aliceID || claims["aud"] != demoNotes {
		t.Errorf("got a call as %v to %v, want alice with another API's token", claims["oid"], claims["aud"])
	}
	if r := w.postBeside("/DownstreamApi/delegated?"+sessionKey("mine"), w.alice(), nil); r.StatusCode != 400 || r.kind() != "invalid-request" {
		t.Errorf("a chosen key: got %d %s, want 400", r.StatusCode, r.body)
	}
	if r := w.postBeside("/DownstreamApiUnauthenticated/delegated?"+sessionKey("mine"), "", nil); r.StatusCode != 401 {
		t.Errorf("an unknown key: got %d %s, want 401", r.StatusCode, r.body)
	}
}

// An API that refuses a session's token, with or without a claims challenge, gets a new one.
func TestSidecarRefreshesASessionsTokenThatAnAPIRefused(t *testing.T) {
	w := newCaller(t, withOpenGates, withAPIs)
	_, key := calledAs(t, w.postBeside("/DownstreamApi/delegated?"+allocate, w.alice(), nil))
	for _, challenge := range []string{
		`Bearer error="invalid_token"`,
		`Bearer error="insufficient_claims", claims="` + base64.StdEncoding.EncodeToString([]byte(`{"access_token":{"nbf":{"essential":true}}}`)) + `"`,
	} {
		var refused atomic.Bool
		w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
			if refused.CompareAndSwap(false, true) {
				rw.Header().Set("WWW-Authenticate", challenge)
				rw.WriteHeader(401)
				return
			}
			answersWhatItSaw(rw, r)
		})
		before := w.idp.Count("refresh_token")
		claims, _ := calledAs(t, w.postBeside("/DownstreamApiUnauthenticated/delegated?"+sessionKey(key), "", nil))
		if got := w.idp.Count("refresh_token") - before; claims["oid"] != aliceID || got != 1 {
			t.Errorf("%s: got a call as %v after %d refreshes, want alice after 1", challenge, claims["oid"], got)
		}
	}
}

// A session whose first call fails is not left behind: nobody has its key.
func TestSidecarDropsSessionsWhoseCallFailed(t *testing.T) {
	redis := redistest.Start(t)
	w := newCaller(t, withOpenGates, withAPIs, withRedis(redis), patientWithRedis)
	records := func() (n int) {
		for _, key := range redis.Keys() {
			if value := redis.Do("TYPE", key); value == "string" && strings.HasPrefix(redis.Get(key), "\x01") {
				n++
			}
		}
		return n
	}
	_, _ = calledAs(t, w.postBeside("/DownstreamApi/delegated?"+allocate, w.alice(), nil))
	if got := records(); got != 1 {
		t.Fatalf("got %d records of a session, want 1", got)
	}
	w.api.handle(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "image/png")
		_, _ = rw.Write([]byte("\x89PNG"))
	})
	if r := w.postBeside("/DownstreamApi/delegated?"+allocate, w.alice(), nil); r.StatusCode != 502 {
		t.Fatalf("got %d %s, want 502", r.StatusCode, r.body)
	}
	if got := records(); got != 1 {
		t.Errorf("got %d records, want the first one only", got)
	}
}
