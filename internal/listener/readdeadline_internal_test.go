package listener

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/linger"
)

// deadlineCounter counts the read deadlines that are set.
type deadlineCounter struct {
	net.Conn
	set atomic.Int64
}

func (c *deadlineCounter) SetReadDeadline(t time.Time) error {
	c.set.Add(1)
	return c.Conn.SetReadDeadline(t)
}

// readPlan is what happens to a connection, each at its own time: so many milliseconds after the
// beginning or, if what came before it took longer, at the same remainder of the next four.
type readPlan struct {
	reads     []int
	writes    []int    // by the other side, of a byte
	deadlines [][2]int // when one is set, and to when; -1: none
}

// follow does what the plan says, in virtual time, and returns how each read ended.
func (p readPlan) follow(conn, other net.Conn) (reads []string) {
	begin := time.Now()
	await := func(ms int) {
		at := begin.Add(time.Duration(ms) * time.Millisecond)
		for at.Before(time.Now()) {
			at = at.Add(4 * time.Millisecond)
		}
		time.Sleep(time.Until(at))
	}
	var all sync.WaitGroup
	all.Go(func() {
		for _, ms := range p.writes {
			await(ms)
			_ = other.SetWriteDeadline(time.Now().Add(53 * time.Millisecond)) // a pipe has deadlines
			_, _ = other.Write([]byte("x"))                                   // the reads tell
		}
		time.Sleep(time.Second)
		_ = other.Close() // ends what would wait for ever
	})
	all.Go(func() {
		for _, d := range p.deadlines {
			await(d[0])
			t := begin.Add(time.Duration(d[1]) * time.Millisecond)
			if d[1] < 0 {
				t = time.Time{}
			}
			if err := conn.SetReadDeadline(t); err != nil {
				panic(err)
			}
		}
	})
	for _, ms := range p.reads {
		await(ms)
		start := time.Now()
		n, err := conn.Read(make([]byte, 1))
		if timeout, is := err.(net.Error); is && timeout.Timeout() && time.Now().Equal(start) { // net/http asks no more
			err = os.ErrDeadlineExceeded
		}
		reads = append(reads, fmt.Sprintf("%v: %d bytes, %v", time.Since(begin), n, err))
	}
	all.Wait()
	return reads
}

// check compares a connection with late deadlines to one without.
func (p readPlan) check(t *testing.T, what string) {
	t.Helper()
	var got, want []string
	synctest.Test(t, func(*testing.T) {
		conn, other := net.Pipe()
		got = p.follow(newTimedConn(conn, stall), other)
	})
	synctest.Test(t, func(*testing.T) { want = p.follow(net.Pipe()) })
	if !slices.Equal(got, want) {
		t.Errorf("%s: %+v\ngot  %q\nwant %q", what, p, got, want)
	}
}

// A read ends as it does where every deadline is set at once.
func TestReadDeadlinesAreThoseOfTheConnection(t *testing.T) {
	for what, plan := range map[string]readPlan{
		"set before the read":             {[]int{4}, []int{42}, [][2]int{{3, 21}}},
		"passed before the read":          {[]int{24}, []int{26}, [][2]int{{3, 21}}},
		"set during the read":             {[]int{4}, []int{42}, [][2]int{{7, 21}}},
		"made earlier during the read":    {[]int{4}, []int{42}, [][2]int{{3, 33}, {7, 21}}},
		"made later during the read":      {[]int{4}, []int{42}, [][2]int{{3, 21}, {7, 33}}},
		"made later, and a byte comes":    {[]int{4}, []int{26}, [][2]int{{3, 21}, {7, 33}}},
		"removed during the read":         {[]int{4}, []int{42}, [][2]int{{3, 21}, {7, -1}}},
		"removed after it has passed":     {[]int{4, 24, 32}, []int{42}, [][2]int{{3, 21}, {31, -1}}},
		"an end of reading, then another": {[]int{4, 12}, []int{18}, [][2]int{{7, 1}, {11, -1}}},
		"an end of reading before it":     {[]int{8, 12}, []int{18}, [][2]int{{3, 1}, {11, 49}}},
		"passed, then made later twice":   {[]int{4, 24, 32}, nil, [][2]int{{3, 13}, {23, 29}, {31, 45}}},
		"earlier than one that was later": {[]int{4, 12, 44}, []int{6}, [][2]int{{3, 401}, {11, 33}, {43, 61}}},
	} {
		plan.check(t, what)
	}
	for seed := range uint64(1000) {
		random := rand.New(rand.NewPCG(seed, 0))
		var plan readPlan
		for at := 0; at < 400; at += 4 {
			if random.IntN(3) == 0 {
				plan.reads = append(plan.reads, at)
			}
			if random.IntN(5) == 0 {
				plan.writes = append(plan.writes, at+2)
			}
			if random.IntN(3) == 0 {
				until := at + 1 + 4*(random.IntN(40)-10)
				if random.IntN(4) == 0 || until < 0 {
					until = -1
				}
				plan.deadlines = append(plan.deadlines, [2]int{at + 3, until})
			}
		}
		plan.check(t, fmt.Sprint("seed ", seed))
		if t.Failed() {
			return
		}
	}
}

// oneReader is a connection that reads for one goroutine at a time, as a socket does.
type oneReader struct {
	net.Conn
	reading chan struct{}
}

func (c *oneReader) Read(p []byte) (int, error) {
	c.reading <- struct{}{}
	defer func() { <-c.reading }()
	return c.Conn.Read(p)
}

// What lingers ends in time, also if something is read until then.
func TestReadDeadlinesOfALingeringConnection(t *testing.T) {
	for name, begin := range map[string]func(read func()){
		"a read in progress":    func(read func()) { go read(); synctest.Wait() },
		"a read that begins":    func(read func()) { go func() { time.Sleep(time.Second); read() }() },
		"a read that had ended": func(read func()) { read() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pipe, other := net.Pipe()
				defer other.Close()
				conn := newTimedConn(&oneReader{pipe, make(chan struct{}, 1)}, stall)
				linger.AtClose(linger.Context(t.Context(), conn))
				if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil { // an old one
					t.Fatal(err)
				}
				begin(func() { _, _ = conn.Read(make([]byte, 1)) }) // it fails
				if err := conn.SetDeadline(time.Time{}); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				_ = conn.Close() // it was read
				if took := time.Since(start); took == 0 || took > 3*time.Second {
					t.Errorf("the connection lingers for %v, want for some seconds", took)
				}
			})
		})
	}
}

// Requests on a kept connection set two deadlines at the most, to end what looks for a caller who
// leaves and to read on. net/http sets five.
func TestFewReadDeadlinesAreSet(t *testing.T) {
	const requests = 100
	below, caller := net.Pipe()
	counter := &deadlineCounter{Conn: below}
	listener := make(pipes, 1)
	listener <- newTimedConn(counter, stall)
	srv := &http.Server{
		Handler:           http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, ErrorLog: log.New(t.Output(), "", 0),
	}
	go func() { _ = srv.Serve(listener) }() // until it is closed
	t.Cleanup(func() { _ = srv.Close() })
	answers := bufio.NewReader(caller)
	for range requests {
		if _, err := io.WriteString(caller, "GET / HTTP/1.1\r\nHost: service\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(answers, nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("got %v, %v", resp, err)
		}
		_ = resp.Body.Close() // it is empty
	}
	if set := counter.set.Load(); set > 2*requests+2 {
		t.Errorf("%d requests set %d read deadlines, want two for each at the most", requests, set)
	}
}
