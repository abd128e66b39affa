package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// BenchmarkSidecar compares what the routes of the sidecar listener cost with a forwarded call
// of the same process, and with a bare handler that answers the same: the users' tokens, and
// their tokens for the API, were seen before. See docs/performance.md.
func BenchmarkSidecar(b *testing.B) {
	platform, secret := startBenchPlatform(b)
	api := httptest.NewServer(http.HandlerFunc(answerBench))
	b.Cleanup(api.Close)
	side := "127.0.0.1:" + freePorts(b, 1)[0]
	more := benchFile(b, "sidecar.yaml", "server: {sidecarAddress: \""+side+"\"}\n")
	forward := startBenchServer(b, platform.CAPEM(), "middletier", "serve",
		"--config", benchConfig(b, platform.URL(), secret, api.URL, "", ""), "--config", more)
	forward.name = "api"
	requests := benchRequests(platform, benchUsers)
	forward.connect(b, requests)
	forward.warmUp(b, benchWarmUp)
	awaitListener(b, side)
	bare := startBenchServer(b, platform.CAPEM(), "bare", recordBare(b, side, requests[0]))
	servers := []*benchServer{
		forward,
		bare.beside(b, "bare-header", bare.address, headerLine, requests),
		forward.beside(b, "header", side, headerLine, requests),
		bare.beside(b, "bare-validate", bare.address, validateLine, requests),
		forward.beside(b, "validate", side, validateLine, requests),
		forward.beside(b, "call", side, "POST /DownstreamApi/todo?optionsOverride.RelativePath=items", requests),
	}
	if exchanges := platform.Count("on_behalf_of"); exchanges != benchUsers {
		b.Fatalf("%d exchanges of %d users, want one for each", exchanges, benchUsers)
	}
	takeTurns(b, platform, "route", servers, func(name string) map[string]string {
		return map[string]string{"x-api": "api", "x-bare": "bare-" + name}
	})
}

// Requests that a bare handler answers too.
const (
	headerLine   = "GET /AuthorizationHeader/todo"
	validateLine = "GET /Validate"
)

// beside is another row of the same process, with requests of the same users by method and
// target.
func (s *benchServer) beside(b *testing.B, name, address, line string, requests [][]byte) *benchServer {
	row := &benchServer{
		name: name, address: address, pid: s.pid, ask: s.ask, answers: s.answers,
		accepts: func(size int64) bool { return size > 1000 },
	}
	row.connect(b, besideRequests(line, requests))
	row.warmUp(b, benchWarmUp)
	return row
}

// recordBare asks the service for what the bare handler shall answer to the user of a request,
// and returns the file that it is in.
func recordBare(b *testing.B, address string, request []byte) string {
	_, authorization, _ := strings.Cut(strings.TrimSpace(string(request)), "Authorization: ")
	answers := map[string]bareAnswer{}
	for _, line := range []string{headerLine, validateLine} {
		_, path, _ := strings.Cut(line, " ")
		req, err := http.NewRequest(http.MethodGet, "http://"+address+path, nil)
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Authorization", authorization)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // it was read to its end
		if err != nil || resp.StatusCode != http.StatusOK {
			b.Fatalf("%s: got %s, %v", line, resp.Status, err)
		}
		resp.Header.Del("Date") // net/http writes its own
		answers[path] = bareAnswer{resp.Header, body}
	}
	text, err := json.Marshal(answers)
	if err != nil {
		b.Fatal(err)
	}
	return benchFile(b, "answers.json", string(text))
}

// besideRequests are requests of the same users to the sidecar listener, by method and target.
func besideRequests(line string, requests [][]byte) [][]byte {
	beside := make([][]byte, len(requests))
	for i, request := range requests {
		_, rest, _ := bytes.Cut(request, []byte("Host: api.contoso.example\r\n"))
		beside[i] = fmt.Appendf(nil, "%s HTTP/1.1\r\nHost: localhost\r\n%s", line, rest)
	}
	return beside
}

// awaitListener waits until something listens.
func awaitListener(b *testing.B, address string) {
	b.Helper()
	for end := time.Now().Add(benchAnswer); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close() // it was only to see whether it opens
			return
		}
		if time.Now().After(end) {
			b.Fatal(err)
		}
	}
}
