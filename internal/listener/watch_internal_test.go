package listener

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A caller who leaves ends its request, at the latest when the second look is due.
func TestCallersWhoLeaveEndTheirRequests(t *testing.T) {
	for name, before := range map[string]string{
		"a new connection":      "",
		"a kept connection":     "GET /0 HTTP/1.1\r\nHost: service\r\n\r\n",
		"after a watched one":   "GET /450 HTTP/1.1\r\nHost: service\r\n\r\n",
		"after a body":          "POST /0 HTTP/1.1\r\nHost: service\r\nContent-Length: 3\r\n\r\nabc",
		"after a pipelined one": "GET /450 HTTP/1.1\r\nHost: service\r\n\r\nGET /0 HTTP/1.1\r\nHost: service\r\n\r\n",
	} {
		for _, after := range []time.Duration{0, 50 * time.Millisecond, 150 * time.Millisecond, time.Second, time.Hour} {
			t.Run(fmt.Sprint(name, ", leaves after ", after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { checkLeaving(t, before, after) })
			})
		}
	}
}

// checkLeaving sends a request after others, and leaves.
func checkLeaving(t *testing.T, before string, after time.Duration) {
	begun, ended := make(chan struct{}), make(chan error, 1)
	dial := servePipes(t, false, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/left" {
			close(begun)
			<-r.Context().Done()
			ended <- context.Cause(r.Context())
			return
		}
		answerLate(w, r)
	})
	conn := dial()
	answers := bufio.NewReader(conn)
	go func() { _, _ = io.WriteString(conn, before+"GET /left HTTP/1.1\r\nHost: service\r\n\r\n") }() // it is answered, or not
	for range strings.Count(before, "HTTP/1.1") {
		readAnswer(t, answers)
	}
	<-begun
	start := time.Now()
	time.Sleep(after)
	if len(ended) > 0 {
		t.Error("the request ends before its caller has left")
	}
	_ = conn.Close() // that is leaving
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the request ends with %v, want %v", err, context.Canceled)
	}
	if took := time.Since(start); took > max(after, 2*watchAfter) {
		t.Errorf("the request of a caller who leaves after %v ends after %v", after, took)
	}
}

// answerLate answers after as many milliseconds as the path says, with what was sent.
func answerLate(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	var ms int
	_, _ = fmt.Sscanf(r.URL.Path, "/%d", &ms) // 0 without one
	select {
	case <-time.After(time.Duration(ms) * time.Millisecond):
	case <-r.Context().Done():
	}
	_, _ = fmt.Fprint(w, r.Method, " ", r.URL, " ", string(body), " ", r.Context().Err()) // the caller sees what is missing
}

// readAnswer reads an answer, and returns its body.
func readAnswer(t *testing.T, answers *bufio.Reader) string {
	t.Helper()
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("got %s, %v", resp.Status, err)
	}
	return string(body)
}

// requestPlan is what a caller sends on one connection, and when.
type requestPlan []piece

type piece struct {
	pause int // in ms, before it
	text  string
}

// randomPlan returns one of requests that come in pieces, follow each other, or overlap.
func randomPlan(seed uint64) (plan requestPlan) {
	random := rand.New(rand.NewPCG(seed, 1))
	held := ""
	for i := range 12 {
		takes := []int{0, 30, 130, 270, 530}[random.IntN(5)]
		text := fmt.Sprintf("GET /%d?%d HTTP/1.1\r\nHost: service\r\n", takes, i)
		switch random.IntN(5) {
		case 0:
			text = "POST" + text[3:] + "Content-Length: 5\r\n\r\nhello"
		case 1:
			text = "POST" + text[3:] + "Transfer-Encoding: chunked\r\n\r\n1\r\nh\r\n4\r\nello\r\n0\r\n\r\n"
		case 2:
			text += "X-Long: " + strings.Repeat("x", 4000+random.IntN(150)) + "\r\n\r\n" // some end with net/http's buffer
		case 3:
			text += "Connection: upgrade\r\nUpgrade: unknown\r\n\r\n"
		default:
			text += "\r\n"
		}
		pause := random.IntN(4) * random.IntN(200)
		if random.IntN(8) == 0 {
			held += text // comes with the next request
			continue
		}
		text, held = held+text, ""
		for random.IntN(3) == 0 && len(text) > 1 {
			n := 1 + random.IntN(len(text)-1)
			plan = append(plan, piece{pause, text[:n]})
			text, pause = text[n:], random.IntN(150)
		}
		plan = append(plan, piece{pause, text})
	}
	return append(plan, piece{0, held})
}

// follow sends what the plan says, in virtual time, and returns what is answered and when.
func (p requestPlan) follow(conn net.Conn) (answers []string) {
	start := time.Now()
	sent := make(chan string, len(p)) // a pipe holds nothing, and a caller who waits would come later
	go func() {
		for _, piece := range p {
			time.Sleep(time.Duration(piece.pause) * time.Millisecond)
			sent <- piece.text
		}
		close(sent)
	}()
	go func() {
		for text := range sent {
			_, _ = io.WriteString(conn, text) // the answers tell
		}
	}()
	for reader := bufio.NewReader(conn); ; {
		resp, err := http.ReadResponse(reader, nil)
		if err != nil {
			return append(answers, fmt.Sprint(time.Since(start), ": end"))
		}
		body, err := io.ReadAll(resp.Body)
		answers = append(answers, fmt.Sprint(time.Since(start), ": ", resp.Status, " ", string(body), " ", err))
	}
}

// Whatever is sent is answered as without late watching, and at the same time: nothing that was
// read while a request was watched is lost, and idle connections and slow headers end as before.
func TestWatchingChangesNoAnswer(t *testing.T) {
	for seed := range uint64(500) {
		var got, want []string
		plan := randomPlan(seed)
		synctest.Test(t, func(t *testing.T) {
			got = plan.follow(servePipes(t, false, answerLate)())
		})
		synctest.Test(t, func(t *testing.T) {
			listener := make(pipes, 1)
			serveOn(t, listener, false, answerLate)
			ours, theirs := net.Pipe()
			listener <- theirs
			want = plan.follow(ours)
		})
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d:\ngot  %q\nwant %q", seed, got, want)
		}
		if len(want) < len(plan)/4 {
			t.Fatalf("seed %d: only %d answers", seed, len(want))
		}
	}
}

// net/http reads one byte for another reason too: its buffer has no room for more.
func TestOtherReadsOfOneByteAreNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const buffer = 4096 // of net/http
		conn := servePipes(t, false, answerLate)()
		answers := bufio.NewReader(conn)
		long := "X-Long: "
		long += strings.Repeat("x", buffer-1-len(long))
		for _, piece := range []string{"GET /0 HTTP/1.1\r\nHost: service\r\n", long, "\r", "\n\r\n"} {
			if _, err := io.WriteString(conn, piece); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if got, want := readAnswer(t, answers), "GET /0  <nil>"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// Who has been given no byte gets one when it reads again.
func TestAReadTakenForAWatchIsRepeated(t *testing.T) {
	pipe, other := net.Pipe()
	conn := newTimedConn(pipe, stall)
	watched := connContext(t.Context(), conn)
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(other, "x") }() // the read tells
	var b [1]byte
	if n, err := conn.Read(b[:]); n != 0 || err != nil {
		t.Errorf("a watch gets %d bytes, %v, want nothing", n, err)
	}
	if n, err := io.ReadFull(conn, b[:]); n != 1 || err != nil {
		t.Errorf("the next read gets %d bytes, %v, want one", n, err)
	}
	if err := conn.Close(); err != nil || watched.Err() == nil {
		t.Errorf("closed with %v, and the context has ended with %v", err, watched.Err())
	}
}

// readCounter counts reads.
type readCounter struct {
	net.Conn
	reads atomic.Int64
}

func (c *readCounter) Read(p []byte) (int, error) {
	c.reads.Add(1)
	return c.Conn.Read(p)
}

// Short requests are not watched, however many follow each other.
func TestShortRequestsAreNotWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		deadlines := &deadlineCounter{Conn: theirs}
		counter := &readCounter{Conn: deadlines}
		listener := make(pipes, 1)
		listener <- counter
		serveOn(t, WithWriteTimeout(listener, stall, slog.New(slog.DiscardHandler)), false, answerLate)
		answers := bufio.NewReader(ours)
		const requests = 100
		for range requests {
			if _, err := io.WriteString(ours, "GET /70 HTTP/1.1\r\nHost: service\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			readAnswer(t, answers)
			time.Sleep(10 * time.Millisecond)
		}
		if reads := counter.reads.Load(); reads > requests+1 {
			t.Errorf("%d requests were read in %d reads, want one for each", requests, reads)
		}
		if set := deadlines.set.Load(); set > requests+1 {
			t.Errorf("%d requests set %d read deadlines, want one for each at the most", requests, set)
		}
	})
}

// takeOver takes over the connection of a request.
func takeOver(w http.ResponseWriter) net.Conn {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	if n := buffered.Reader.Buffered(); n > 0 {
		panic(fmt.Sprint(n, " bytes would be lost"))
	}
	return conn
}

const upgrade = "GET / HTTP/1.1\r\nHost: service\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"

// A connection that its handler has taken over loses nothing, whether it was watched before or not.
func TestTakenOverConnectionsLoseNothing(t *testing.T) {
	for _, takes := range []time.Duration{0, 10 * time.Millisecond, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			dial := servePipes(t, false, func(w http.ResponseWriter, _ *http.Request) {
				time.Sleep(takes)
				conn := takeOver(w)
				time.Sleep(time.Second)
				one := make([]byte, 1)
				for range 10 {
					n, err := conn.Read(one)
					if _, _ = conn.Write(one[:n]); err != nil { // the caller sees what is missing
						break
					}
				}
				_ = conn.Close() // all is written
			})
			conn := dial()
			go func() {
				for _, text := range []string{upgrade, "abc", "defghij"} {
					time.Sleep(700 * time.Millisecond)
					_, _ = io.WriteString(conn, text) // the answer tells
				}
			}()
			if got, err := io.ReadAll(conn); string(got) != "abcdefghij" {
				t.Errorf("after %v: got %q, %v, want what was sent", takes, got, err)
			}
		})
	}
}

// The context of a connection that its handler has taken over outlasts it, until the handler has
// returned: it has things to do when it or the caller has closed the connection.
func TestTakenOverConnectionsAreNotWatched(t *testing.T) {
	for name, leaves := range map[string]func(conn, callers net.Conn){
		"the handler closes it": func(conn, _ net.Conn) { _ = conn.Close() },       // nobody uses it
		"the caller closes it":  func(_, callers net.Conn) { _ = callers.Close() }, // as above
	} {
		for _, takes := range []time.Duration{0, 10 * time.Millisecond, time.Second} {
			t.Run(fmt.Sprint(name, ", after ", takes), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ended := make(chan error, 1)
					requests := make(chan context.Context, 1)
					var callers net.Conn
					dial := servePipes(t, false, func(w http.ResponseWriter, r *http.Request) {
						time.Sleep(takes)
						conn := takeOver(w)
						leaves(conn, callers)
						time.Sleep(time.Second)
						ended <- r.Context().Err()
						requests <- r.Context()
					})
					callers = dial()
					if _, err := io.WriteString(callers, upgrade); err != nil {
						t.Fatal(err)
					}
					if err := <-ended; err != nil {
						t.Errorf("the context has ended with %v", err)
					}
					<-(<-requests).Done() // the service's context holds it no longer
				})
			})
		}
	}
}

// What ends a connection or the service ends its requests at once, and says why.
func TestRequestsEndWithTheServiceOrTheConnection(t *testing.T) {
	reason := errors.New("the service ends")
	for name, row := range map[string]struct {
		end  func(conn net.Conn, service context.CancelCauseFunc)
		want error
	}{
		"the service":    {func(_ net.Conn, service context.CancelCauseFunc) { service(reason) }, reason},
		"the connection": {func(conn net.Conn, _ context.CancelCauseFunc) { _ = conn.Close() }, context.Canceled}, // nobody uses it
		"both": {func(conn net.Conn, service context.CancelCauseFunc) {
			service(reason)
			_ = conn.Close() // as above
		}, reason},
	} {
		service, end := context.WithCancelCause(t.Context())
		pipe, _ := net.Pipe()
		conn := newTimedConn(pipe, stall)
		requests := connContext(service, conn)
		row.end(conn, end)
		if got := context.Cause(requests); !errors.Is(got, row.want) {
			t.Errorf("%s: the requests end with %v, want %v", name, got, row.want)
		}
		end(nil)
	}
}
