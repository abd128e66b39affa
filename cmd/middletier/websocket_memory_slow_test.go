//go:build slow && unix

package main

import (
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"testing"
	"time"
)

// startBuilt starts the program without the race detector, which needs memory of its own and allows
// 8,128 goroutines. It listens at address, for operators at admin.
func (w *world) startBuilt(address, admin string, environment ...string) *process {
	w.t.Helper()
	binary := buildProgram(w.t)
	trust, path := w.onDisk()
	p := &process{exec.Command(binary, "serve", "--config", path), &syncBuffer{}, make(chan error, 1)}
	p.Env = append(append([]string{"Server__Address=" + address, "Server__AdminAddress=" + admin}, trust...), environment...)
	p.Stdout, p.Stderr = p.stdout, p.stdout
	if err := p.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() { p.ended <- p.Wait() }()
	w.t.Cleanup(func() { _ = p.Process.Kill() }) // it may have ended
	w.url = "http://" + address
	eventually(w.t, func() bool {
		resp, err := http.Get(w.url + "/readyz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}, func() string { return "not ready:\n" + p.stdout.String() })
	return p
}

// An idle WebSocket costs the service little memory. The service is a process of its own, as it is
// released; callers and the API are here.
func TestSlowMemoryOfIdleWebSockets(t *testing.T) {
	const (
		sockets = 5000 // each needs two descriptors in either process
		limit   = 120  // KiB; it is 51 to 54, so only a leak or a buffer for each passes it
	)
	allowDescriptors(t, 2*sockets+500)
	w := newStoppedWorld(t)
	accepted := make(chan net.Conn, 1)
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		w.api.forgetSeen()
		accepted <- acceptSocket(t, rw, r).conn
	})
	ports := freePorts(t, 2)
	admin := "127.0.0.1:" + ports[1]
	p := w.startBuilt("127.0.0.1:"+ports[0], admin,
		"DownstreamApis__todo__WebSockets=true", "DownstreamApis__todo__Access__0__Scopes__0=ToDoList.ReadWrite")
	token := w.alice()
	opened := 0
	open := func() {
		caller, resp := w.handshake("/api/todo/socket", token)
		if resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("handshake %d: got %s\n%s", opened+1, resp.Status, p.stdout.String())
		}
		if err := caller.conn.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		api := <-accepted
		t.Cleanup(func() { _ = api.Close() }) // it is the end
		opened++
	}
	for range 100 { // what is made once
		open()
	}
	type memory struct{ resident, heap, stacks float64 }
	read := func() memory {
		return memory{
			readGauge(w.t, admin, "process_resident_memory_bytes"), readGauge(w.t, admin, "go_memstats_heap_alloc_bytes"),
			readGauge(w.t, admin, "go_memstats_stack_inuse_bytes"),
		}
	}
	before := read()
	for range sockets {
		open()
	}
	if got := readGauge(w.t, admin, "middletier_open_websockets"); got != float64(opened) {
		t.Fatalf("open WebSockets: got %v, want %d", got, opened)
	}
	after := read()
	each := func(before, after float64) float64 { return (after - before) / sockets / 1024 }
	text := fmt.Sprintf("%.1f KiB of memory (heap with garbage %.1f KiB, stacks %.1f KiB)",
		each(before.resident, after.resident), each(before.heap, after.heap), each(before.stacks, after.stacks))
	t.Logf("each of %d idle WebSockets takes %s; the process has %.0f MiB", sockets, text, after.resident/(1<<20))
	if each(before.resident, after.resident) > limit {
		t.Errorf("an idle WebSocket takes %s, want at most %d KiB", text, limit)
	}
}

// forgetSeen drops the requests that arrived.
func (u *upstream) forgetSeen() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.requests = nil
}
