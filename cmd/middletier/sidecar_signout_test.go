package main

import "testing"

// A sign-out drops tokens for scopes that only a query has named too.
func TestSignOutForgetsWhatOverridesHaveFetched(t *testing.T) {
	w := newSidecar(t)
	alice := w.alice()
	paths := []string{headerPath("todo"), headerPath("todo", option("Scopes", "api://todo/ToDoList.Read")), headerPath("notes", option("Scopes", "api://notes/Notes.Read"))}
	fetch := func() {
		for _, path := range paths {
			headerToken(t, w.beside("GET", path, alice))
		}
	}
	fetch()
	fetch()
	if got := w.exchanges(); got != len(paths) {
		t.Fatalf("%d exchanges before the sign-out, want %d", got, len(paths))
	}
	if got := w.call("POST", "/signout", alice, ""); got.StatusCode != 204 {
		t.Fatalf("sign-out: got %d %s, want 204", got.StatusCode, got.body)
	}
	fetch()
	if got := w.exchanges(); got != 2*len(paths) {
		t.Errorf("%d exchanges after it, want %d: something was still cached", got, 2*len(paths))
	}
}
