package downstream_test

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"middletier/internal/downstream"
	"middletier/internal/testkit/wiretest"
)

// pingOften makes the transport of env ping so often that tests are quick.
func pingOften(c *downstream.Config, log io.Writer) {
	t := c.Transport.(*downstream.Transport)
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 20 * time.Millisecond, PingTimeout: patience}
	t.Log = slog.New(slog.NewTextHandler(log, nil))
}

// A gRPC server ends connections that are pinged while it sends nothing. No stream is lost,
// before its response headers or after.
func TestSilentGRPCStreamsAreNotPinged(t *testing.T) {
	const silence = time.Second // 50 times the interval of pings; the server accepts three
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
			return err
		}
		if method, _ := grpc.MethodFromServerStream(stream); method == "/todo.Items/Watch" {
			if err := stream.SendHeader(nil); err != nil {
				return err
			}
		}
		time.Sleep(silence)
		return stream.SendMsg(&emptypb.Empty{})
	}))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		if err := server.Serve(listener); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		server.Stop()
		group.Wait()
	})
	e := start(t, "h2c://"+listener.Addr().String(), func(c *downstream.Config) { pingOften(c, t.Output()) })
	for _, method := range []string{"Watch", "Get"} {
		group := sync.WaitGroup{}
		for range 3 { // they share a connection
			group.Go(func() {
				got := e.do("POST", "/todo.Items/"+method, "\x00\x00\x00\x00\x00", "Content-Type", "application/grpc", "Te", "trailers")
				if got.status != 200 || got.trailer.Get("Grpc-Status") != "0" || got.body != "\x00\x00\x00\x00\x00" {
					t.Errorf("%s: got %d, %q, %v, trailers %v, want a message and status 0", method, got.status, got.body, got.err, got.trailer)
				}
			})
		}
		group.Wait()
	}
}

// An API that once ended a connection with ENHANCE_YOUR_CALM is not pinged any more. Until
// then it is, because a proxy may discard what it acknowledges.
func TestPingsEndAfterEnhanceYourCalm(t *testing.T) {
	var mu sync.Mutex
	pings := map[int]int{} // on each connection
	server := wiretest.ServeFrames(t, func(c *wiretest.Conn, s *wiretest.Stream) bool {
		if s == nil {
			mu.Lock()
			defer mu.Unlock()
			if pings[c.Number]++; pings[c.Number] == 3 && c.Number == 1 {
				_ = c.WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, []byte("too_many_pings"))
				return false
			}
			return true
		}
		if c.Number > 1 {
			time.AfterFunc(500*time.Millisecond, func() {
				c.Busy.Lock()
				defer c.Busy.Unlock()
				c.Reply(s)
			})
		}
		return true
	})
	server.Pings.Store(true)
	var log strings.Builder
	e := startHTTP2(t, server)
	pingOften(e.config, &log)
	for range 2 {
		if got := e.do("GET", "/x", ""); got.status != 200 {
			t.Errorf("got %d %s", got.status, got.body)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for number, n := range pings {
		if number > 1 || n != 3 {
			t.Errorf("%d pings on connection %d", n, number)
		}
	}
	if pings[1] == 0 {
		t.Error("the first connection was not pinged")
	}
	if n := strings.Count(log.String(), "ENHANCE_YOUR_CALM"); n != 1 {
		t.Errorf("%d lines about it: %s", n, log.String())
	}
}
