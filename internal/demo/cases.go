package demo

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"middletier/internal/mockidp"
)

// The names in the platform's directory that the cases use.
const (
	clientApp     = "spa"
	middleTierApp = "middletier"
	daemonApp     = "daemon"
)

// onBehalfOf is the platform's name of exchanges for users.
const onBehalfOf = "on_behalf_of"

// users may be named by the page.
var users = []string{"alice", "bob"}

// scenario is something that can go wrong, or another kind of call.
type scenario struct {
	name, label, text string
	method, path      string
	body              string

	// token makes the caller's token. It is new each time: no cached token hides what happens
	// at the platform, and what the middle tier remembers of the refusal is for this token
	// only.
	token func(platform *mockidp.Server, user string) string
	// demand is the authentication context that the API demands; "": none.
	demand string
	// start causes what the case is about, when its request arrives; nil: the token does. It
	// returns what removes that, after the answer.
	start func(c *cases, user string) (end func())
}

// scenarios are the page's buttons.
var scenarios = []scenario{
	{
		name: "expired-token", label: "Expired token",
		text:   "The caller sends a token that expired ten minutes ago. The middle tier refuses it; nobody else is asked.",
		method: "GET", path: "/api/todo/items",
		token: func(p *mockidp.Server, user string) string {
			claims := p.UserClaims(user, clientApp, middleTierApp, "ToDoList.ReadWrite")
			now := time.Now()
			claims["iat"], claims["nbf"] = now.Add(-70*time.Minute).Unix(), now.Add(-70*time.Minute).Unix()
			claims["exp"] = now.Add(-10 * time.Minute).Unix()
			return p.Sign(claims)
		},
	},
	{
		name: "missing-scope", label: "Missing scope",
		text:   "The caller may only read (scp is ToDoList.Read) and tries to add an item. An access rule of the middle tier refuses it.",
		method: "POST", path: "/api/todo/items", body: `{"title":"not allowed"}`,
		token: func(p *mockidp.Server, user string) string {
			return p.UserToken(user, clientApp, middleTierApp, "ToDoList.Read")
		},
	},
	{
		name: "step-up", label: "Step-up",
		text: "The API demands more proof of who the user is (authentication context c1). The middle tier asks the platform for a token " +
			"that has it. The platform wants the user to act first, so the middle tier passes the demand on as a claims challenge.",
		method: "GET", path: "/api/todo/items",
		token: freshToken, demand: provenContext,
	},
	{
		name: "consent-withdrawn", label: "Consent withdrawn",
		text: "An administrator has withdrawn the consent for the middle tier to call the API for users. " +
			"The platform issues no token for the API.",
		method: "GET", path: "/api/todo/items",
		token: freshToken, start: withdrawConsent,
	},
	{
		name: "provider-away", label: "Platform away",
		text:   "The identity platform closes connections without an answer. The middle tier tries twice, then says when to try again.",
		method: "GET", path: "/api/todo/items",
		token: freshToken,
		start: fault(mockidp.Fault{Drop: true}),
	},
	{
		name: "rejected-token", label: "API rejects the token",
		text: "The platform issues a token for another API (look at aud). The API rejects it, the middle tier gets a new one, " +
			"and the API rejects that too. The caller's token is not the cause, so the status is not 401.",
		method: "GET", path: "/api/todo/items",
		token: freshToken, start: issueForAnotherAPI,
	},
	{
		name: "daemon-call", label: "Daemon call",
		text: "A program without a user calls /app with a token of its own. The middle tier gets a token as itself, " +
			"and the API shows the items of all users.",
		method: "GET", path: "/app/todo/items",
		token: func(p *mockidp.Server, _ string) string {
			return p.AppToken(daemonApp, middleTierApp, "ToDoList.Read.All")
		},
	},
}

func freshToken(p *mockidp.Server, user string) string {
	return p.UserToken(user, clientApp, middleTierApp, "ToDoList.ReadWrite")
}

// fault returns what makes the platform misbehave at exchanges on behalf of users.
func fault(f mockidp.Fault) func(*cases, string) (end func()) {
	f.Flow = onBehalfOf
	return func(c *cases, _ string) (end func()) { return c.platform.AddFault(f) }
}

// withdrawConsent takes the scopes of the API from the middle tier, and gives them back.
func withdrawConsent(c *cases, _ string) (end func()) {
	without := c.consent
	without.Scopes = []string{}
	c.grant(without)
	return func() { c.grant(c.consent) }
}

// grant tells the platform's management what the middle tier may do. If that fails, the
// case shows no refusal; it is the platform of this process.
func (c *cases) grant(g mockidp.Grant) {
	body, err := json.Marshal(map[string]any{"client": g.Client, "resource": g.Resource, "scopes": g.Scopes, "roles": g.Roles})
	if err != nil {
		panic(fmt.Sprintf("demo: a grant: %v", err)) // strings always encode
	}
	resp, err := c.client.Post(c.platform.URL()+"/mock/grants", "application/json", bytes.NewReader(body))
	if err == nil {
		_ = resp.Body.Close() // it is empty
	}
}

// anotherAPI is an API that the directory does not have.
const anotherAPI = "api://another-api"

// issueForAnotherAPI makes the platform answer two exchanges with the user's tokens for
// another API. They differ: the middle tier would not send the same token twice.
func issueForAnotherAPI(c *cases, user string) (end func()) {
	p := c.platform
	const lifetime = time.Hour
	var removes []func()
	for range 2 {
		claims := p.UserClaims(user, middleTierApp, middleTierApp)
		claims["aud"], claims["exp"] = anotherAPI, time.Now().Add(lifetime).Unix()
		body, err := json.Marshal(map[string]any{
			"token_type": "Bearer", "access_token": p.Sign(claims), "scope": anotherAPI + "/.default",
			"expires_in": int(lifetime.Seconds()), "ext_expires_in": int(lifetime.Seconds()),
		})
		if err != nil {
			panic(fmt.Sprintf("demo: the platform's answer: %v", err)) // strings and numbers always encode
		}
		removes = append(removes, p.AddFault(mockidp.Fault{Flow: onBehalfOf, Times: 1, Body: string(body)}))
	}
	return func() {
		for _, remove := range removes {
			remove()
		}
	}
}

// caseSummary is what the page says about a case.
type caseSummary struct{ Name, Label, Text string }

func summaries() (all []caseSummary) {
	for _, s := range scenarios {
		all = append(all, caseSummary{s.name, s.label, s.text})
	}
	return all
}

// preparedCase is the request that the page is to send.
type preparedCase struct {
	RequestID string `json:"requestId"`
	Token     string `json:"token"`
	Method    string `json:"method"`
	Path      string `json:"path"`
	Body      string `json:"body,omitempty"`
}

var (
	errUnknownCase = errors.New("unknown case")
	errUnknownUser = errors.New("unknown user")
)

// maxPrepared limits the cases whose request has not arrived.
const maxPrepared = 64

// cases prepares the page's cases and causes them. One runs at a time. It has effect only
// between the arrival of its request and the answer.
type cases struct {
	platform *mockidp.Server
	client   *http.Client  // to the platform
	consent  mockidp.Grant // of the middle tier, to call the API
	turn     sync.Mutex    // held by the case that runs

	mu       sync.Mutex // guards the fields below
	prepared []preparedScenario
	demands  map[string]string // of the API, by the IDs of requests that run
}

type preparedScenario struct {
	requestID string
	user      string
	scenario  scenario
}

func newCases(c Config) *cases {
	return &cases{platform: c.Platform, client: c.Client, consent: c.Consent, demands: map[string]string{}}
}

// prepare returns the request of a case, for a user whose name may be empty: Alice.
func (c *cases) prepare(name, user string) (preparedCase, error) {
	i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
	if i < 0 {
		return preparedCase{}, errUnknownCase
	}
	if user == "" {
		user = users[0]
	}
	if !slices.Contains(users, user) {
		return preparedCase{}, errUnknownUser
	}
	s := scenarios[i]
	id := rand.Text()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.prepared) == maxPrepared {
		c.prepared = slices.Delete(c.prepared, 0, 1)
	}
	c.prepared = append(c.prepared, preparedScenario{id, user, s})
	return preparedCase{
		RequestID: id, Token: s.token(c.platform, user), Method: s.method, Path: s.path, Body: s.body,
	}, nil
}

// begin starts the case that was prepared for a request, if there is one.
func (c *cases) begin(requestID string) (name string, end func()) {
	c.mu.Lock()
	i := slices.IndexFunc(c.prepared, func(p preparedScenario) bool { return p.requestID == requestID })
	if i < 0 {
		c.mu.Unlock()
		return "", func() {}
	}
	s, user := c.prepared[i].scenario, c.prepared[i].user
	c.prepared = slices.Delete(c.prepared, i, i+1)
	if s.demand != "" {
		c.demands[requestID] = s.demand
	}
	c.mu.Unlock()
	remove := func() {}
	if s.start != nil {
		c.turn.Lock()
		remove = s.start(c, user)
	}
	return s.name, func() {
		remove()
		if s.start != nil {
			c.turn.Unlock()
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.demands, requestID)
	}
}
