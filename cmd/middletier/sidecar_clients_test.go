package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The clients of Microsoft's sidecar, and what each sends: requests that were recorded from
// the libraries that the clients are written with. {HOST} is where the sidecar listens,
// {TOKEN} Alice's token.
const (
	// requests, of Microsoft's adapter for Python and its samples.
	fromRequests = "User-Agent: python-requests/2.34.2\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n"
	// fetch of Node, of the adapter for TypeScript and the Agents SDK for JavaScript. It
	// says sec-fetch-mode, but not sec-fetch-site as browsers do.
	fromNode = "connection: keep-alive\r\naccept: */*\r\naccept-language: *\r\nsec-fetch-mode: cors\r\n" +
		"user-agent: node\r\naccept-encoding: gzip, deflate\r\n"
	// httpx, of the Agents SDK for Python.
	fromHTTPX = "Accept: */*\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nUser-Agent: python-httpx/0.28.1\r\n"
	fromCurl  = "User-Agent: curl/8.5.0\r\nAccept: */*\r\n"
)

// Parts of headers, and of requests without a body.
const (
	toHost    = "Host: {HOST}\r\n"
	withToken = "Authorization: Bearer {TOKEN}\r\n"
	noBody    = "Content-Length: 0\r\n\r\n"
)

// aliceOID is Alice's object ID.
const aliceOID = "aaaaaaaa-0000-4000-8000-000000000001"

// The resource of tokens with which agents and blueprints authenticate themselves.
const tokenExchangeID = "fb60f99c-7a34-4190-8149-302f77469936"

// asMicrosofts configures the sidecar listener as the samples of Microsoft's container do,
// with their names of APIs.
func asMicrosofts(f *file) {
	withOpenGates(f)
	api := f.DownstreamAPIs["todo"]
	api.Scopes = []string{"api://todo/ToDoList.ReadWrite"}
	f.DownstreamAPIs["graph"] = api
	api.Scopes, api.RequestAppToken = []string{"api://todo/.default"}, true
	f.DownstreamAPIs["graph-app"] = api
	api.Scopes = []string{"api://AzureAdTokenExchange/.default"}
	f.DownstreamAPIs["agenticblueprint"] = api
}

// asTheAgent and asItsUser are the parameters of an agent, and of its user.
var (
	asTheAgent = "AgentIdentity=" + agentOne
	asItsUser  = join(asTheAgent, "AgentUsername="+url.QueryEscape(robotOneAs))
)

// join returns a query with these parameters.
func join(parameters ...string) string { return strings.Join(parameters, "&") }

// tokenOption is an override of how the token is got.
func tokenOption(name, value string) string { return option("AcquireTokenOptions."+name, value) }

// sidecarAnswer is an answer of the sidecar listener.
type sidecarAnswer struct {
	*http.Response
	body   string
	fields struct {
		AuthorizationHeader, Protocol, Token string
		Claims                               map[string]any
		StatusCode                           int
		Headers                              map[string][]string
		Content                              *string
		Type, Title, Detail                  string
		Status                               int
	}
}

// claims returns the claims of the token in the answer's header.
func (a *sidecarAnswer) claims() jwt.MapClaims {
	claims := jwt.MapClaims{}
	token, _ := strings.CutPrefix(a.fields.AuthorizationHeader, "Bearer ")
	_, _, _ = jwt.NewParser().ParseUnverified(token, claims) // without a token there are none
	return claims
}

// sendSidecar sends a request as it is and reads the answer.
func (w *world) sendSidecar(request string) *sidecarAnswer {
	w.t.Helper()
	host := strings.TrimPrefix(w.side, "http://")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		w.t.Fatal(err)
	}
	request = strings.ReplaceAll(request, "{HOST}", strings.Replace(host, "127.0.0.1", "localhost", 1))
	if strings.Contains(request, "{TOKEN}") {
		request = strings.ReplaceAll(request, "{TOKEN}", w.alice())
	}
	if _, err := io.WriteString(conn, request); err != nil {
		w.t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		w.t.Fatalf("%.80q: %v", request, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("%.80q: %v", request, err)
	}
	answer := &sidecarAnswer{Response: resp, body: string(body)}
	if strings.HasSuffix(resp.Header.Get("Content-Type"), "json") || strings.Contains(resp.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(body, &answer.fields); err != nil {
			w.t.Fatalf("%.80q: %v in %s", request, err, body)
		}
	}
	return answer
}

// The claims of tokens that the rows below want.
var (
	ofAliceByAgent = map[string]any{"aud": demoToDo, "azp": agentOne, "oid": aliceOID, "idtyp": "user", "xms_par_app_azp": demoMiddleTier}
	ofRobot        = map[string]any{"aud": demoToDo, "azp": agentOne, "oid": robotOne, "idtyp": "user", "xms_par_app_azp": demoMiddleTier}
	ofAgent        = map[string]any{"aud": demoToDo, "azp": agentOne, "sub": agentOne, "idtyp": "app", "xms_par_app_azp": demoMiddleTier}
	ofUs           = map[string]any{"aud": demoToDo, "azp": demoMiddleTier, "idtyp": "app", "xms_par_app_azp": nil}
	ofAlice        = map[string]any{"aud": demoToDo, "azp": demoMiddleTier, "oid": aliceOID, "idtyp": "user", "xms_par_app_azp": nil}
)

// headerRequests are requests for a header, and the claims of the token in it.
var headerRequests = []struct {
	client, target, query, headers string
	want                           map[string]any
}{
	{
		"adapter for Python, on behalf of the user", "/AuthorizationHeader/graph",
		join(option("Scopes", "api://todo/ToDoList.Read"), option("Scopes", "openid"), option("RequestAppToken", "false"),
			tokenOption("ForceRefresh", "true")),
		toHost + fromRequests + withToken, ofAlice,
	},
	{
		"adapter for Python, a base URL of its own", "/AuthorizationHeader/graph", option("BaseUrl", "https://evil.example/"),
		toHost + fromRequests + withToken, ofAlice,
	},
	{
		"adapter for Python, an agent's user", "/AuthorizationHeader/graph", asItsUser,
		toHost + fromRequests + withToken, ofRobot,
	},
	{
		"adapter for Python, without a user", "/AuthorizationHeaderUnauthenticated/graph-app", "",
		toHost + fromRequests, ofUs,
	},
	{
		"Agents SDK for JavaScript, the application's", "/AuthorizationHeaderUnauthenticated/default",
		join(option("Scopes", "api://todo/.default"), option("RequestAppToken", "true")),
		toHost + fromNode, ofUs,
	},
	{
		"Agents SDK for JavaScript, for the agent's exchange", "/AuthorizationHeaderUnauthenticated/agenticblueprint",
		join(asTheAgent, tokenOption("Tenant", demoTenant)),
		toHost + fromNode,
		map[string]any{"aud": tokenExchangeID, "azp": agentOne, "idtyp": "app", "xms_par_app_azp": demoMiddleTier},
	},
	{
		"Agents SDK for JavaScript, the agent's", "/AuthorizationHeaderUnauthenticated/default",
		join(asTheAgent, option("Scopes", "api://todo/.default"), option("RequestAppToken", "true"), tokenOption("Tenant", demoTenant)),
		toHost + fromNode, ofAgent,
	},
	{
		"Agents SDK for Python, the agent's user's by name", "/AuthorizationHeaderUnauthenticated/default",
		join(asItsUser, option("Scopes", "api://todo/ToDoList.Read"), tokenOption("Tenant", demoTenant)),
		toHost + fromHTTPX, ofRobot,
	},
	{
		"Agents SDK for Python, the agent's user's by id", "/AuthorizationHeaderUnauthenticated/default",
		join(asTheAgent, "AgentUserId="+robotOne, option("Scopes", "api://todo/ToDoList.Read"), option("Scopes", "api://todo/ToDoList.ReadWrite"),
			tokenOption("Tenant", "contoso.example")),
		toHost + fromHTTPX, ofRobot,
	},
	{
		"Agents SDK for Python, forced", "/AuthorizationHeaderUnauthenticated/default",
		join(option("Scopes", "api://todo/.default"), option("RequestAppToken", "true"), tokenOption("ForceRefresh", "true")),
		toHost + fromHTTPX, ofUs,
	},
	{
		"samples, the agent's", "/AuthorizationHeaderUnauthenticated/graph-app", asTheAgent,
		fromRequests + "Host: localhost\r\n", ofAgent, // written by hand
	},
	{
		"samples, the user through the agent", "/AuthorizationHeader/graph", asTheAgent,
		toHost + fromRequests + withToken, ofAliceByAgent,
	},
	{
		"samples, with a correlation id", "/AuthorizationHeaderUnauthenticated/graph-app",
		join(asTheAgent, tokenOption("CorrelationId", "5c9a598a-4933-4db4-8cb0-e4024f56de5b"), tokenOption("ForceRefresh", "true")),
		toHost + fromCurl, ofAgent,
	},
	{"a client of HTTP/1.0, without a host", "/AuthorizationHeaderUnauthenticated/graph-app", "", "", ofUs},
}

// Every client of Microsoft's sidecar gets its token, by the requests that it sends.
func TestSidecarGivesItsClientsHeaders(t *testing.T) {
	w := newSidecar(t, asMicrosofts)
	for _, row := range headerRequests {
		target, version := row.target, "HTTP/1.1"
		if row.query != "" {
			target += "?" + row.query
		}
		if row.headers == "" {
			version = "HTTP/1.0"
		}
		answer := w.sendSidecar("GET " + target + " " + version + "\r\n" + row.headers + "\r\n")
		claims := answer.claims()
		if answer.StatusCode != http.StatusOK || len(claims) == 0 {
			t.Errorf("%s: got %s %s, want a header with a token", row.client, answer.Status, answer.body)
			continue
		}
		for name, want := range row.want {
			if fmt.Sprint(claims[name]) != fmt.Sprint(want) {
				t.Errorf("%s: claim %s: got %v, want %v", row.client, name, claims[name], want)
			}
		}
		if got := answer.Header.Get("Cache-Control"); got != "no-cache, no-store, must-revalidate" {
			t.Errorf("%s: Cache-Control: got %q", row.client, got)
		}
		if got := answer.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/json") {
			t.Errorf("%s: Content-Type: got %q", row.client, got)
		}
	}
	if n := len(w.api.seen()); n > 0 {
		t.Errorf("the API got %d requests, want none", n)
	}
}

// The adapters for TypeScript and Python validate a user's token. The one for TypeScript
// sends the agent's parameters on this route too, where they mean nothing.
func TestSidecarValidatesForItsClients(t *testing.T) {
	w := newSidecar(t, asMicrosofts)
	for _, row := range []struct{ client, target, headers string }{
		{"adapter for TypeScript", "/Validate", toHost + withToken + fromNode},
		{
			"adapter for TypeScript, of an agent", "/Validate?" + asItsUser,
			toHost + withToken + fromNode,
		},
		{"adapter for Python", "/Validate", toHost + fromRequests + withToken},
	} {
		answer := w.sendSidecar("GET " + row.target + " HTTP/1.1\r\n" + row.headers + "\r\n")
		got := answer.fields
		if answer.StatusCode != http.StatusOK || got.Protocol != "Bearer" || strings.Count(got.Token, ".") != 2 ||
			got.Claims["oid"] != aliceOID || got.Claims["scp"] != "ToDoList.ReadWrite" {
			t.Errorf("%s: got %s %s, want Alice's token with its claims", row.client, answer.Status, answer.body)
		}
	}
	refused := w.sendSidecar("GET /Validate HTTP/1.1\r\n" + toHost + "Authorization: Bearer {TOKEN}x\r\n" + fromNode + "\r\n")
	if got := refused.Status; got != "401 Unauthorized" || refused.fields.Title == "" ||
		!strings.HasPrefix(refused.Header.Get("WWW-Authenticate"), "Bearer ") {
		t.Errorf("a bad token: got %s %q %s, want 401 with a challenge and a title", got, refused.Header.Get("WWW-Authenticate"), refused.body)
	}
}

// The adapter for Python calls the API through the sidecar. The API sees what the adapter
// asks for and what its application sends, and nothing of requests.
func TestSidecarCallsTheAPIForItsClients(t *testing.T) {
	w := newSidecar(t, asMicrosofts)
	bodies := make(chan string, 1)
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- string(body)
		rw.Header().Set("Content-Type", "application/json")
		rw.Header().Set("X-Of-The-API", "yes")
		rw.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(rw, `{"id":1}`)
	})
	const body = `{"title": "buy milk \u00fc"}` // as json.dumps writes it
	const withBody = withToken + "Content-Length: 28\r\nContent-Type: application/json\r\n\r\n" + body
	for _, row := range []struct {
		name, target, query, rest    string
		method, uri, contentType, is string // what the API sees
		want                         map[string]any
	}{
		{
			"on behalf of the user", "/DownstreamApi/graph", join(option("HttpMethod", "POST"), option("RelativePath", "items?x=1&y=a b")), withBody,
			"POST", "/items?x=1&y=a%20b", "application/json", body, ofAlice,
		},
		{
			"without a user and a body", "/DownstreamApiUnauthenticated/graph-app", "", noBody,
			"GET", "/", "", "", ofUs,
		},
		{
			"as the agent", "/DownstreamApiUnauthenticated/graph-app", join(asTheAgent, option("RelativePath", "items")), noBody,
			"GET", "/items", "", "", ofAgent,
		},
		{
			"as the agent's user", "/DownstreamApi/graph",
			join(asItsUser, option("HttpMethod", "PATCH"), option("RelativePath", "items")), withBody,
			"PATCH", "/items", "application/json", body, ofRobot,
		},
	} {
		answer := w.sendSidecar("POST " + row.target + "?" + row.query + " HTTP/1.1\r\n" + toHost + fromRequests + row.rest)
		got := answer.fields
		if answer.StatusCode != http.StatusOK || got.StatusCode != http.StatusCreated || got.Content == nil || *got.Content != `{"id":1}` ||
			fmt.Sprint(got.Headers["X-Of-The-Api"]) != "[yes]" {
			t.Errorf("%s: got %s %s, want the API's answer", row.name, answer.Status, answer.body)
			continue
		}
		seen := w.api.last(t)
		if sent := <-bodies; seen.Method != row.method || strings.ReplaceAll(seen.RequestURI, "+", "%20") != row.uri || sent != row.is {
			t.Errorf("%s: the API got %s %s %q, want %s %s %q", row.name, seen.Method, seen.RequestURI, sent, row.method, row.uri, row.is)
		}
		if seen.Header.Get("Accept") != "application/json" || seen.Header.Get("Content-Type") != row.contentType ||
			strings.Contains(seen.Header.Get("User-Agent"), "python") {
			t.Errorf("%s: the API got the headers %v", row.name, seen.Header)
		}
		claims := claimsOf(t, seen)
		for name, want := range row.want {
			if fmt.Sprint(claims[name]) != fmt.Sprint(want) {
				t.Errorf("%s: claim %s: got %v, want %v", row.name, name, claims[name], want)
			}
		}
	}
}

// The clients tell refusals apart by their status, and show the title of the problem.
func TestSidecarRefusesItsClientsInWaysTheyKnow(t *testing.T) {
	w := newSidecar(t, asMicrosofts)
	for _, row := range []struct {
		name, request string
		status        int
	}{
		{
			"an API that is not configured",
			"GET /AuthorizationHeaderUnauthenticated/nothing?" + join(asTheAgent, option("RequestAppToken", "true")), 404,
		},
		{"an API that is not configured, called", "POST /DownstreamApi/nothing?" + option("Scopes", "api://todo/.default"), 404},
		{"a key for proof of possession", "GET /AuthorizationHeader/graph?" + tokenOption("PopPublicKey", "abc"), 400},
		{"a managed identity", "GET /AuthorizationHeader/graph?" + tokenOption("ManagedIdentity.UserAssignedClientId", agentOne), 400},
		{
			"an agent's user and an application's token",
			"GET /AuthorizationHeaderUnauthenticated/default?" + join(asTheAgent, "AgentUserId="+robotOne,
				option("Scopes", "api://todo/.default"), option("RequestAppToken", "true")), 400,
		},
		{
			"an agent's user without an agent",
			"GET /AuthorizationHeaderUnauthenticated/default?" + join("AgentUserId="+robotOne, option("Scopes", "api://todo/.default")), 400,
		},
		{"a method of another route", "PUT /DownstreamApi/graph", 405},
	} {
		for client, headers := range map[string]string{"requests": fromRequests, "Node": fromNode} {
			answer := w.sendSidecar(row.request + " HTTP/1.1\r\n" + toHost + withToken + headers + noBody)
			got := answer.fields
			if answer.StatusCode != row.status || got.Status != row.status || got.Title == "" || got.Detail == "" || got.Type == "" {
				t.Errorf("%s, %s: got %s %s, want %d with a problem", row.name, client, answer.Status, answer.body, row.status)
			}
			for _, secret := range []string{agentOne, robotOne, robotOneAs} {
				if strings.Contains(got.Title, secret) { // the SDKs log it
					t.Errorf("%s, %s: the title %q names %s", row.name, client, got.Title, secret)
				}
			}
		}
	}
	if w.exchanges() > 0 {
		t.Errorf("got %d exchanges, want none", w.exchanges())
	}
}

// Probes of containers: curl --fail, wget --spider, and an HTTP probe of Kubernetes, which
// comes from another address and names it as the host.
func TestSidecarAnswersProbes(t *testing.T) {
	w := newSidecar(t, asMicrosofts)
	for name, request := range map[string]string{
		"curl":       "GET /healthz HTTP/1.1\r\n" + toHost + fromCurl + "\r\n",
		"wget":       "HEAD /healthz HTTP/1.1\r\n" + toHost + "User-Agent: Wget/1.21.4\r\nAccept: */*\r\nAccept-Encoding: identity\r\n\r\n",
		"Kubernetes": "GET /healthz HTTP/1.1\r\nHost: 10.1.2.3:5000\r\nUser-Agent: kube-probe/1.31\r\nAccept: */*\r\nConnection: close\r\n\r\n",
		"httpx":      "GET /healthz HTTP/1.1\r\n" + toHost + fromHTTPX + "\r\n",
	} {
		answer := w.sendSidecar(request)
		want := "Healthy"
		if name == "wget" {
			want = ""
		}
		if answer.StatusCode != http.StatusOK || answer.body != want || !strings.HasPrefix(answer.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s: got %s %q %q", name, answer.Status, answer.Header.Get("Content-Type"), answer.body)
		}
	}
}
