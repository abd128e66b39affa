//go:build slow

package main

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
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

// An idle WebSocket holds little memory. That of its peers is counted too: two connections
// without buffers.
func TestSlowMemoryOfIdleWebSockets(t *testing.T) {
	const (
		sockets = 4000 // each needs four descriptors
		limit   = 96   // KiB; it is 43 without the race detector, which makes stacks larger
	)
	w := newWorld(t, withWebSockets)
	accepted := make(chan net.Conn, 1)
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		w.api.forgetSeen()
		accepted <- acceptSocket(t, rw, r).conn
	})
	token := w.alice()
	var conns []net.Conn
	open := func() {
		caller, resp := w.handshake("/api/todo/socket", token)
		if resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("handshake: got %s", resp.Status)
		}
		if err := caller.conn.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, caller.conn, <-accepted)
	}
	open() // what is made once
	before := memoryInUse()
	for range sockets {
		open()
	}
	each := (memoryInUse() - before) / sockets >> 10
	t.Logf("an idle WebSocket holds %d KiB", each)
	if each > limit {
		t.Errorf("an idle WebSocket holds %d KiB, want at most %d", each, limit)
	}
	for _, conn := range conns {
		_ = conn.Close() // it is the end
	}
}

// forgetSeen drops the requests that arrived.
func (u *upstream) forgetSeen() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.requests = nil
}

// memoryInUse is what heap and stacks take, in bytes.
func memoryInUse() int64 {
	for range 3 { // stacks shrink by half each time
		runtime.GC()
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return int64(memory.HeapAlloc + memory.StackInuse)
}
