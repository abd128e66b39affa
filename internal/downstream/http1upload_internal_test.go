package downstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// hookedReader calls hook once when at least after bytes have been read; after -1 it does not.
type hookedReader struct {
	io.Reader
	read, after int
	hook        func()
}

func (r *hookedReader) Read(p []byte) (int, error) {
	if r.after >= 0 && r.read >= r.after {
		r.after = -1
		r.hook()
	}
	n, err := r.Reader.Read(p)
	r.read += n
	return n, err
}

// A body is written as it is, whether the body is recorded or not, and one that
// has another length than the headers say is an error.
func TestSenderSendsAllOfABody(t *testing.T) {
	want := numbers(7*len(smallBuffer{}) + 5)
	broken := errors.New("broken")
	for _, row := range []struct {
		name       string
		body       io.Reader
		length     int // as the headers say
		endsRecord int // after so many bytes the response begins; -1: it does not
		sent       int
		err        error
	}{
		{"recorded", bytes.NewReader(want), len(want), -1, len(want), nil},
		{"not recorded", bytes.NewReader(want), len(want), 0, len(want), nil},
		{"recorded at first", bytes.NewReader(want), len(want), 2 * len(smallBuffer{}), len(want), nil},
		{"of one byte", bytes.NewReader(want[:1]), 1, -1, 1, nil},
		{"whose end comes with its last bytes", iotest.DataErrReader(bytes.NewReader(want)), len(want), -1, len(want), nil},
		{"too short", bytes.NewReader(want[:9]), 10, -1, 9, io.ErrUnexpectedEOF},
		{"too long", bytes.NewReader(want), 10, -1, 10, errLongBody},
		{"that breaks off", io.MultiReader(bytes.NewReader(want[:9]), iotest.ErrReader(broken)), 10, -1, 9, broken},
		{"that breaks off unrecorded", io.MultiReader(bytes.NewReader(want[:9]), iotest.ErrReader(broken)), 10, 0, 9, broken},
		{"that breaks off at its end", io.MultiReader(bytes.NewReader(want[:9]), iotest.ErrReader(broken)), 9, -1, 9, broken},
	} {
		t.Run(row.name, func(t *testing.T) {
			conn, server := dialPair(t)
			received := make(chan []byte, 1)
			go func() {
				got, _ := io.ReadAll(server) // the test sees what is missing
				received <- got
			}()
			r := (&http.Request{ContentLength: int64(row.length)}).WithContext(t.Context())
			var rec *record
			r.Body = io.NopCloser(&hookedReader{Reader: row.body, after: row.endsRecord, hook: func() { rec.finish(false) }})
			rec = recordBody(r, recordLimitHTTP1)
			rec.direct = true
			if want := bufferSize(r.ContentLength); rec.chunkSize != want {
				t.Errorf("chunks have %d bytes, want %d", rec.chunkSize, want)
			}
			s := &sender{conn: &http1Conn{Conn: conn}, body: rec.newest, ended: make(chan struct{})}
			s.send(int64(row.length))
			if !errors.Is(s.err, row.err) || s.isComplete() != (row.err == nil) {
				t.Errorf("complete: %v, %v, want %v", s.isComplete(), s.err, row.err)
			}
			if counted := conn.writtenSinceLastRead.Load(); counted != int64(row.sent) {
				t.Errorf("%d bytes count as written, want %d", counted, row.sent)
			}
			_ = conn.Close()
			if got := <-received; !bytes.Equal(got, want[:row.sent]) {
				t.Errorf("%d bytes arrived, or others, want %d", len(got), row.sent)
			}
			if rec.lent != 0 {
				t.Errorf("%d loans are open", rec.lent)
			}
			rec.finish(true)
			if n := chunkBytes.Load(); n != 0 {
				t.Errorf("%d bytes are lost", n)
			}
		})
	}
}

// upload returns a request that t uploads.
func (a *http1API) upload(ctx context.Context, method string, body io.Reader, length int) *http.Request {
	a.t.Helper()
	r := a.request(ctx, method, "")
	r.Body, r.ContentLength, r.GetBody = io.NopCloser(body), int64(length), nil
	if !a.transport.canUpload(r) || a.transport.poolFor(r) != nil {
		a.t.Fatal("the request is not uploaded")
	}
	return r
}

// pipedBody is a body that is written meanwhile. It ends with the test.
func pipedBody(t *testing.T) (*io.PipeReader, *io.PipeWriter) {
	body, caller := io.Pipe()
	t.Cleanup(func() { _ = caller.Close() })
	return body, caller
}

// lengthOf is an API's answer: how much it got.
func lengthOf(r *http.Request) string {
	n, err := io.Copy(io.Discard, r.Body)
	return fmt.Sprint(r.Method, " ", n, " ", err)
}

// An upload's connection is used again if the response ends after the upload.
func TestHTTP1UploadKeepsItsConnection(t *testing.T) {
	a := startHTTP1API(t, func(_ int, conn *http1Peer) {
		for {
			r, err := http.ReadRequest(conn.in)
			if err != nil {
				return
			}
			if got := lengthOf(r); r.Method == "PUT" {
				conn.say("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
			} else {
				conn.say(ok(got))
			}
		}
	})
	for range 20 {
		for _, row := range []struct {
			method string
			length int
			want   string
		}{
			{"POST", 100_000, "200 POST 100000 <nil>"}, {"POST", 1, "200 POST 1 <nil>"}, {"PUT", 1_000_000, "204 "},
		} {
			got, err := a.send(a.upload(t.Context(), row.method, bytes.NewReader(make([]byte, row.length)), row.length))
			if got != row.want || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, row.want)
			}
			a.idle(1, false)
		}
		if got := a.get("GET", ""); got != "200 GET 0 <nil>" {
			t.Errorf("got %q", got)
		}
	}
	if n := a.opened.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// A response that is complete before the upload arrives at once, also if the caller sends no
// more, or the API reads no more. Then the connection ends, and with it the sending.
func TestHTTP1ResponseBeforeTheEndOfAnUpload(t *testing.T) {
	for name, row := range map[string]struct {
		sends int64 // bytes of the body, before the response
		more  bool
	}{
		"the caller has not begun":   {0, false},
		"the caller pauses":          {100, false},
		"the caller sends on":        {100, true},
		"the caller pauses for long": {200_000, false},
	} {
		t.Run(name, func(t *testing.T) {
			answered := make(chan struct{})
			body, caller := pipedBody(t)
			a := startHTTP1API(t, func(_ int, conn *http1Peer) {
				r, err := http.ReadRequest(conn.in)
				if err == nil {
					_, err = io.CopyN(io.Discard, r.Body, row.sends)
				}
				if err != nil {
					t.Error(err)
				}
				conn.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\n\r\nlarge")
				<-answered
			})
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				err := writeZeros(caller, row.sends)
				for err == nil && row.more { // until the call ends
					err = writeZeros(caller, 32<<10)
				}
			}()
			got, err := a.send(a.upload(t.Context(), "POST", body, 64<<20)) // more than buffers hold
			if got != "413 large" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
			close(answered)
			a.idle(0, false)
			_ = body.Close() // the call ends
			<-stopped
		})
	}
}

// writeZeros writes n bytes.
func writeZeros(w io.Writer, n int64) error {
	_, err := w.Write(make([]byte, n))
	return err
}

// A response may begin long before the upload ends. The upload goes on, is not recorded any more, and
// the connection is used again after both.
func TestHTTP1ResponseDuringAnUpload(t *testing.T) {
	const before, after = 100_000, 1_000_000
	a := startHTTP1API(t, func(_ int, conn *http1Peer) {
		for {
			r, err := http.ReadRequest(conn.in)
			if err != nil {
				return
			}
			if _, err := io.CopyN(io.Discard, r.Body, before); err != nil {
				t.Error(err)
			}
			conn.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n")
			got := lengthOf(r)
			conn.say(fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(got), got))
		}
	})
	for range 3 {
		body, caller := pipedBody(t)
		go func() { _ = writeZeros(caller, before) }() // the API says what it got
		resp, err := a.transport.RoundTrip(a.upload(t.Context(), "POST", body, before+after))
		if err != nil {
			t.Fatal(err)
		}
		begun := make([]byte, 5)
		if _, err := io.ReadFull(resp.Body, begun); err != nil {
			t.Fatal(err)
		}
		if err := writeZeros(caller, after); err != nil {
			t.Error(err)
		}
		_ = caller.Close() // the end of the body
		rest, err := io.ReadAll(resp.Body)
		if got, want := string(begun)+string(rest), fmt.Sprint("begunPOST ", after, " <nil>"); got != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
		_ = resp.Body.Close()
		a.idle(1, false)
		if n := chunkBytes.Load(); n != 0 {
			t.Errorf("%d bytes are lost", n)
		}
	}
	if n := a.opened.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// What an API says before it closes the connection, with a part of the body unread, is the response,
// whatever sends the body.
func TestResponseBeforeTheEndOfABody(t *testing.T) {
	for _, length := range []int64{-1, 2_000_000} {
		for range 30 {
			a := startHTTP1API(t, func(_ int, conn *http1Peer) {
				r, err := http.ReadRequest(conn.in)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.CopyN(io.Discard, r.Body, 100_000) // the response says whether there was a request
				conn.say("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 5\r\n\r\nlarge")
			})
			r := a.request(t.Context(), "POST", "")
			r.Body, r.ContentLength, r.GetBody = io.NopCloser(bytes.NewReader(make([]byte, 2_000_000))), length, nil
			if got, err := a.send(r); got != "413 large" || err != nil {
				t.Errorf("length %d: got %q, %v", length, got, err)
			}
		}
	}
}

// The body of such a response may take longer to read than its headers may take to come.
func TestLongResponseAfterAFailedWrite(t *testing.T) {
	for _, received := range []bool{false, true} { // before the write fails
		synctest.Test(t, func(t *testing.T) {
			conn, server := net.Pipe()
			c := &http1Conn{Conn: conn, pool: &http1Pool{}, abort: func() {}}
			c.in = bufio.NewReader(limitHead{c})
			b := c.begin(NewTransport(), (&http.Request{Method: "POST"}).WithContext(t.Context()))
			b.sender = &sender{conn: c, ended: make(chan struct{})}
			if !received {
				c.awaitLastResponse()
			}
			go func() {
				_, _ = io.WriteString(server, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n") // the other end sees a failure
				time.Sleep(2 * drainTimeoutHTTP1)
				_, _ = io.WriteString(server, "end")
			}()
			resp, err := b.receive(false)
			if err != nil {
				t.Fatal(err)
			}
			if received {
				c.awaitLastResponse()
			}
			b.sender.err = io.ErrClosedPipe
			close(b.sender.ended)
			if body, err := io.ReadAll(resp.Body); string(body) != "end" || err != nil {
				t.Errorf("got %q, %v", body, err)
			}
		})
	}
}

// A chunked body whose caller pauses is given up when the API closes the connection.
func TestPausedBodyEndsWithItsConnection(t *testing.T) {
	a := startHTTP1API(t, func(_ int, conn *http1Peer) {
		if r, err := http.ReadRequest(conn.in); err != nil {
			t.Error(err)
		} else if _, err := io.ReadFull(r.Body, make([]byte, 10)); err != nil {
			t.Error(err)
		}
	})
	body, caller := pipedBody(t)
	go func() { _ = writeZeros(caller, 10) }() // the API says what is missing
	r := a.request(t.Context(), "POST", "")
	r.Body, r.ContentLength, r.GetBody = body, -1, nil
	failed := make(chan error, 1)
	go func() {
		_, err := a.send(r)
		failed <- err
	}()
	select {
	case err := <-failed:
		if err == nil {
			t.Error("got a response")
		}
	case <-time.After(20 * time.Second):
		t.Error("the request goes on")
	}
	_ = body.Close()
}

// An idle connection of http.Transport is closed with the others.
func TestIdleConnectionOfAChunkedBodyIsClosed(t *testing.T) {
	ended := make(chan struct{})
	a := startHTTP1API(t, func(_ int, conn *http1Peer) {
		if conn.next() {
			conn.say(ok("answer"))
		}
		conn.wantEnd(t)
		close(ended)
	})
	r := a.request(t.Context(), "POST", "")
	r.Body, r.ContentLength, r.GetBody = io.NopCloser(strings.NewReader("body")), -1, nil
	if got, err := a.send(r); got != "200 answer" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	a.transport.CloseIdleConnections()
	<-ended
}

// endedConn is a connection to which nothing can be written after some writes. in is what can be read
// then.
type endedConn struct {
	net.Conn
	in     io.Reader
	writes int // that still succeed
	last   int // bytes that the others return
	failed int // writes
	ended  func()
	done   <-chan struct{}
}

func (c *endedConn) Read(p []byte) (int, error) {
	<-c.done
	return c.in.Read(p)
}

func (c *endedConn) Write(p []byte) (int, error) {
	if c.writes > 0 {
		c.writes--
		return len(p), nil
	}
	c.failed++
	return min(c.last, len(p)), io.ErrClosedPipe
}

func (c *endedConn) SetReadDeadline(time.Time) error { return c.Close() }
func (c *endedConn) Close() error                    { c.ended(); return nil }

func newEndedConn(t *testing.T, in string, writes, last int) *endedConn {
	ctx, end := context.WithCancel(t.Context())
	return &endedConn{in: strings.NewReader(in), writes: writes, last: last, ended: end, done: ctx.Done()}
}

// use makes conn the idle connection of a, or the one that is dialled next.
func (a *http1API) use(conn net.Conn, idle bool) {
	if idle {
		used := &http1Conn{Conn: conn, pool: a.pool, address: strings.TrimPrefix(a.url, "http://"), abort: func() { _ = conn.Close() }}
		used.in = bufio.NewReader(limitHead{used})
		a.pool.put(a.transport, used)
		return
	}
	dial := a.transport.DialContext
	a.transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		a.transport.DialContext = dial
		return conn, nil
	}
}

// startLengthAPI starts an API that answers with what it got.
func startLengthAPI(t *testing.T) *http1API {
	return startHTTP1API(t, func(_ int, conn *http1Peer) {
		for {
			r, err := http.ReadRequest(conn.in)
			if err != nil {
				return
			}
			conn.say(ok(lengthOf(r)))
		}
	})
}

// An upload goes to another connection if nothing of it was sent on one that was idle and has ended.
func TestHTTP1UploadThatWasNotSent(t *testing.T) {
	for name, row := range map[string]struct {
		idle         bool
		writes, last int
		want         string
	}{
		"nothing":               {true, 0, 0, "200 POST 100000 <nil>"},
		"a part of the headers": {true, 0, 1, ""},
		"the headers":           {true, 1, 0, ""},
		"a part of the body":    {true, 1, 1, ""},
		"nothing, on a new one": {false, 0, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := startLengthAPI(t)
			a.use(newEndedConn(t, "", row.writes, row.last), row.idle)
			got, err := a.send(a.upload(t.Context(), "POST", bytes.NewReader(make([]byte, 100_000)), 100_000))
			if got != row.want || (err == nil) != (row.want != "") {
				t.Errorf("got %q, %v, want %q", got, err, row.want)
			}
			if n := chunkBytes.Load(); n != 0 {
				t.Errorf("%d bytes are lost", n)
			}
		})
	}
}

// What an API says before it ends the connection during an upload is the response, and the last one
// of the connection. If it says nothing, nobody waits.
func TestHTTP1ResponseToAPartOfAnUpload(t *testing.T) {
	for _, writes := range []int{0, 1} {
		for response, want := range map[string]string{ok("early"): "200 early", "": ""} {
			a := startLengthAPI(t)
			a.use(newEndedConn(t, response, writes, 1), false)
			got, err := a.send(a.upload(t.Context(), "POST", strings.NewReader("body"), 4))
			if got != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
			a.idle(0, false)
		}
	}
}

// What is wrong with a response is the reason, not that the upload ends because of it.
func TestHTTP1UploadWithAnInvalidResponse(t *testing.T) {
	for range 20 {
		a := startHTTP1API(t, func(_ int, conn *http1Peer) {
			_, _ = http.ReadRequest(conn.in) // the other side sees a failure
			conn.say("HTTP/1.1 2x0 OK\r\n\r\n")
			_, _ = io.Copy(io.Discard, conn) // until it ends
		})
		_, err := a.send(a.upload(t.Context(), "POST", bytes.NewReader(make([]byte, 10<<20)), 10<<20))
		if err == nil || errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
}

// An upload that may be repeated is sent again if an idle connection ends before the response, as far
// as it is recorded.
func TestHTTP1UploadIsRepeated(t *testing.T) {
	for name, row := range map[string]struct {
		key    string
		length int
		want   string
		opened int64
	}{
		"with a key":          {"1", 50_000, "200 POST 50000 <nil>", 2},
		"without a key":       {"", 50_000, "", 1},
		"beyond the recorded": {"1", 500_000, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			a := startHTTP1API(t, func(number int, conn *http1Peer) {
				for n := 1; ; n++ {
					r, err := http.ReadRequest(conn.in)
					if err != nil {
						return
					}
					got := lengthOf(r)
					if number == 1 && n == 2 {
						return
					}
					conn.say(ok(got))
				}
			})
			a.get("GET", "")
			a.idle(1, false)
			r := a.upload(t.Context(), "POST", bytes.NewReader(make([]byte, row.length)), row.length)
			if row.key != "" {
				r.Header.Set("Idempotency-Key", row.key)
			}
			got, err := a.send(r)
			if got != row.want || (err == nil) != (row.want != "") {
				t.Errorf("got %q, %v, want %q", got, err, row.want)
			}
			if n := a.opened.Load(); n != row.opened {
				t.Errorf("%d connections, want %d", n, row.opened)
			}
		})
	}
}

// A body in memory that is not sent with its headers is sent after them, and again as before.
func TestHTTP1UploadFromMemory(t *testing.T) {
	a := startLengthAPI(t)
	for _, length := range []int{uploadThreshold, recordLimitHTTP1} {
		for name, idle := range map[string]net.Conn{"": nil, "an idle connection has ended": newEndedConn(t, "", 0, 0)} {
			r, err := http.NewRequestWithContext(t.Context(), "POST", a.url, bytes.NewReader(make([]byte, length)))
			if err != nil {
				t.Fatal(err)
			}
			r.Host = ""
			r.Header.Set("User-Agent", "test")
			if idle != nil {
				a.use(idle, true)
			}
			got, err := a.send(r)
			if want := fmt.Sprintf("200 POST %d <nil>", length); got != want || err != nil {
				t.Errorf("%d bytes %s: got %q, %v, want %q", length, name, got, err, want)
			}
			a.idle(1, false)
		}
	}
}

// What this package does not send itself goes through http.Transport; what cannot be sent is an error.
func TestHTTP1UploadsOfOtherKinds(t *testing.T) {
	a := startLengthAPI(t)
	r := a.upload(t.Context(), "POST", strings.NewReader("body"), 4)
	delete(r.Header, "User-Agent")
	if got, err := a.send(r); got != "200 POST 4 <nil>" || err != nil {
		t.Errorf("without User-Agent: got %q, %v", got, err)
	}
	a.idle(0, false)
	for name, change := range map[string]func(r *http.Request){
		"unknown length": func(r *http.Request) { r.ContentLength = -1 },
		"expecting 100":  func(r *http.Request) { r.Header.Set("Expect", "100-continue") },
		"in memory, and too long to be recorded": func(r *http.Request) {
			r.ContentLength, r.GetBody = recordLimitHTTP1+1, func() (io.ReadCloser, error) { return nil, nil }
		},
		"with trailers":  func(r *http.Request) { r.Trailer = http.Header{"A": nil} },
		"over TLS":       func(r *http.Request) { r.URL.Scheme = "https" },
		"empty":          func(r *http.Request) { r.Body, r.ContentLength = http.NoBody, 0 },
		"without a body": func(r *http.Request) { r.Body = nil },
	} {
		r := a.upload(t.Context(), "POST", strings.NewReader("body"), 4)
		if change(r); a.transport.canUpload(r) {
			t.Errorf("%s: is uploaded", name)
		}
	}
	refused := errors.New("refused")
	a.transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, refused }
	r = a.upload(t.Context(), "POST", strings.NewReader("body"), 4)
	body := &closedBody{Reader: r.Body}
	r.Body = body
	if _, err := a.send(r); !errors.Is(err, refused) || !body.closed {
		t.Errorf("got %v, want the dialler's error; closed: %v", err, body.closed)
	}
}

// A body that fails is the reason, whether the API has read something by then or not; the API gets no
// more, and no other request on this connection.
func TestHTTP1UploadThatBreaksOff(t *testing.T) {
	broken := errors.New("broken")
	for _, sends := range []int{0, 1, 200_000} {
		t.Run(fmt.Sprint(sends), func(t *testing.T) {
			got := make(chan error, 1)
			a := startHTTP1API(t, func(_ int, conn *http1Peer) {
				r, err := http.ReadRequest(conn.in)
				if err == nil {
					_, err = io.Copy(io.Discard, r.Body)
				}
				got <- err
			})
			r := a.upload(t.Context(), "POST", io.MultiReader(bytes.NewReader(make([]byte, sends)), iotest.ErrReader(broken)), 500_000)
			body := &closedBody{Reader: r.Body}
			r.Body = body
			if _, err := a.send(r); !errors.Is(err, broken) {
				t.Errorf("got %v, want the body's error", err)
			}
			if !body.closed {
				t.Error("the body is not closed")
			}
			if err := <-got; err == nil {
				t.Error("the API got a whole request")
			}
			a.idle(0, false)
		})
	}
}

// closedBody notes that it was closed.
type closedBody struct {
	io.Reader
	closed bool
}

func (b *closedBody) Close() error { b.closed = true; return nil }

// The end of a request's context ends its upload, with the context's cause.
func TestHTTP1UploadCanceled(t *testing.T) {
	cause := errors.New("the caller left")
	for name, sends := range map[string]int64{"the caller pauses": 1, "the API does not read": 64 << 20} {
		t.Run(name, func(t *testing.T) {
			arrived, ended := make(chan struct{}), make(chan struct{})
			a := startHTTP1API(t, func(_ int, conn *http1Peer) {
				if _, err := http.ReadRequest(conn.in); err != nil {
					t.Error(err)
				}
				close(arrived)
				<-ended
			})
			body, caller := pipedBody(t)
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				_ = writeZeros(caller, sends) // until the end of the test
			}()
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				<-arrived
				cancel(cause)
			}()
			if _, err := a.send(a.upload(ctx, "POST", body, 100<<20)); !errors.Is(err, cause) {
				t.Errorf("got %v, want the cause", err)
			}
			a.idle(0, false)
			close(ended)
			_ = body.Close() // the call ends
			<-stopped
		})
	}
}

// A connection is given up if the end of its upload comes long after the response.
func TestEndOfAnUploadIsAwaitedShortly(t *testing.T) {
	for _, row := range []struct {
		after, waits time.Duration
		err          error
		want         bool
	}{
		{0, 0, nil, true},
		{0, 0, io.EOF, false},
		{uploadEndTimeout - 1, uploadEndTimeout - 1, nil, true},
		{uploadEndTimeout + 1, uploadEndTimeout, nil, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &sender{ended: make(chan struct{}), err: row.err}
			time.AfterFunc(row.after, func() { close(s.ended) })
			synctest.Wait()
			begin := time.Now()
			if got, waited := s.isComplete(), time.Since(begin); got != row.want || waited != row.waits {
				t.Errorf("%+v: got %v after %v", row, got, waited)
			}
			<-s.ended
		})
	}
}

// A body that fails ends the connection at once; after a write that fails, a response may come.
func TestConnectionAfterAFailedUpload(t *testing.T) {
	for name, row := range map[string]struct {
		body  io.Reader
		waits time.Duration
	}{
		"the body fails": {iotest.ErrReader(io.ErrNoProgress), 0},
		"a write fails":  {strings.NewReader("body"), drainTimeoutHTTP1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, server := net.Pipe()
				r := (&http.Request{Body: io.NopCloser(row.body)}).WithContext(t.Context())
				rec := recordBody(r, recordLimitHTTP1)
				rec.direct = true
				readOnly := writing{conn, func([]byte) (int, error) { return 0, io.ErrClosedPipe }}
				s := &sender{conn: &http1Conn{Conn: readOnly}, body: rec.newest, ended: make(chan struct{})}
				begin := time.Now()
				go s.send(4)
				if _, err := conn.Read(make([]byte, 1)); err == nil {
					t.Error("something was read")
				}
				if waited := time.Since(begin); waited != row.waits {
					t.Errorf("the reading ended after %v, want %v", waited, row.waits)
				}
				<-s.ended
				rec.finish(true)
				_ = server.Close()
			})
		})
	}
}

// A connection that becomes idle is watched again, whenever its last write is noted.
func TestIdleConnectionIsNoUpload(t *testing.T) {
	conn, _ := dialPair(t)
	conn.writtenSinceLastRead.Store(uploadThreshold + 1)
	conn.setUploading(true)
	pool := &http1Pool{}
	pool.put(NewTransport(), &http1Conn{Conn: conn, pool: pool})
	if n := conn.writtenSinceLastRead.Load(); n != 0 || conn.uploading.Load() {
		t.Errorf("%d bytes are on their way, uploading: %v", n, conn.uploading.Load())
	}
	pool.closeIdle()
}
