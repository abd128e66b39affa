package main

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// Callers by gRPC can read no problem document: they get a status of gRPC, in the
// headers of an answer without a body. The log has what it was.
func TestErrorsForCallersByGRPC(t *testing.T) {
	w := newWorld(t, func(f *file) {
		f.Server.H2C, f.Server.MaxBodySize = true, 1000
	})
	w.api.Close() // unreachable
	alice, bob := w.alice(), w.bob()
	client := protocolClients(t)["HTTP/2.0"]
	for _, row := range []struct {
		name, contentType, path, token, body string
		answered, status, message            string
		kind, level                          string
		challenge                            bool
	}{
		{"no token", "application/grpc", "/api/todo/todo.List/Add", "", "", "application/grpc", "16", "The request has no bearer token.", "missing-token", "INFO", true},
		{"a bad token", "application/grpc+proto", "/api/todo/todo.List/Add", "none", "", "application/grpc", "16", "The token is malformed.", "invalid-token", "INFO", true},
		{"no scope", "application/grpc", "/api/todo/todo.List/Add", bob, "", "application/grpc", "7", "The token holds none of the scopes or app permissions that the request needs.", "insufficient-scope", "INFO", true},
		{"an unknown API", "application/grpc", "/api/none/todo.List/Add", alice, "", "application/grpc", "12", "No downstream API of that name is configured.", "unknown-api", "INFO", false},
		{"no route", "application/grpc", "/todo.List/Add", alice, "", "application/grpc", "12", "There is nothing at this path.", "not-found", "INFO", false},
		{"too large", "application/grpc", "/api/todo/todo.List/Add", alice, strings.Repeat("x", 1001), "application/grpc", "8", "The request body is larger than this service accepts.", "body-too-large", "INFO", false},
		{"unreachable", "application/grpc", "/api/todo/todo.List/Add", alice, "", "application/grpc", "14", "The downstream API could not be reached, or broke the connection.", "downstream-unreachable", "ERROR", false},
		{"gRPC-Web", "application/grpc-web+proto", "/api/todo/todo.List/Add", "", "", "application/grpc-web", "16", "The request has no bearer token.", "missing-token", "INFO", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			req, err := http.NewRequest("POST", w.url+row.path, strings.NewReader(row.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", row.contentType)
			if row.token != "" {
				req.Header.Set("Authorization", "Bearer "+row.token)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			h := resp.Header
			if resp.StatusCode != 200 || h.Get("Content-Type") != row.answered || h.Get("Grpc-Status") != row.status || h.Get("Grpc-Message") != row.message {
				t.Errorf("got %d with %v, want %s with status %s, %q", resp.StatusCode, h, row.answered, row.status, row.message)
			}
			if len(body) > 0 || h.Get("X-Request-Id") == "" || row.challenge != (h.Get("Www-Authenticate") != "") {
				t.Errorf("got body %q, headers %v", body, h)
			}
			eventually(t, func() bool { // the line comes after the answer
				return slices.ContainsFunc(w.log.lines(t), func(line map[string]any) bool {
					return line["requestId"] == h.Get("X-Request-Id") && line["problem"] == row.kind && line["status"] == 200.0 && line["level"] == row.level
				})
			}, func() string { return fmt.Sprintf("want a line with %s at level %s: %s", row.kind, row.level, w.log) })
		})
	}
}
