package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"middletier/internal/config"
)

// uploads is a service that refuses uploads, and one API that does.
type uploads struct {
	*world
	token string
	rows  []uploadRow
}

// uploadRow is one way to be refused.
type uploadRow struct {
	name, path, token string
	size              int64
	status            int
	unsized           bool // the caller does not say how much comes
}

// tooLarge is what this service does not accept. A slow machine sends as much in the 5 s in
// which the rest of an upload is read; the slow tests send 45 MiB.
const tooLarge = 8 << 20

// newUploads starts the service over TLS, in front of an API that answers 413
// without reading.
func newUploads(t *testing.T, sizes ...int64) *uploads {
	t.Helper()
	w := newWorld(t, func(f *file) {
		f.Server.TLS = writePair(t, t.TempDir(), "server")
		f.Server.MaxBodySize = config.Size(tooLarge)
	})
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(rw).EnableFullDuplex()
		rw.Header().Set("Connection", "close")
		rw.WriteHeader(413)
		_, _ = io.WriteString(rw, "too much")
	})
	u := &uploads{world: w, token: w.alice()}
	for _, size := range sizes {
		u.rows = append(u.rows,
			uploadRow{name: "a bad token", path: "/api/todo/items", token: "none", size: size, status: 401},
			uploadRow{name: "the API's own answer", path: "/api/todo/items", token: u.token, size: size, status: 413})
	}
	return u
}

// head is what goes before the body of row.
func (u *uploads) head(row uploadRow) string {
	framing := fmt.Sprintf("Content-Length: %d", row.size)
	if row.unsized {
		framing = "Transfer-Encoding: chunked"
	}
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s\r\n\r\n", row.path, row.token, framing)
}

// send uploads as Go's client does.
func (u *uploads) send(client *http.Client, row uploadRow) (status int, err error) {
	req, err := http.NewRequest("POST", u.url+row.path, zeros(row.size))
	if err != nil {
		return 0, err
	}
	if !row.unsized {
		req.ContentLength = row.size
	}
	req.Header.Set("Authorization", "Bearer "+row.token)
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// sendAllFirst uploads as .NET's HttpClient does: where sending fails before the
// answer was read, that is what it reports.
func (u *uploads) sendAllFirst(row uploadRow) (status int, err error) {
	conn, err := tls.Dial("tcp", strings.TrimPrefix(u.url, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return sendAllFirst(conn, u.head(row), row.size, row.unsized)
}

// sendAllFirst sends a request's head and a body of size bytes on conn, and only then
// reads the answer.
func sendAllFirst(conn net.Conn, head string, size int64, chunked bool) (status int, err error) {
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, head); err != nil {
		return 0, err
	}
	if err := sendBody(conn, size, chunked); err != nil {
		return 0, fmt.Errorf("sending: %w", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func sendBody(to io.Writer, size int64, chunked bool) error {
	if !chunked {
		_, err := io.Copy(to, zeros(size))
		return err
	}
	chunks := httputil.NewChunkedWriter(to)
	if _, err := io.Copy(chunks, zeros(size)); err != nil {
		return err
	}
	if err := chunks.Close(); err != nil {
		return err
	}
	_, err := io.WriteString(to, "\r\n") // no trailers
	return err
}

// run has each of the ways to send refused so often.
func (u *uploads) run(t *testing.T, times int) {
	for _, row := range u.rows {
		for name, send := range map[string]func(uploadRow) (int, error){
			"Go, HTTP/1.1":   func(row uploadRow) (int, error) { return u.send(trustingClient(t, false), row) },
			"Go, HTTP/2":     func(row uploadRow) (int, error) { return u.send(trustingClient(t, true), row) },
			"all sent first": u.sendAllFirst,
			"frames":         u.uploadFrames,
		} {
			t.Run(fmt.Sprintf("%s, %d bytes, %s", name, row.size, row.name), func(t *testing.T) {
				var failed []error
				for range times {
					if status, err := send(row); err != nil || status != row.status {
						failed = append(failed, fmt.Errorf("got %d, %w", status, err))
					}
				}
				if failed != nil {
					t.Errorf("%d of %d did not see %d: %v", len(failed), times, row.status, errors.Join(failed[:min(3, len(failed))]...))
				}
			})
		}
	}
}

// A caller that reads only after it has sent everything, and one that reads at once,
// both see why their upload is refused: the rest of it is read and discarded.
func TestRefusalsReachUploads(t *testing.T) {
	t.Parallel()
	u := newUploads(t, 200<<10, 5<<20)
	u.rows = append(u.rows, uploadRow{name: "too large", path: "/api/todo/items", token: u.token, size: tooLarge + 1, status: 413})
	u.run(t, 2)
}

// Operators see why an upload is refused too.
func TestRefusalsReachUploadsOfOperators(t *testing.T) {
	const size = 5 << 20
	s := newStoppedWorld(t).startService("middletier", "shutdownGrace: 0s")
	for range 3 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.admin, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		head := fmt.Sprintf("PUT /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", size)
		if status, err := sendAllFirst(conn, head, size, false); err != nil || status != 404 {
			t.Errorf("got %d, %v, want 404", status, err)
		}
	}
}

// A connection that counts towards server.maxConnections lingers like others: the
// caller sees the end of the answer while it still sends, and may continue to send.
// Then its slot is free.
func TestLimitedConnectionsLinger(t *testing.T) {
	w := newWorld(t, func(f *file) { f.Server.MaxConnections = 1 })
	for range 3 {
		conn := w.dial(t, 30*time.Second)
		defer conn.Close()
		_, _ = io.WriteString(conn,
			"POST /api/todo/items HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer none\r\nContent-Length: 10000000\r\n\r\nbegin")
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 401 ") {
			t.Fatalf("got %.40q, %v, want 401 and the connection's end", answer, err)
		}
		for range 3 { // the second fails if nobody reads
			if _, err := io.WriteString(conn, "more"); err != nil {
				t.Fatalf("sending on after the answer: %v", err)
			}
		}
		_ = conn.Close() // ends the lingering
	}
	if r := w.call("GET", "/healthz", "", ""); r.StatusCode != 200 {
		t.Errorf("afterwards: got %d, want 200", r.StatusCode)
	}
}

// A refused caller that ends its body while the connection lingers does not keep it: net/http waits for
// another request then.
func TestEndOfARefusedUploadDoesNotKeepItsConnection(t *testing.T) {
	w := newWorld(t, func(f *file) { f.Server.MaxConnections = 1 })
	conn := w.dial(t, 30*time.Second)
	defer conn.Close()
	_, _ = io.WriteString(conn, "POST /api/todo/items HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer none\r\n"+
		"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		t.Fatalf("got %v, %v, want 401", resp, err)
	}
	if _, err := io.WriteString(conn, "0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	other := w.dial(t, 15*time.Second) // served once the first connection has ended
	defer other.Close()
	_, _ = io.WriteString(other, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(other), nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("got %v, %v, want 200", resp, err)
	}
}

// A refused caller that continues to send does not delay the stop of the service by
// the 5 s that its connection would linger.
func TestLingeringDoesNotOutliveTheService(t *testing.T) {
	w := newStoppedWorld(t, func(f *file) {
		f.Server.TLS = writePair(t, t.TempDir(), "server")
		f.Server.ShutdownGrace = 0
	})
	_, stop := w.startStoppable()
	config := &tls.Config{InsecureSkipVerify: true}
	conn, err := tls.Dial("tcp", strings.TrimPrefix(w.url, "https://"), config)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	_, _ = io.WriteString(conn,
		"POST /api/todo/items HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer none\r\nContent-Length: 10000000\r\n\r\nbegin")
	if answer, err := io.ReadAll(conn); !strings.HasPrefix(string(answer), "HTTP/1.1 401 ") {
		t.Fatalf("got %.40q, %v, want 401", answer, err)
	}
	var failed atomic.Bool
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		defer conn.Close()
		for !failed.Load() {
			_, err := io.WriteString(conn, "more")
			failed.Store(err != nil)
			time.Sleep(time.Millisecond)
		}
	}()
	begun := time.Now()
	stop()
	<-sent
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("the service and the connection end after %v, want about %v", took, idleTimeout)
	}
}
