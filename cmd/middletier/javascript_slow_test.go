//go:build slow

package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// A user's token of the platform lists the user's items through the service, all as
// processes of their own.
func TestSlowProcessesTogether(t *testing.T) {
	s := startStack(t)
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.service+"/api/todo/items", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(s.manage("GET", "/mock/tokens/alice", nil)))
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "[]\n" {
		t.Errorf("got %s %s %v, want an empty list", resp.Status, body, err)
	}
}
