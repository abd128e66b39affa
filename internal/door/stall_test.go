package door

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/net/http2"

	"middletier/internal/testkit/wiretest"
)

// onePipe is a listener with one connection, without a network, so that time can
// be virtual.
type onePipe chan net.Conn

func (p onePipe) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (p onePipe) Close() error   { close(p); return nil }
func (p onePipe) Addr() net.Addr { return &net.TCPAddr{} }

// serveHTTP2 serves handler by HTTP/2 without a network until the test ends.
func serveHTTP2(t *testing.T, handler http.Handler) (dial func() net.Conn) {
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: handler, Protocols: protocols}
	listener := make(onePipe)
	served := make(chan error)
	go func() { served <- srv.Serve(listener) }()
	t.Cleanup(func() {
		_ = srv.Close() // nothing is left to lose
		<-served
	})
	return func() net.Conn {
		ours, theirs := net.Pipe()
		listener <- theirs
		return ours
	}
}

// overHTTP2 returns an answer of handler, by HTTP/2, in a bubble of virtual time.
func overHTTP2(t *testing.T, handler echo.HandlerFunc) io.Reader {
	e := newDoor(t).NewEcho()
	e.GET("/", handler)
	dial := serveHTTP2(t, e)
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		Protocols:   protocols,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return dial(), nil },
	}
	resp, err := (&http.Client{Transport: transport}).Get("http://service/")
	if err != nil {
		t.Fatal(err)
	}
	if resp.ProtoMajor != 2 {
		t.Errorf("got %s, want HTTP/2", resp.Proto)
	}
	t.Cleanup(func() {
		_ = resp.Body.Close() // whatever is left of it
		transport.CloseIdleConnections()
	})
	return resp.Body
}

// An error is an answer like others: who takes nothing of it is cut off.
func TestReaderOfAnHTTP2ErrorThatTakesNothingIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := serveHTTP2(t, newDoor(t).NewEcho())()
		defer conn.Close()
		framer := http2.NewFramer(conn, conn)
		block := wiretest.HeaderBlock([][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "service"}, {":path", "/nothing"}})
		go func() { // a pipe holds nothing: what we write is read while we read
			_, _ = io.WriteString(conn, http2.ClientPreface)
			_ = framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndStream: true, EndHeaders: true})
		}()
		begun := time.Now()
		for {
			_ = conn.SetReadDeadline(begun.Add(2 * StallTimeout))
			frame, err := framer.ReadFrame()
			if err != nil {
				t.Fatalf("after %v: %v, want the stream reset", time.Since(begun), err)
			}
			if _, reset := frame.(*http2.RSTStreamFrame); reset {
				break
			}
		}
		if took := time.Since(begun); took != StallTimeout {
			t.Errorf("reset after %v, want %v", took, StallTimeout)
		}
	})
}

// The client reads frames, so the connection moves; it keeps the stream's window
// shut.
func TestReaderOfAnHTTP2StreamThatTakesNothingIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := make(chan time.Duration, 1)
		answer := overHTTP2(t, func(c echo.Context) error {
			piece := strings.Repeat("x", 32<<10)
			for {
				begun := time.Now()
				if _, err := io.WriteString(c.Response(), piece); err != nil {
					broken <- time.Since(begun)
					return nil
				}
			}
		})
		if got := <-broken; got != StallTimeout {
			t.Errorf("cut off after %v, want %v", got, StallTimeout)
		}
		if _, err := io.Copy(io.Discard, answer); err == nil {
			t.Error("the answer ends well, though it was cut off")
		}
	})
}

// What net/http has kept of an answer is sent after the handler.
func TestEndOfAnHTTP2AnswerIsNotWaitedForForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const window = 4 << 20 // of net/http's client
		answer := overHTTP2(t, func(c echo.Context) error {
			_, err := io.WriteString(c.Response(), strings.Repeat("x", window))
			if err == nil {
				_, err = io.WriteString(c.Response(), "and a little")
			}
			return err
		})
		time.Sleep(StallTimeout + time.Second)
		if n, err := io.Copy(io.Discard, answer); err == nil {
			t.Errorf("got all %d bytes, though nothing was taken for so long", n)
		}
	})
}

func TestSilentHTTP2StreamIsNotCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := overHTTP2(t, func(c echo.Context) error {
			for range 3 {
				_, _ = io.WriteString(c.Response(), "data: x\n") // the reader sees what is missing
				c.Response().Flush()
				time.Sleep(time.Hour)
			}
			return nil
		})
		if body, err := io.ReadAll(answer); err != nil || strings.Count(string(body), "data") != 3 {
			t.Errorf("got %q, %v, want three events", body, err)
		}
	})
}
