// Package wiretest has servers that answer in bytes or HTTP/2 frames, as no good server
// does.
package wiretest

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"testing"
)

// Serve calls answer for each connection, and returns the server's address. The
// connection is closed when answer returns and when the test ends, which waits for answer.
// config nil: without TLS.
func Serve(t testing.TB, config *tls.Config, answer func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(t.Context(), func() { _ = conn.Close() }) // a client may keep an idle one open
			group.Go(func() {
				defer stop()
				defer conn.Close()
				answer(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		group.Wait()
	})
	return listener.Addr().String()
}

// ServeRequests calls answer for each connection after the headers of a request, and
// returns the server's URL.
func ServeRequests(t testing.TB, answer func(conn net.Conn, r *http.Request)) (url string) {
	t.Helper()
	return "http://" + Serve(t, nil, func(conn net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		answer(conn, r)
	})
}
