//go:build slow

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// An agent's whole way, each party in a process of its own. Alice signs in, and her application asks the
// agent's blueprint, which is the service: through the agent it sees her items. Then the agent works
// by itself: as an application, and as its user, whose items are its own.
func TestSlowAgentFromSignInToTheAPI(t *testing.T) {
	s := startPlatform(t)
	s.registerAgent()
	s.manage("POST", "/mock/grants", map[string]any{
		"client": "agent1", "resource": "middletier", "scopes": []string{"ToDoList.Read"}, "roles": []string{"ToDoList.Read.All"},
	})
	side := "127.0.0.1:" + freePorts(t, 1)[0]
	s.startService("Server__SidecarAddress="+side, "Sidecar__AllowOverrides__GetAuthorizationHeaderUnauthenticated=true",
		"Sidecar__AllowOverrides__CallDownstreamApiUnauthenticated=true",
		"DownstreamApis__robot__BaseUrl="+s.todo, "DownstreamApis__robot__Scopes__0=api://todo/ToDoList.ReadWrite",
		"DownstreamApis__robot__Access__0__AppPermissions__0=ToDoList.Read.All",
		"DownstreamApis__robot__Agent__Identity="+agentOne, "DownstreamApis__robot__Agent__User="+robotOneAs)
	s.addItems()
	sidecar := "http://" + side
	signedIn := s.signInInteractively(t, s.publicClient(t)).AccessToken

	header := s.header(t, sidecar+"/AuthorizationHeader/todo?"+asTheAgent, signedIn)
	claims := s.verifiedClaims(t, header)
	if claims["azp"] != agentOne || claims["oid"] != aliceOID || claims["xms_par_app_azp"] != demoMiddleTier {
		t.Errorf("on behalf of Alice: got %v", claims)
	}
	s.wantOwners(t, s.todo+"/items", header, "alice")
	got := s.callAPI(t, sidecar+"/DownstreamApi/todo?"+join(asTheAgent, option("RelativePath", "items")), signedIn, "")
	if !slices.Equal(got, []string{"tea"}) {
		t.Errorf("called for Alice: got the items %q, want tea", got)
	}

	asRobot := sidecar + "/DownstreamApiUnauthenticated/todo?" + join(asTheAgent, "AgentUserId="+robotOne, option("RelativePath", "items"))
	s.callAPI(t, join(asRobot, option("HttpMethod", "POST")), "", `{"title":"oil"}`)
	if got := s.callAPI(t, asRobot, "", ""); !slices.Equal(got, []string{"oil"}) {
		t.Errorf("called as the agent's user: got the items %q, want oil", got)
	}
	s.wantOwners(t, s.service+"/app/robot/items", s.token("daemon"), "robot1")

	const ours = "/AuthorizationHeaderUnauthenticated/ours?"
	asAgent := s.header(t, sidecar+ours+join(asTheAgent, option("Scopes", appScope), option("RequestAppToken", "true")), "")
	s.wantOwners(t, s.service+"/app/todo/items", asAgent, "alice", "bob", "robot1")
	forRobot := s.header(t, sidecar+ours+join(asItsUser, option("Scopes", otherScope)), "")
	s.wantOwners(t, s.service+"/api/todo/items", forRobot, "robot1")
}

// header asks the sidecar listener for a header, with a token unless that is "", and returns
// the token in it.
func (s *stack) header(t *testing.T, address, token string) string {
	t.Helper()
	var answer struct{ AuthorizationHeader string }
	s.askSidecar(t, http.MethodGet, address, token, "", &answer)
	got, ok := strings.CutPrefix(answer.AuthorizationHeader, "Bearer ")
	if !ok {
		t.Fatalf("GET %s: got the header %q", address, answer.AuthorizationHeader)
	}
	return got
}

// callAPI calls the ToDo API through the sidecar listener, and returns the titles of the
// items that it lists.
func (s *stack) callAPI(t *testing.T, address, token, body string) (titles []string) {
	t.Helper()
	var answer struct {
		StatusCode int
		Content    string
	}
	s.askSidecar(t, http.MethodPost, address, token, body, &answer)
	if body != "" {
		if answer.StatusCode != http.StatusCreated {
			t.Errorf("POST %s: got %+v, want 201", address, answer)
		}
		return nil
	}
	var items []struct{ Title string }
	if err := json.Unmarshal([]byte(answer.Content), &items); err != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("POST %s: got %+v %v, want a list", address, answer, err)
	}
	for _, item := range items {
		titles = append(titles, item.Title)
	}
	return titles
}

// askSidecar makes a request and decodes the answer.
func (s *stack) askSidecar(t *testing.T, method, address, token, body string, answer any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", resp.Status)
	}
	if err == nil {
		err = json.Unmarshal(text, answer)
	}
	if err != nil {
		t.Fatalf("%s %s: %v %s", method, address, err, text)
	}
}
