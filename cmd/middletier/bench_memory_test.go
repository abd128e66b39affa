package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"middletier/internal/mockidp"
)

const (
	// idleFor is how long a service has been ready when its idle memory is measured.
	idleFor = 5 * time.Second

	// fullLoad is how many requests make a service hold what it holds under full load.
	fullLoad = 50_000

	megabyte = 1e6
)

// BenchmarkServiceMemory measures what the program, built as for a release, holds of the
// machine's memory: when it is idle, and when it has served users under full load. It is to run
// once, whatever b.N is. A megabyte has 1,000,000 bytes.
func BenchmarkServiceMemory(b *testing.B) {
	if _, _, err := processMemory(os.Getpid()); err != nil {
		b.Skip("memory is measured on Linux: ", err)
	}
	binary := buildProgram(b)
	b.Run("idle", func(b *testing.B) {
		platform, secret := startBenchPlatform(b)
		service := startListening(b, "service", benchCommand(b, platform.CAPEM(), binary, "serve",
			"--config", benchConfig(b, platform.URL(), secret, "http://127.0.0.1:9", "", "")))
		awaitReady(b, service.address)
		time.Sleep(idleFor)
		service.reportMemory(b)
	})
	for _, users := range []int{benchUsers, 100 * benchUsers} {
		b.Run(fmt.Sprintf("users=%d", users), func(b *testing.B) { benchmarkServiceMemory(b, binary, users) })
	}
}

func benchmarkServiceMemory(b *testing.B, binary string, users int) {
	platform, secret := startBenchPlatform(b)
	api := httptest.NewServer(http.HandlerFunc(answerBench))
	b.Cleanup(api.Close)
	if users > benchUsers {
		grantOneToken(platform)
	}
	admin := "127.0.0.1:" + freePorts(b, 1)[0]
	service := startListening(b, "service", benchCommand(b, platform.CAPEM(), binary, "serve",
		"--config", benchConfig(b, platform.URL(), secret, api.URL, admin, "")))
	service.connect(b, benchRequests(platform, users))
	service.warmUp(b, users)
	service.load(b, fullLoad)
	peak := service.reportMemory(b)
	tokens, verified := readGauge(b, admin, "middletier_cache_bytes"), readGauge(b, admin, "middletier_verified_tokens_bytes")
	if entries := readGauge(b, admin, "middletier_cache_entries"); int(entries) != users {
		b.Fatalf("%.0f tokens are cached, want one for each of %d users", entries, users)
	}
	b.ReportMetric(tokens/megabyte, "tokens-MB")
	b.ReportMetric(verified/megabyte, "verified-MB")
	b.ReportMetric((peak-tokens-verified)/megabyte, "beside-caches-MB")
	b.ReportMetric((tokens+verified)/float64(users)/1000, "caches-KB/user")
}

// grantOneToken makes the platform grant the same token to all: to make many would take most of
// the time. It is as large as those that others send.
func grantOneToken(platform *mockidp.Server) {
	platform.AddFault(mockidp.Fault{
		Flow: "on_behalf_of",
		Body: fmt.Sprintf(`{"token_type":"Bearer","expires_in":4500,"access_token":%q}`,
			platform.UserToken(benchUser(0), "middletier", "todo")),
	})
}

// buildProgram builds the program as make build does, and returns its file.
func buildProgram(t testing.TB) string {
	binary := filepath.Join(t.TempDir(), "middletier")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// awaitReady waits until the service is ready.
func awaitReady(b *testing.B, address string) {
	b.Helper()
	client := &http.Client{Timeout: benchAnswer}
	defer client.CloseIdleConnections()
	for end := time.Now().Add(benchAnswer); ; time.Sleep(time.Millisecond) {
		resp, err := client.Get("http://" + address + "/readyz")
		if err == nil {
			_ = resp.Body.Close() // its status is enough
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(end) {
			b.Fatalf("the service does not get ready: %v, %v", resp, err)
		}
	}
}

// reportMemory reports what the server's process holds, and the most that it has held, which it
// returns in bytes.
func (s *benchServer) reportMemory(b *testing.B) (peak float64) {
	b.Helper()
	resident, most, err := processMemory(s.pid)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(resident)/megabyte, "resident-MB")
	b.ReportMetric(float64(most)/megabyte, "peak-MB")
	return float64(most)
}

var (
	residentLine = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`)
	peakLine     = regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`)
)

// processMemory is what a process holds of the machine's memory, and the most that it has held,
// in bytes (proc(5), /proc/pid/status).
func processMemory(pid int) (resident, peak int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	read := func(line *regexp.Regexp) int64 {
		found := line.FindSubmatch(text)
		if found == nil {
			err = fmt.Errorf("/proc/%d/status has no line %s", pid, line)
			return 0
		}
		var n int64
		n, err = strconv.ParseInt(string(found[1]), 10, 64)
		return n << 10
	}
	if resident = read(residentLine); err != nil {
		return 0, 0, err
	}
	peak = read(peakLine)
	return resident, peak, err
}

// readGauge reads a metric of the operators' listener.
func readGauge(t testing.TB, admin, name string) float64 {
	t.Helper()
	resp, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("/metrics: %s without %s", resp.Status, name)
	}
	value, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}
