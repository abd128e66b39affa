package main

import "testing"

const blueprintOfCaller = "b1b1b1b1-0000-4000-8000-000000000001"

// Tokens that agents bring: the line names the blueprint, and an application's scp of "/" is none.
func TestTokensOfAgentsAreLoggedWithTheirBlueprint(t *testing.T) {
	w := newWorld(t)
	user := w.idp.UserClaims("alice", "app", "middletier", "ToDoList.Read")
	user["xms_par_app_azp"] = blueprintOfCaller
	app := w.idp.AppClaims("daemon", "middletier", "ToDoList.Read.All")
	app["xms_par_app_azp"], app["scp"] = blueprintOfCaller, "/"
	delete(app, "idtyp")
	forged := w.idp.UserClaims("alice", "app", "middletier", "ToDoList.Read")
	forged["xms_par_app_azp"] = "no GUID"
	for _, c := range []struct {
		path  string
		token map[string]any
		want  any
	}{
		{"/api/todo/items", user, blueprintOfCaller},
		{"/app/todo/items", app, blueprintOfCaller},
		{"/api/todo/items", forged, nil},
	} {
		if r := w.call("GET", c.path, w.idp.Sign(c.token), ""); r.StatusCode != 200 {
			t.Errorf("GET %s: got %d %s, want 200", c.path, r.StatusCode, r.body)
		}
		lines := w.log.lines(t)
		if got := lines[len(lines)-1]["xms_par_app_azp"]; got != c.want {
			t.Errorf("GET %s: xms_par_app_azp in the log: got %v, want %v", c.path, got, c.want)
		}
	}
}
