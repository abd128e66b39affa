package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// Headers because of which some servers end a shared connection do not reach an API.
// They are the caller's fault: the log says INFO.
func TestHeadersThatNoServerMustTake(t *testing.T) {
	w := newWorld(t)
	for _, row := range []struct {
		name, value, kind string
		status            int
	}{
		{"Latin-1", "J\xfcrgen", "invalid-request", 400},
		{"a field of 40,000 bytes", strings.Repeat("x", 40_000), "headers-too-large", 431},
	} {
		req, err := http.NewRequest("GET", w.url+"/api/todo/items", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+w.alice())
		req.Header.Set("X-Name", row.value)
		if r := w.do(req); r.StatusCode != row.status || r.kind() != row.kind {
			t.Errorf("%s: got %d %s, want %d %s", row.name, r.StatusCode, r.body, row.status, row.kind)
		}
		lines := w.log.lines(t)
		last := lines[len(lines)-1]
		if text, _ := json.Marshal(last); last["level"] != "INFO" || strings.Contains(string(text), "xxxx") {
			t.Errorf("%s: the log says %.300s", row.name, text)
		}
	}
	if n := len(w.api.seen()); n != 0 {
		t.Errorf("the API got %d requests, want none", n)
	}
}
