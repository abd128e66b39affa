package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

// Few users: what a body costs does not depend on who sends it, and each user's upload is in
// memory as it is sent.
const bodyUsers = 100

// BenchmarkBodies forwards large answers and large uploads. Sizes are decimal.
func BenchmarkBodies(b *testing.B) {
	for _, row := range []struct {
		name             string
		answered, upload int
		warmUp           int // requests
	}{
		{"answer=100KB", 100_000, 0, 2000},
		{"answer=1MB", 1_000_000, 0, 200},
		{"answer=10MB", 10_000_000, 0, 40},
		{"upload=40KB", 0, 40_000, 2000}, // is read into memory first
		{"upload=100KB", 0, 100_000, 2000},
		{"upload=1MB", 0, 1_000_000, 200},
	} {
		b.Run(row.name, func(b *testing.B) { benchmarkBodies(b, row.answered, row.upload, row.warmUp) })
	}
}

// benchmarkBodies forwards uploads of some size, or requests for answers of some size.
func benchmarkBodies(b *testing.B, answered, upload, warmUp int) {
	platform, secret := startBenchPlatform(b)
	api := httptest.NewServer(http.HandlerFunc(answerBodies))
	b.Cleanup(api.Close)
	requests := benchRequests(platform, bodyUsers)
	for i, request := range requests {
		_, headers, _ := bytes.Cut(request, []byte("\r\n"))
		if upload > 0 {
			requests[i] = fmt.Appendf(nil, "POST /api/todo/upload HTTP/1.1\r\nContent-Length: %d\r\n%s%s",
				upload, headers, bytes.Repeat([]byte("u"), upload))
		} else {
			requests[i] = fmt.Appendf(nil, "GET /api/todo/answer/%d HTTP/1.1\r\n%s", answered, headers)
		}
	}
	args := map[string][]string{
		"pooled":     {api.URL, platform.UserToken(benchUser(0), "middletier", "todo")},
		"middletier": {"serve", "--config", benchConfig(b, platform.URL(), secret, api.URL, "", "")},
	}
	takeTurnsWithPooled(b, platform, platform.CAPEM(), args, func(s *benchServer) {
		s.accepts = func(size int64) bool { return size == int64(max(answered, len(strconv.Itoa(upload)))) }
		s.connect(b, requests)
		s.warmUp(b, max(warmUp, bodyUsers))
	})
}

// answerBodies is an API that answers an upload with its size, and other requests with as many
// bytes as their path says.
func answerBodies(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ey") {
		http.Error(w, "not what the benchmark asks for", http.StatusTeapot)
		return
	}
	if r.Method == http.MethodPost {
		n, _ := io.Copy(io.Discard, r.Body) // the load sees what is missing
		_, _ = fmt.Fprint(w, n)
		return
	}
	size, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/api/todo/answer/"))
	if err != nil {
		http.Error(w, "not what the benchmark asks for", http.StatusTeapot)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(size))
	for size > 0 && err == nil {
		var n int
		n, err = w.Write(bodyChunk[:min(size, len(bodyChunk))])
		size -= n
	}
}

// bodyChunk is what answers consist of.
var bodyChunk = bytes.Repeat([]byte("a"), 64<<10)
