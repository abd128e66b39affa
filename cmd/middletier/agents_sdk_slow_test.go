//go:build slow

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

// registerAgent makes the middle tier the blueprint of an agent that may call the ToDo API,
// for itself and as its user.
func (s *stack) registerAgent() {
	s.t.Helper()
	s.manage("POST", "/mock/users", map[string]any{
		"name": "robot1", "tenantId": demoTenant, "objectId": robotOne, "username": robotOneAs,
	})
	s.manage("POST", "/mock/apps", map[string]any{
		"name": "middletier", "tenantId": demoTenant, "clientId": demoMiddleTier, "objectId": "22222222-0000-4000-8000-000000000000",
		"idUris": []string{"api://" + demoMiddleTier}, "secrets": []string{mockSecret},
		"scopes": []string{"ToDoList.Read", "ToDoList.ReadWrite"}, "roles": []string{"ToDoList.Read.All", "ToDoList.ReadWrite.All"},
		"optionalClaims": []string{"idtyp", "xms_cc"},
		"agents":         []map[string]any{{"name": "agent1", "clientId": agentOne, "users": []string{robotOneAs}}},
	})
	s.manage("POST", "/mock/grants", map[string]any{
		"client": "agent1", "resource": "todo",
		"scopes": []string{"ToDoList.Read", "ToDoList.ReadWrite"}, "roles": []string{"ToDoList.Read.All"},
	})
}

// sidecarSettings is an appsettings.json for Microsoft's sidecar: the names are Microsoft's, and so is the
// gate that its Agents SDKs need. %[1]s is the platform, %[2]s the ToDo API.
const sidecarSettings = `{
  // as for mcr.microsoft.com/entra-sdk/auth-sidecar
  "Logging": {"LogLevel": {"Default": "Information", "Microsoft.AspNetCore": "Warning"}},
  "AllowedHosts": "*",
  "AzureAd": {
    "Instance": "%[1]s/",
    "TenantId": "` + demoTenant + `",
    "ClientId": "` + demoMiddleTier + `",
    "ClientCredentials": [{"SourceType": "ClientSecret", "ClientSecret": "` + mockSecret + `"}],
  },
  "DownstreamApis": {
    "todo": {"BaseUrl": "%[2]s/", "RelativePath": "items", "Scopes": ["api://todo/ToDoList.ReadWrite"]},
    "todo-app": {"BaseUrl": "%[2]s/", "RelativePath": "items", "Scopes": ["api://todo/.default"], "RequestAppToken": true},
    "agenticblueprint": {"Scopes": ["api://AzureAdTokenExchange/.default"], "RequestAppToken": true},
  },
  "Sidecar": {"AllowOverrides": {"GetAuthorizationHeaderUnauthenticated": true, "CallDownstreamApiUnauthenticated": true}},
}`

// standIn is the service in the place of Microsoft's sidecar.
type standIn struct {
	*process
	url string
}

// startStandIn starts the service with the configuration of Microsoft's sidecar.
func (s *stack) startStandIn(t *testing.T) standIn {
	t.Helper()
	address := "localhost:" + freePorts(t, 1)[0]
	path := filepath.Join(t.TempDir(), "appsettings.json")
	writeTo(t, path, fmt.Sprintf(sidecarSettings, s.platform, s.todo))
	environment := []string{"SSL_CERT_FILE=" + s.ca, "ASPNETCORE_URLS=http://" + address, "Server__AdminAddress=off"}
	sidecar := standIn{startProcess(t, environment, "serve", "--config", path), "http://" + address}
	sidecar.await(t, "listening for the application")
	return sidecar
}

// verifiedClaims returns the claims of a token that one of the platform's keys signed.
func (s *stack) verifiedClaims(t *testing.T, token string) jwt.MapClaims {
	t.Helper()
	keys, err := keyfunc.NewJWKSetJSON(json.RawMessage(s.manage("GET", "/"+demoTenant+"/discovery/v2.0/keys", nil)))
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{}
	_, err = jwt.ParseWithClaims(token, claims, keys.Keyfunc, jwt.WithValidMethods([]string{"RS256"}),
		jwt.WithIssuer(s.platform+"/"+demoTenant+"/v2.0"), jwt.WithExpirationRequired())
	if err != nil {
		t.Fatalf("token %q: %v", token, err)
	}
	return claims
}

// exchanged returns the flows of the requests to the token endpoint since the journal was
// emptied by resetting it, in their order.
func (s *stack) exchanged(t *testing.T) (flows []string) {
	t.Helper()
	var journal []struct {
		Method, Flow string
	}
	if err := json.Unmarshal([]byte(s.manage("GET", "/mock/requests", nil)), &journal); err != nil {
		t.Fatal(err)
	}
	for _, request := range journal {
		if request.Method == http.MethodPost {
			flows = append(flows, request.Flow)
		}
	}
	return flows
}

// agentsSDK is a running program of clients/… that has one of Microsoft's Agents SDKs.
type agentsSDK struct {
	t       *testing.T
	calls   io.Writer
	answers *bufio.Scanner
	stderr  *syncBuffer
}

// sdkCall is what an agent asks its SDK for.
type sdkCall struct {
	Name    string   `json:"name"` // healthy, app, application, instance or user
	Tenant  string   `json:"tenant,omitempty"`
	Agent   string   `json:"agent,omitempty"`
	User    string   `json:"user,omitempty"`
	Scopes  []string `json:"scopes,omitempty"`
	Refresh bool     `json:"refresh,omitempty"` // app, in Python
}

// sdkAnswer is a token, or the SDK's error.
type sdkAnswer struct{ Token, Error, Message string }

// startSDK starts a program with the settings of an agent.
func startSDK(t *testing.T, program *exec.Cmd, sidecar string, settings ...string) *agentsSDK {
	t.Helper()
	const prefix = "CONNECTIONS__SERVICE_CONNECTION__SETTINGS__"
	program.Env = append(program.Environ(), "SIDECAR_URL="+sidecar, prefix+"AUTHTYPE=EntraAuthSideCar", prefix+"CLIENTID="+demoMiddleTier,
		prefix+"TENANTID="+demoTenant, "CONNECTIONSMAP__0__SERVICEURL=*", "CONNECTIONSMAP__0__CONNECTION=SERVICE_CONNECTION")
	for _, setting := range settings { // the SDKs differ in the spelling of names
		program.Env = append(program.Env, prefix+setting, prefix+strings.ReplaceAll(setting, "_", ""))
	}
	sdk := &agentsSDK{t: t, stderr: &syncBuffer{}}
	program.Stderr = sdk.stderr
	calls, err := program.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	answers, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	sdk.calls, sdk.answers = calls, bufio.NewScanner(answers)
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Wait() }) // the test's context has ended it
	return sdk
}

// ask makes one call.
func (sdk *agentsSDK) ask(call sdkCall) (answer sdkAnswer) {
	sdk.t.Helper()
	line, err := json.Marshal(call)
	if err != nil {
		sdk.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(sdk.calls, "%s\n", line); err != nil {
		sdk.t.Fatalf("%v\n%s", err, sdk.stderr.String())
	}
	if !sdk.answers.Scan() {
		sdk.t.Fatalf("%+v: no answer: %v\n%s", call, sdk.answers.Err(), sdk.stderr.String())
	}
	if err := json.Unmarshal(sdk.answers.Bytes(), &answer); err != nil {
		sdk.t.Fatalf("%+v: %v in %s", call, err, sdk.answers.Text())
	}
	return answer
}

// agentsSDKs returns what starts a program with the Agents SDK of each language.
func agentsSDKs(t *testing.T) map[string]func(*testing.T) *exec.Cmd {
	t.Helper()
	return map[string]func(*testing.T) *exec.Cmd{
		"JavaScript": func(t *testing.T) *exec.Cmd {
			return exec.CommandContext(t.Context(), javascriptClients(t), filepath.Join(javascript, "agents-hosting.mjs"))
		},
		"Python": func(t *testing.T) *exec.Cmd {
			return pythonClient(t, filepath.Join(python, "agents_sidecar.py"))
		},
	}
}

// todoDefault is the scope of all that was granted for the ToDo API.
var todoDefault = []string{"api://todo/.default"}

// wantedTokens are the calls of an agent, and the claims of the token that each gets. The
// API "default" of the SDKs is not configured: the calls name its scopes.
var wantedTokens = []struct {
	name string
	call sdkCall
	want map[string]any
}{
	{"the application's own", sdkCall{Name: "app", Scopes: todoDefault}, map[string]any{
		"aud": demoToDo, "azp": demoMiddleTier, "idtyp": "app", "xms_par_app_azp": nil, "scp": nil,
		"roles": []any{"ToDoList.Read.All", "ToDoList.ReadWrite.All"},
	}},
	{"for the agent's exchange", sdkCall{Name: "application", Tenant: demoTenant, Agent: agentOne}, map[string]any{
		"aud": tokenExchangeID, "azp": agentOne, "sub": agentOne, "idtyp": "app", "xms_par_app_azp": demoMiddleTier,
	}},
	{"the agent's own", sdkCall{Name: "instance", Tenant: demoTenant, Agent: agentOne}, map[string]any{
		"aud": demoToDo, "azp": agentOne, "sub": agentOne, "idtyp": "app", "xms_par_app_azp": demoMiddleTier,
		"roles": []any{"ToDoList.Read.All"},
	}},
	{"the agent's user's, by name", callAs(robotOneAs, todoDefault...), robotClaims},
	{"the agent's user's, by id", callAs(robotOne, todoDefault...), robotClaims},
	{"the agent's user's, with the SDK's scopes", callAs(strings.ToUpper(robotOne)), robotClaims},
}

// callAs asks for a token of the agent's user.
func callAs(user string, scopes ...string) sdkCall {
	return sdkCall{Name: "user", Tenant: demoTenant, Agent: agentOne, User: user, Scopes: scopes}
}

// robotClaims are those of a token of the agent's user.
var robotClaims = map[string]any{
	"aud": demoToDo, "azp": agentOne, "oid": robotOne, "idtyp": "user", "preferred_username": robotOneAs,
	"xms_par_app_azp": demoMiddleTier, "xms_sub_fct": "13", "scp": "ToDoList.Read ToDoList.ReadWrite", "roles": nil,
}

// Agents get each kind of token with Microsoft's SDKs as they are, where the service is configured as
// Microsoft's sidecar is. The ToDo API accepts the tokens and sees whose they are.
func TestSlowAgentsSDKsGetTokens(t *testing.T) {
	t.Parallel()
	for language, program := range agentsSDKs(t) {
		t.Run(language, func(t *testing.T) {
			s := startPlatform(t)
			s.registerAgent()
			sidecar := s.startStandIn(t)
			sdk := startSDK(t, program(t), sidecar.url, "SCOPES="+todoDefault[0])
			if got := sdk.ask(sdkCall{Name: "healthy"}); got.Token != "true" {
				t.Fatalf("healthy: got %+v, want true", got)
			}
			for _, row := range wantedTokens {
				answer := sdk.ask(row.call)
				if answer.Error != "" {
					t.Errorf("%s: got %+v\n%s", row.name, answer, sidecar.stdout.String())
					continue
				}
				claims := s.verifiedClaims(t, answer.Token)
				for name, want := range row.want {
					if fmt.Sprint(claims[name]) != fmt.Sprint(want) {
						t.Errorf("%s: claim %s: got %v, want %v", row.name, name, claims[name], want)
					}
				}
				if claims["aud"] == demoToDo {
					s.wantItems(t, row.name, answer.Token)
				}
			}
			if got := s.exchanged(t); strings.Count(strings.Join(got, " "), "user_fic") != 2 || len(got) > 7 {
				t.Errorf("exchanges: got %v, want user_fic for each way to name the user, and 5 others at the most", got)
			}
			s.wantFewExchanges(t, program(t), sidecar)
		})
	}
}

// wantItems lists items at the ToDo API itself.
func (s *stack) wantItems(t *testing.T, name, token string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.todo+"/items", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("%s: the API answers %s", name, resp.Status)
	}
}

// wantFewExchanges checks that another agent beside the same service makes no exchange that was made
// before, and that a forced one is made.
func (s *stack) wantFewExchanges(t *testing.T, program *exec.Cmd, sidecar standIn) {
	t.Helper()
	before := len(s.exchanged(t))
	sdk := startSDK(t, program, sidecar.url, "SCOPES="+todoDefault[0])
	var app string
	for _, row := range wantedTokens {
		answer := sdk.ask(row.call)
		if answer.Token == "" {
			t.Errorf("%s, once more: got %+v", row.name, answer)
		}
		if row.call.Name == "app" {
			app = answer.Token
		}
	}
	if got := s.exchanged(t)[before:]; len(got) > 0 {
		t.Errorf("exchanges of a second agent: got %v, want none", got)
	}
	if strings.HasSuffix(program.Args[1], ".mjs") {
		return // this SDK never forces one
	}
	forced := sdk.ask(sdkCall{Name: "app", Scopes: todoDefault, Refresh: true})
	if flows := s.exchanged(t)[before:]; forced.Token == "" || forced.Token == app || len(flows) != 1 {
		t.Errorf("forced: got %+v with exchanges %v, want a new token with one", forced, flows)
	}
}

// The SDKs make of each refusal what an agent can act on.
func TestSlowAgentsSDKsUnderstandErrors(t *testing.T) {
	t.Parallel()
	for language, program := range agentsSDKs(t) {
		t.Run(language, func(t *testing.T) {
			s := startPlatform(t)
			s.registerAgent()
			sidecar := s.startStandIn(t)
			for _, row := range []struct {
				name     string
				settings []string
				call     sdkCall
				status   int
				kind     string // of Python's error
				says     string // of its text
			}{
				{
					"an API that is not configured",
					[]string{"SERVICE_NAME=nothing"},
					sdkCall{Name: "instance", Tenant: demoTenant, Agent: agentOne},
					404, "SidecarConfigurationError", "Sidecar returned",
				},
				{
					"a tenant that is none", nil,
					sdkCall{Name: "user", Tenant: "../common", Agent: agentOne, User: robotOne, Scopes: todoDefault},
					400, "ValueError", "Sidecar returned",
				},
				{
					"an agent that is none", nil,
					sdkCall{Name: "user", Tenant: demoTenant, Agent: "agent", User: robotOne, Scopes: todoDefault},
					400, "ValueError", "Sidecar returned",
				},
				{
					"an agent of nobody's", nil,
					sdkCall{Name: "user", Tenant: demoTenant, Agent: demoApp, User: robotOne, Scopes: todoDefault},
					500, "SidecarUnavailableError", "Sidecar request failed after 1 attempt(s): HTTP",
				},
			} {
				sdk := startSDK(t, program(t), sidecar.url, append(row.settings, "RETRY_COUNT=0")...)
				got := sdk.ask(row.call)
				want := map[string]string{
					"Python":     fmt.Sprintf("%s: %s %d", row.kind, row.says, row.status),
					"JavaScript": fmt.Sprintf("-120807: [-120807] - Sidecar returned error status %d: ", row.status),
				}[language]
				if text := got.Error + ": " + got.Message; !strings.HasPrefix(text, want) {
					t.Errorf("%s: got %s, want %s\n%s", row.name, text, want, sidecar.stdout.String())
				}
			}
		})
	}
}

// While the platform is ill or throttles, the SDKs try again, and so an agent notices only that it
// takes longer.
func TestSlowAgentsSDKsRetry(t *testing.T) {
	t.Parallel()
	for language, program := range agentsSDKs(t) {
		t.Run(language, func(t *testing.T) {
			s := startPlatform(t)
			s.registerAgent()
			sidecar := s.startStandIn(t)
			sdk := startSDK(t, program(t), sidecar.url, "SCOPES="+todoDefault[0])
			for _, row := range []struct {
				name  string
				fault map[string]any
				call  sdkCall
			}{
				{
					"throttled",
					map[string]any{"times": 1, "status": 429, "header": map[string]string{"Retry-After": "1"}, "body": "{}"},
					sdkCall{Name: "app", Scopes: todoDefault},
				},
				{
					"out of order",
					map[string]any{"times": 2, "status": 503, "body": "{}"},
					sdkCall{Name: "instance", Tenant: demoTenant, Agent: agentOne},
				},
			} {
				s.manage("POST", "/mock/faults", row.fault)
				before := strings.Count(sidecar.stdout.String(), `"status":503`)
				if got := sdk.ask(row.call); got.Token == "" {
					t.Errorf("%s: got %+v, want a token\n%s", row.name, got, sidecar.stdout.String())
				}
				if got := strings.Count(sidecar.stdout.String(), `"status":503`) - before; got == 0 {
					t.Errorf("%s: got no answer with 503, want one or more", row.name)
				}
			}
		})
	}
}
