package main

import (
	"net"
	"strings"
	"testing"
	"time"
)

// soon is far below any time that load balancers are given here, and far above
// what the end takes.
const soon = 4 * time.Second

// If no load balancer was seen, the service stops at once, even if a browser has
// opened a connection that it does not use.
func TestServiceThatNobodyCountsOnEndsAtOnce(t *testing.T) {
	w := newStoppedWorld(t, func(f *file) { f.Server.ShutdownGrace = time.Minute })
	p, stop := w.startStoppable()
	if err := p.validator.AwaitKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := w.call("GET", "/api/todo/items", w.alice(), ""); r.StatusCode != 200 {
		t.Fatalf("got %d, want 200", r.StatusCode)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	eventually(t, func() bool { return p.api.InFlight() == 0 }, func() string { return "a request runs on" })
	start := time.Now()
	stop()
	if took := time.Since(start); took > soon {
		t.Errorf("the end takes %v", took)
	}
	if log := w.log.String(); strings.Contains(log, "shutting down") || strings.Contains(log, "requests were still running") {
		t.Errorf("the log says that something is awaited:\n%s", log)
	}
}

// If a load balancer was seen, the service waits for it and logs that. Probes
// meanwhile are answered, and are no errors in the log.
func TestServiceBehindALoadBalancerSaysWhatItAwaits(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		proxies []string
		path    string
	}{
		"that probes":             {nil, "/readyz"},
		"that is a trusted proxy": {[]string{"127.0.0.0/8"}, "/api/nothing"},
		"that is one, and probes": {[]string{"127.0.0.0/8"}, "/healthz"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newStoppedWorld(t, func(f *file) { f.Server.ShutdownGrace, f.Server.TrustedProxies = 3*time.Second, row.proxies })
			w.wantTimeForBalancer(t, row.path)
		})
	}
}

// wantTimeForBalancer ends the service after a call of path.
func (w *world) wantTimeForBalancer(t *testing.T, path string) {
	t.Helper()
	p, stop := w.startStoppable()
	if err := p.validator.AwaitKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.call("GET", path, "", "")
	start, ended := time.Now(), make(chan struct{})
	go func() {
		defer close(ended)
		stop()
	}()
	eventually(t, func() bool { return strings.Contains(w.log.String(), `"msg":"shutting down: `) },
		func() string { return "nothing says what is awaited:\n" + w.log.String() })
	if r := w.call("GET", "/readyz", "", ""); r.StatusCode != 503 {
		t.Errorf("readyz: got %d, want 503", r.StatusCode)
	}
	<-ended
	if took := time.Since(start); took < w.file.Server.noticeTime() {
		t.Errorf("the end takes %v, which load balancers do not notice", took)
	}
	if log := w.log.String(); strings.Contains(log, `"level":"ERROR"`) || !strings.Contains(log, `"noticeTime":"1s"`) ||
		!strings.Contains(log, `"upTo":"3s"`) {
		t.Errorf("got\n%s\nwant what is awaited, and no error", log)
	}
}

// The service waits for running requests, and logs how many there were.
func TestRunningRequestIsAwaitedAndNamed(t *testing.T) {
	t.Parallel()
	w := newStoppedWorld(t, func(f *file) { f.Server.ShutdownGrace = 6 * time.Second })
	p, stop := w.startStoppable()
	if err := p.validator.AwaitKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	alice := w.alice()
	arrived, release := w.api.hold()
	answered := make(chan int)
	go func() { answered <- w.call("GET", "/api/todo/items", alice, "").StatusCode }()
	<-arrived
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		stop()
	}()
	eventually(t, func() bool { return strings.Contains(w.log.String(), `"runningRequests":1`) },
		func() string { return "nothing names the request:\n" + w.log.String() })
	release()
	if status := <-answered; status != 200 {
		t.Errorf("got %d, want 200", status)
	}
	<-ended
}

// A 503 of /readyz at the start is no error in the log.
func TestReadinessAtStartIsNoError(t *testing.T) {
	w := newStoppedWorld(t)
	w.idp.Stop()
	w.start()
	if r := w.call("GET", "/readyz", "", ""); r.StatusCode != 503 {
		t.Fatalf("got %d, want 503", r.StatusCode)
	}
	for _, line := range w.log.lines(t) {
		if line["route"] == "/readyz" && line["level"] != "INFO" {
			t.Errorf("got %v, want INFO", line)
		}
	}
}
