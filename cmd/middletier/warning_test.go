package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
)

// check warns of probable mistakes, with their line, and serve logs them. They do not
// count as mistakes.
func TestWarningsOfTheConfiguration(t *testing.T) {
	text := strings.Replace(goodConfig, "    access:", "    timeout: 120s\n    access:", 1) + `  quick:
    baseUrl: https://quick.contoso.example/
    scopes: [api://quick/.default]
    timeout: 120s
    requestTimeout: 120s
server:
  address: 127.0.0.1:0
  adminAddress: off
  cors:
    allowedOrigins:
      - http://localhost:3000
      - http://app.contoso.example
`
	path := writeConfig(t, text)
	want := []string{
		path + ":10: downstreamApis.todo.timeout: warning: 2m0s is longer than requestTimeout, which ends a request after 30s",
		path + ":12: downstreamApis.quick.access: warning: an API without access rules refuses every request",
		path + ":23: server.cors.allowedOrigins[1]: warning: a page that is loaded over http can be modified on the network, and could then take its user's token: http://app.contoso.example",
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
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log := listeningLog{listening: cancel}
	if code := run(ctx, []string{"serve", "--config", path}, streams{nil, &log, &stderr}); code != 0 {
		t.Fatalf("serve: exit code %d, want 0: %s", code, &stderr)
	}
	got := map[string]string{}
	for lines := json.NewDecoder(&log.Buffer); ; {
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

// listeningLog calls listening when the log says that the service listens.
type listeningLog struct {
	bytes.Buffer
	listening func()
}

func (l *listeningLog) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(`"listening"`)) {
		l.listening()
	}
	return l.Buffer.Write(p)
}
