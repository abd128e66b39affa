//go:build slow

package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The clients of socket.io and of SignalR, as they come, keep a WebSocket open through the
// service, and see why it ends. SignalR's server is one of the test's own.
func TestSlowWebSocketClientsInJavascript(t *testing.T) {
	node := javascriptClients(t)
	server := exec.CommandContext(t.Context(), node, filepath.Join(javascript, "socket-server.mjs"))
	stdin, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = stdin.Close() // the server ends
		if err := server.Wait(); err != nil {
			t.Errorf("the server: %v", err)
		}
	}()
	port, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, withWebSockets, func(f *file) {
		d := f.DownstreamAPIs["todo"]
		d.BaseURL = "http://127.0.0.1:" + strings.TrimSpace(port)
		f.DownstreamAPIs["todo"] = d
	})
	oid := w.idp.UserClaims("alice", "app", "middletier")["oid"].(string)
	for flow, want := range map[string]string{
		"socket.io":           `{"user":"` + oid + `","transport":"websocket","reason":"transport close","code":1008}`,
		"socket.io-websocket": `{"user":"` + oid + `","transport":"websocket","reason":"transport close","code":1008}`,
		"signalr":             `{"user":"` + oid + `","reason":"WebSocket closed with status code: 1008 (the user has signed out)."}`,
	} {
		t.Run(flow, func(t *testing.T) {
			program := exec.CommandContext(t.Context(), node, filepath.Join(javascript, "sockets.mjs"), flow)
			program.Env = append(os.Environ(), "SERVICE="+w.url, "TOKEN="+w.alice())
			var complaints bytes.Buffer
			program.Stderr = &complaints
			out, err := program.Output()
			if got := strings.TrimSpace(string(out)); err != nil || got != want {
				t.Errorf("got %s %v, want %s\n%s", got, err, want, complaints.String())
			}
		})
	}
}
