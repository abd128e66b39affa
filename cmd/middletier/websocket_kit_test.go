package main

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Opcodes of frames (RFC 6455, section 5.2), and the bit of a message's last one.
const (
	wsContinuation, wsText, wsBinary, wsClose, wsPing, wsPong = 0x0, 0x1, 0x2, 0x8, 0x9, 0xa

	wsFin = 0x80
)

const wsKey = "dGhlIHNhbXBsZSBub25jZQ=="

// wsPatience is how long a peer waits for a frame: a failure takes as long.
const wsPatience = 20 * time.Second

// wsPeer is one side of a WebSocket, which sees every frame.
type wsPeer struct {
	t      testing.TB
	conn   net.Conn
	reader *bufio.Reader
	client bool // its frames are masked
}

// withWebSockets lets callers open WebSockets to the API.
func withWebSockets(f *file) {
	d := f.DownstreamAPIs["todo"]
	d.WebSockets = true
	f.DownstreamAPIs["todo"] = d
}

// acceptSockets makes the API accept every handshake, with header lines, as "Name: value". It
// sends what it accepts.
func (w *world) acceptSockets(lines ...string) (accepted chan *wsPeer) {
	accepted = make(chan *wsPeer, 10)
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		if peer := acceptSocket(w.t, rw, r, lines...); peer != nil {
			accepted <- peer
		}
	})
	return accepted
}

// acceptSocket accepts a handshake.
func acceptSocket(t testing.TB, rw http.ResponseWriter, r *http.Request, lines ...string) *wsPeer {
	conn, rest, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		t.Errorf("Hijack: %v", err)
		return nil
	}
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	lines = append([]string{
		"HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]),
	}, lines...)
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		t.Errorf("accepting a WebSocket: %v", err)
	}
	return &wsPeer{t, conn, rest.Reader, false}
}

// handshake sends a handshake with a token and header lines, as "Name: value", and returns the
// answer. The caller of handshake closes the connection.
func (w *world) handshake(path, token string, lines ...string) (*wsPeer, *http.Response) {
	w.t.Helper()
	lines = append([]string{
		"GET " + path + " HTTP/1.1", "Host: " + strings.TrimPrefix(w.url, "http://"), "Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + wsKey,
	}, lines...)
	if token != "" {
		lines = append(lines, "Authorization: Bearer "+token)
	}
	return w.sendLines(lines...)
}

// sendLines sends the lines of a request without a body, and returns the answer.
func (w *world) sendLines(lines ...string) (*wsPeer, *http.Response) {
	w.t.Helper()
	conn := w.dial(w.t, time.Minute)
	w.t.Cleanup(func() { _ = conn.Close() }) // a test may have closed it
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		w.t.Fatal(err)
	}
	peer := &wsPeer{w.t, conn, bufio.NewReader(conn), true}
	resp, err := http.ReadResponse(peer.reader, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return peer, resp
}

// open opens a WebSocket to the API.
func (w *world) open(token string, accepted chan *wsPeer) (caller, api *wsPeer) {
	w.t.Helper()
	caller, resp := w.handshake("/api/todo/socket", token)
	if resp.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(resp.Body)
		w.t.Fatalf("handshake: got %s %s, want 101", resp.Status, body)
	}
	api = <-accepted
	w.t.Cleanup(func() { _ = api.conn.Close() }) // it may be closed already
	return caller, api
}

// rawFrame is a frame of p, its payload masked if p is a client.
func (p *wsPeer) rawFrame(first byte, payload []byte) []byte {
	frame := []byte{first, 0}
	switch size := len(payload); {
	case size < 126:
		frame[1] = byte(size)
	case size < 1<<16:
		frame[1] = 126
		frame = binary.BigEndian.AppendUint16(frame, uint16(size))
	default:
		frame[1] = 127
		frame = binary.BigEndian.AppendUint64(frame, uint64(size))
	}
	if !p.client {
		return append(frame, payload...)
	}
	frame[1] |= 0x80
	mask := []byte{0x12, 0x34, 0x56, 0x78}
	frame = append(frame, mask...)
	for i, b := range payload {
		frame = append(frame, b^mask[i%4])
	}
	return frame
}

// send sends a frame.
func (p *wsPeer) send(first byte, payload []byte) {
	p.t.Helper()
	p.write(p.rawFrame(first, payload))
}

func (p *wsPeer) write(b []byte) {
	p.t.Helper()
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatalf("writing %d bytes: %v", len(b), err)
	}
}

// read reads a frame.
func (p *wsPeer) read() (first byte, payload []byte, err error) {
	if err := p.conn.SetReadDeadline(time.Now().Add(wsPatience)); err != nil {
		return 0, nil, err
	}
	head := make([]byte, 2)
	if _, err := io.ReadFull(p.reader, head); err != nil {
		return 0, nil, err
	}
	size := uint64(head[1] & 0x7f)
	if extra := map[uint64]int{126: 2, 127: 8}[size]; extra > 0 {
		length := make([]byte, 8)
		if _, err := io.ReadFull(p.reader, length[8-extra:]); err != nil {
			return 0, nil, err
		}
		size = binary.BigEndian.Uint64(length)
	}
	if masked := head[1]&0x80 != 0; masked == p.client {
		return 0, nil, errors.New("the frame is masked, or not, as one of the other side")
	}
	mask := make([]byte, 4)
	if !p.client {
		if _, err := io.ReadFull(p.reader, mask); err != nil {
			return 0, nil, err
		}
	}
	payload = make([]byte, size)
	if _, err := io.ReadFull(p.reader, payload); err != nil {
		return 0, nil, err
	}
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return head[0], payload, nil
}

// want reads a frame and compares it.
func (p *wsPeer) want(first byte, payload []byte) {
	p.t.Helper()
	gotFirst, got, err := p.read()
	if err != nil || gotFirst != first || !bytes.Equal(got, payload) {
		p.t.Fatalf("frame: got %#x with %.60q (%d bytes) %v, want %#x with %.60q (%d bytes)",
			gotFirst, got, len(got), err, first, payload, len(payload))
	}
}

// wantClose reads a Close frame with a code.
func (p *wsPeer) wantClose(code uint16) {
	p.t.Helper()
	first, payload, err := p.read()
	if err != nil || first != wsFin|wsClose || len(payload) < 2 || binary.BigEndian.Uint16(payload) != code {
		p.t.Fatalf("got frame %#x with %q %v, want a Close frame with code %d", first, payload, err, code)
	}
}

// wantEnd waits for the end of the connection.
func (p *wsPeer) wantEnd() {
	p.t.Helper()
	first, payload, err := p.read()
	var timeout net.Error
	if err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		p.t.Fatalf("got frame %#x with %.60q %v, want the end of the connection", first, payload, err)
	}
}

// closePayload is the payload of a Close frame.
func closePayload(code uint16, reason string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, code), reason...)
}
