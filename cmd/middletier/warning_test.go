package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

// What is perhaps not meant is told by check, with its line, and in the log of serve.
// It is no mistake.
func TestWarningsOfTheConfiguration(t *testing.T) {
	text := strings.Replace(goodConfig, "    access:", "    timeout: 120s\n    access:", 1) + `  quick:
    baseUrl: https://quick.contoso.example/
    scopes: [api://quick/.default]
    timeout: 120s
    requestTimeout: 120s
server:
  cors:
    allowedOrigins:
      - http://localhost:3000
      - http://app.contoso.example
`
	path := writeConfig(t, text)
	want := []string{
		path + ":10: downstreamApis.todo.timeout: warning: 2m0s is longer than requestTimeout, which ends a request after 30s",
		path + ":12: downstreamApis.quick.access: warning: an API without access rules refuses every request",
		path + ":21: server.cors.allowedOrigins[1]: warning: a page that is loaded over http can be modified on the network, and could then take its user's token: http://app.contoso.example",
	}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"check", "--config", path}, streams{nil, &stdout, &stderr}); code != 0 {
		t.Errorf("check: exit code %d, want 0", code)
	}
	if got := strings.Split(strings.TrimSpace(stderr.String()), "\n"); !slices.Equal(got, want) {
		t.Errorf("check: got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !strings.Contains(stdout.String(), "no mistakes") {
		t.Errorf("check: standard output: got %q", stdout.String())
	}
	// The program that serve runs, with the same configuration.
	f, err := load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if _, err := build(t.Context(), f, newWorld(t).transport(), slog.New(slog.NewJSONHandler(&log, nil))); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for lines := json.NewDecoder(&log); ; {
		var line struct{ Level, Msg, Key string }
		if err := lines.Decode(&line); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if line.Level == "WARN" && line.Key != "" {
			got[line.Key] = line.Msg
		}
	}
	for _, line := range want {
		part := strings.SplitN(line, ": ", 4)
		if got[part[1]] != part[3] {
			t.Errorf("serve: %s: got %q, want %q", part[1], got[part[1]], part[3])
		}
	}
	if len(got) != len(want) {
		t.Errorf("serve: got %d warnings, want %d: %q", len(got), len(want), got)
	}
}
