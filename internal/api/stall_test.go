package api

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"
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

// overHTTP2 returns an answer of handler, by HTTP/2, in a bubble of virtual time.
func overHTTP2(t *testing.T, handler echo.HandlerFunc) io.Reader {
	s := New(Config{MaxBodySize: 1 << 20, MaxHeaderSize: 64 << 10, Log: slog.New(slog.DiscardHandler), Telemetry: newTelemetry(t)})
	e := s.newEcho()
	e.GET("/", handler)
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: e, Protocols: protocols}
	listener := make(onePipe)
	served := make(chan error)
	go func() { served <- srv.Serve(listener) }()
	transport := &http.Transport{Protocols: protocols, DialContext: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		listener <- theirs
		return ours, nil
	}}
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
		_ = srv.Close() // nothing is left to lose
		<-served
	})
	return resp.Body
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
