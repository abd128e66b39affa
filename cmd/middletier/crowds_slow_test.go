//go:build slow && unix

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"middletier/internal/testkit/wiretest"
)

const (
	// slowCrowd is how many connections are slow at a time.
	slowCrowd = 1000

	// idleVariable says how many are idle: many more without the race detector,
	// which allows 8,128 goroutines. "make bench" does so.
	idleVariable = "MIDDLETIER_TEST_IDLE"
	idleCrowd    = 1000
)

// goroutinesKept is for the connections to the API that stay open: 256, with two
// each, and some.
const goroutinesKept = 600

func init() { roles["crowded"] = crowded }

// crowded is the program, which tells what it holds when it gets SIGUSR1.
func crowded() int {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	go func() {
		for range asked {
			runtime.GC()
			runtime.GC() // pools are empty after the second
			var memory runtime.MemStats
			runtime.ReadMemStats(&memory)
			fmt.Printf(`{"msg":"holds","goroutines":%d,"bytes":%d}`+"\n", runtime.NumGoroutine(), memory.HeapAlloc+memory.StackInuse)
		}
	}()
	return execute()
}

type holding struct {
	Msg               string
	Goroutines, Bytes int
}

// holds asks a crowded program.
func (s service) holds(t *testing.T) (h holding) {
	t.Helper()
	before := strings.Count(s.stdout.String(), `"holds"`)
	s.signal(t, syscall.SIGUSR1)
	eventually(t, func() bool { return strings.Count(s.stdout.String(), `"holds"`) > before }, func() string { return "no answer to SIGUSR1" })
	text := s.stdout.String()
	line, _, _ := strings.Cut(text[strings.LastIndex(text, `{"msg":"holds"`):], "\n")
	if err := json.Unmarshal([]byte(line), &h); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return h
}

// allowDescriptors lets this process, and those it starts, have so many.
func allowDescriptors(t *testing.T, n uint64) {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if before.Cur >= n {
		return
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: max(n, before.Max)}); err != nil {
		t.Fatalf("%d descriptors are needed, and %d are allowed: ulimit -n %d, as root: %v", n, before.Max, n, err)
	}
	t.Cleanup(func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before) }) // they were allowed before
}

// While many slow, idle or hostile connections exist, all calls of others are
// answered. When the crowd has left, its resources are free. Latencies are logged
// without a limit: they depend on the machine.
func TestSlowCrowdsCostOthersNothing(t *testing.T) {
	idle, measured := idleCrowd, false
	if text := os.Getenv(idleVariable); text != "" { // 5 s of 200 calls a second in a turn
		measured = true
		var err error
		if idle, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", idleVariable, err)
		}
	}
	allowDescriptors(t, uint64(max(idle, 3*slowCrowd)+100))
	w := newStoppedWorld(t)
	piece := bytes.Repeat([]byte("x"), 64<<10)
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		for range 8 * strings.Count(r.URL.Path, "long") { // more than fits into the network's buffers
			if _, err := rw.Write(piece); err != nil {
				return
			}
		}
	})
	s := w.startService("crowded", "shutdownGrace: 0s, h2c: true")
	alice := w.alice()
	head := "Host: x\r\nAuthorization: Bearer " + alice + "\r\n"
	turn := func() (p99 time.Duration) {
		t.Helper()
		var latencies []time.Duration
		calls, pace := 200, time.Duration(0)
		if measured {
			calls, pace = 1000, 5*time.Millisecond
		}
		begun := time.Now()
		for i := range calls {
			time.Sleep(time.Until(begun.Add(time.Duration(i) * pace)))
			start := time.Now()
			if i%10 == 0 { // on a new connection
				if r := rawRequest(t, w, "GET /api/todo/items HTTP/1.1\r\n"+head+"Connection: close\r\n\r\n"); r.StatusCode != 200 {
					t.Errorf("a new connection: got %d, want 200", r.StatusCode)
				}
			} else if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != 200 {
				t.Errorf("got %d %s, want 200", r.StatusCode, r.body)
				s.await(t, r.problem.RequestID)
				for line := range strings.Lines(s.stdout.String()) {
					if strings.Contains(line, r.problem.RequestID) || strings.Contains(line, `"level":"ERROR"`) {
						t.Log(line)
					}
				}
			}
			latencies = append(latencies, time.Since(start))
		}
		slices.Sort(latencies)
		return latencies[len(latencies)*99/100]
	}
	others := func() time.Duration { // a single turn says little: the quiet ones differ by a factor of three
		t.Helper()
		turns := []time.Duration{turn()}
		for measured && len(turns) < 5 {
			turns = append(turns, turn())
		}
		slices.Sort(turns)
		return turns[len(turns)/2]
	}
	turn()
	for _, crowd := range []struct {
		name string
		size int
		join func(net.Conn) error
	}{
		{"slow headers", slowCrowd, say("GET /api/todo/items HTTP/1.1\r\n" + head)},
		{"slow bodies", slowCrowd, say("POST /api/todo/items HTTP/1.1\r\n" + head + "Content-Length: 1000\r\n\r\nhalf")},
		{"slow readers", slowCrowd, say("GET /api/todo/long HTTP/1.1\r\n" + head + "\r\n")},
		{"rapid resets", 10, resetRapidly(alice)},
		{"idle connections", idle, callOnce},
	} {
		t.Run(crowd.name, func(t *testing.T) {
			quiet, before := others(), s.holds(t)
			start := time.Now()
			conns := make([]net.Conn, crowd.size)
			for i := range conns {
				conn, err := distant(i).Dial("tcp", strings.TrimPrefix(w.url, "http://"))
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if err := crowd.join(conn); err != nil {
					t.Fatal(err)
				}
				conns[i] = conn
			}
			joined, first, then, during := time.Since(start), turn(), others(), s.holds(t)
			for _, conn := range conns {
				_ = conn.Close() // it has served
			}
			after := s.holds(t)
			gone := func() bool {
				after = s.holds(t)
				return after.Goroutines <= before.Goroutines+goroutinesKept && after.Bytes <= before.Bytes+16<<20
			}
			eventually(t, gone, func() string { return fmt.Sprintf("holds %+v before, %+v after", before, after) })
			t.Logf("%d joined in %v; p99 of others %v before, %v at first, %v then; memory %d KiB before, %d KiB during, %d KiB after; goroutines %d, %d, %d", crowd.size, joined.Round(time.Millisecond),
				quiet, first, then, before.Bytes>>10, during.Bytes>>10, after.Bytes>>10, before.Goroutines, during.Goroutines, after.Goroutines)
		})
	}
}

// distant returns a dialer for the i-th member of a crowd, as if it were not on
// this machine: loopback's packets of 64 KiB would give each connection megabytes
// of buffers. It is one of several addresses: each has 28,000 ports only.
func distant(i int) *net.Dialer {
	return &net.Dialer{
		LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i/5000))},
		Control: func(_, _ string, conn syscall.RawConn) (err error) {
			controlErr := conn.Control(func(fd uintptr) {
				err = errors.Join(
					syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1460),
					syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10))
			})
			return errors.Join(err, controlErr)
		},
	}
}

// say sends a text and no more, and reads nothing.
func say(text string) func(net.Conn) error {
	return func(conn net.Conn) error {
		_, err := io.WriteString(conn, text)
		return err
	}
}

// resetRapidly begins 500 calls by HTTP/2 and takes each back at once
// (CVE-2023-44487), unless the service hangs up before.
func resetRapidly(token string) func(net.Conn) error {
	head := wiretest.HeaderBlock([][2]string{ // the same bytes for every stream
		{":method", "GET"}, {":scheme", "http"}, {":authority", "x"}, {":path", "/api/todo/items"}, {"authorization", "Bearer " + token},
	})
	return func(conn net.Conn) error {
		go func() { _, _ = io.Copy(io.Discard, conn) }() // ends with the connection
		if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
			return err
		}
		framer := http2.NewFramer(conn, nil)
		err := framer.WriteSettings()
		for stream := uint32(1); err == nil && stream < 1000; stream += 2 {
			err = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: head, EndStream: true, EndHeaders: true})
			if err == nil {
				err = framer.WriteRSTStream(stream, http2.ErrCodeCancel)
			}
		}
		return nil // an error is the service's way to defend itself
	}
}
