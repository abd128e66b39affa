package downstream

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A Close frame of each side, and one with data.
var (
	callersClose = closeFrame(1000, "", true)
	apisClose    = closeFrame(1000, "", false)
	hello        = []byte("\x81\x05hello")
)

// relaying is a relay, and what is at its two ends.
type relaying struct {
	t           *testing.T
	caller, api net.Conn
	end         context.CancelCauseFunc
	halfClosed  bool // the caller's connection, by the relay
	result      chan error
	start       time.Time
}

// halfConn is a connection whose writing side can be closed.
type halfConn struct {
	net.Conn
	close func()
}

func (c halfConn) CloseWrite() error {
	c.close()
	return nil
}

// testRelay runs a relay between connections without a buffer, in virtual time.
func testRelay(t *testing.T, test func(r *relaying)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancelCause(t.Context())
		defer end(nil)
		caller, callerConn := net.Pipe()
		api, apiConn := net.Pipe()
		x := &relaying{t: t, caller: caller, api: api, end: end, result: make(chan error, 1), start: time.Now()}
		front := halfConn{callerConn, func() { x.halfClosed = true }}
		r := &relay{callerConn: front, apiConn: apiConn}
		r.fromCaller = flow{from: front, to: apiConn, masked: true}
		r.fromAPI = flow{from: apiConn, to: front}
		go func() { x.result <- r.run(ctx, nil) }()
		synctest.Wait() // until both directions read: time stands still while one waits for a mutex
		test(x)
		_ = caller.Close() // the relay has closed them
		_ = api.Close()
	})
}

// write sends bytes from one end.
func (x *relaying) write(to net.Conn, b []byte) {
	x.t.Helper()
	if _, err := to.Write(b); err != nil {
		x.t.Errorf("write: %v", err)
	}
}

// want reads exactly these bytes at one end.
func (x *relaying) want(from net.Conn, want []byte) {
	x.t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(from, got); err != nil || string(got) != string(want) {
		x.t.Errorf("got %x %v, want %x", got, err, want)
	}
}

// wantRest reads what is left at one end.
func (x *relaying) wantRest(from net.Conn, want string) {
	x.t.Helper()
	if got, err := io.ReadAll(from); err != nil || string(got) != want {
		x.t.Errorf("got %q %v at the end, want %q", got, err, want)
	}
}

// wantResult waits for the end of the relay.
func (x *relaying) wantResult(after time.Duration) error {
	x.t.Helper()
	err := <-x.result
	if took := time.Since(x.start); took != after {
		x.t.Errorf("the relay ended after %v with %v, want after %v", took, err, after)
	}
	return err
}

// A side that does not read ends the WebSocket, and is blamed for it.
func TestRelayDoesNotWaitForAStalledReader(t *testing.T) {
	for _, stalledAPI := range []bool{false, true} {
		testRelay(t, func(x *relaying) {
			sender := x.api
			if stalledAPI {
				sender = x.caller
			}
			x.write(sender, hello)
			var broken *brokenError
			if err := x.wantResult(stallTimeout); !errors.As(err, &broken) || broken.api != stalledAPI {
				t.Errorf("got %v, want the API's fault: %t", err, stalledAPI)
			}
		})
	}
}

// A side that breaks off is not waited for.
func TestRelayEndsWithABrokenSide(t *testing.T) {
	for _, brokenAPI := range []bool{false, true} {
		testRelay(t, func(x *relaying) {
			broken := x.caller
			if brokenAPI {
				broken = x.api
			}
			_ = broken.Close() // it is the test
			var got *brokenError
			if err := x.wantResult(0); !errors.As(err, &got) || got.api != brokenAPI {
				t.Errorf("got %v, want the API's fault: %t", err, brokenAPI)
			}
		})
	}
}

// After a Close frame the other side has five seconds to answer it.
func TestRelayWaitsForTheAnswerToAClose(t *testing.T) {
	testRelay(t, func(x *relaying) {
		x.write(x.caller, callersClose)
		x.want(x.api, callersClose)
		_ = x.caller.Close() // it has said so
		if err := x.wantResult(closeTimeout); err != nil {
			t.Errorf("got %v, want no error: the caller has closed the WebSocket", err)
		}
	})
	testRelay(t, func(x *relaying) {
		x.write(x.api, apisClose)
		x.want(x.caller, apisClose)
		_ = x.api.Close() // it has said so
		if err := x.wantResult(closeTimeout); err != nil || !x.halfClosed {
			t.Errorf("got %v, want no error, and an end for the caller to see: %t", err, x.halfClosed)
		}
	})
}

// Nothing follows a Close frame of either side, neither data nor a Close frame of this service.
func TestNothingFollowsAClose(t *testing.T) {
	testRelay(t, func(x *relaying) {
		x.write(x.api, append(append([]byte(nil), apisClose...), hello...))
		x.want(x.caller, apisClose)
		x.end(GoingAway)
		synctest.Wait()
		go func() { _, _ = io.Copy(io.Discard, x.api) }() // the Close frame for it
		x.wantRest(x.caller, "")
		if err := x.wantResult(closeTimeout); !errors.Is(err, GoingAway) {
			t.Errorf("got %v, want %v", err, GoingAway)
		}
	})
}

// This service's Close frames reach both sides, also where one of them does not read, and the end
// is that of both answers: at once, or after five seconds.
func TestRelayEndsForAReason(t *testing.T) {
	ours := closeFrame(CloseGoingAway, GoingAway.Reason, false)
	wantMasked := func(x *relaying) { x.wantMaskedClose(x.api, len(ours)+maskSize) }
	testRelay(t, func(x *relaying) { // both answer, and leave the connections open
		x.end(GoingAway)
		x.want(x.caller, ours)
		wantMasked(x)
		x.write(x.caller, callersClose)
		x.write(x.api, apisClose)
		if err := x.wantResult(0); !errors.Is(err, GoingAway) {
			t.Errorf("got %v, want %v", err, GoingAway)
		}
	})
	testRelay(t, func(x *relaying) { // the API does not read
		x.end(GoingAway)
		x.want(x.caller, ours)
		if took := time.Since(x.start); took != 0 {
			t.Errorf("the caller was told after %v, want at once", took)
		}
		_ = x.wantResult(closeTimeout)
	})
	testRelay(t, func(x *relaying) { // the API is inside a frame, and ends it together with its answer
		x.write(x.api, hello[:3])
		x.want(x.caller, hello[:3])
		x.end(GoingAway)
		synctest.Wait() // until its Close frame waits for the end of that frame
		wantMasked(x)
		x.write(x.caller, callersClose)
		go x.write(x.api, append(append([]byte(nil), hello[3:]...), apisClose...))
		x.want(x.caller, append(append([]byte(nil), hello[3:]...), ours...))
		_ = x.wantResult(0)
	})
}

// wantMaskedClose reads a Close frame of so many bytes.
func (x *relaying) wantMaskedClose(from net.Conn, size int) {
	x.t.Helper()
	got := make([]byte, size)
	if _, err := io.ReadFull(from, got); err != nil || got[0] != 0x80|opcodeClose || got[1]&maskBit == 0 {
		x.t.Errorf("got %x %v, want a masked Close frame", got, err)
	}
}

// What the caller sends with its handshake is the beginning.
func TestRelayBeginsWithWhatCameEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller, callerConn := net.Pipe()
		api, apiConn := net.Pipe()
		r := &relay{callerConn: callerConn, apiConn: apiConn}
		r.fromCaller, r.fromAPI = flow{from: callerConn, to: apiConn, masked: true}, flow{from: apiConn, to: callerConn}
		result := make(chan error, 1)
		go func() { result <- r.run(t.Context(), hello[:3]) }()
		go func() { _, _ = caller.Write(hello[3:]) }() // the API reads it
		got := make([]byte, len(hello))
		if _, err := io.ReadFull(api, got); err != nil || string(got) != string(hello) {
			t.Errorf("the API got %q %v, want %q", got, err, hello)
		}
		_ = caller.Close() // it is the end
		if err := <-result; err == nil || !strings.Contains(err.Error(), "the caller's connection") {
			t.Errorf("got %v, want that the caller left", err)
		}
	})
}
