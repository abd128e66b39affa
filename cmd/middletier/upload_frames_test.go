package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"middletier/internal/testkit/wiretest"
)

// frameUpload is an upload over HTTP/2 whose caller sends whatever it may, and looks
// at its answer only when it cannot send any more, as .NET's HttpClient does. What it
// sends while the answer ends is on its way: a reset for that is what such a client
// reports, in place of the status.
type frameUpload struct {
	framer  *http2.Framer
	writing sync.Mutex // of the framer

	mu      sync.Mutex // guards what follows
	changed *sync.Cond
	size    int64 // of the frames, at the most
	stream  int64 // the window of the stream
	conn    int64 // and that of its connection
	status  int
	ended   bool // the answer
	reset   bool // the stream, without an error after the whole answer: the rest is not wanted
	last    bool // a frame that was on its way then is sent
	settled bool // all that was sent has been looked at by the service
	failed  error
}

// uploadFrames uploads over HTTP/2 what row says.
func (u *uploads) uploadFrames(row uploadRow) (status int, err error) {
	conn, err := tls.Dial("tcp", strings.TrimPrefix(u.url, "https://"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
	f := &frameUpload{framer: http2.NewFramer(conn, conn), size: 16 << 10, stream: 65535, conn: 65535}
	f.changed = sync.NewCond(&f.mu)
	f.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return 0, err
	}
	if err := f.begin(row); err != nil {
		return 0, err
	}
	var reader sync.WaitGroup
	defer reader.Wait()
	defer conn.Close() // before the wait
	reader.Go(f.read)
	if err := f.send(row.size); err != nil {
		return 0, err
	}
	return f.outcome()
}

// begin sends the settings and the head of the request.
func (f *frameUpload) begin(row uploadRow) error {
	fields := [][2]string{
		{":method", "POST"}, {":scheme", "https"}, {":authority", "x"}, {":path", row.path}, {"authorization", "Bearer " + row.token},
	}
	if !row.unsized {
		fields = append(fields, [2]string{"content-length", strconv.FormatInt(row.size, 10)})
	}
	if err := f.framer.WriteSettings(); err != nil {
		return err
	}
	return f.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: wiretest.HeaderBlock(fields), EndHeaders: true})
}

// send sends the body, until all is sent or the service wants no more of it.
func (f *frameUpload) send(rest int64) error {
	data := make([]byte, 16<<10)
	for rest > 0 {
		n, err := f.await(rest)
		if n == 0 {
			return err
		}
		rest -= n
		if err := f.write(func() error { return f.framer.WriteData(1, rest == 0, data[:n]) }); err != nil {
			return fmt.Errorf("sending: %w", err)
		}
	}
	return nil
}

// await waits until some of rest may be sent, and takes it from the windows: 0 for
// none any more.
func (f *frameUpload) await(rest int64) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.failed == nil && !f.reset && min(f.stream, f.conn) <= 0 {
		f.changed.Wait()
	}
	if f.failed != nil || f.last || f.reset && min(f.stream, f.conn) <= 0 {
		return 0, f.failed
	}
	f.last = f.reset
	n := min(rest, f.size, f.stream, f.conn)
	f.stream -= n
	f.conn -= n
	return n, nil
}

func (f *frameUpload) write(frame func() error) error {
	f.writing.Lock()
	defer f.writing.Unlock()
	return frame()
}

// outcome waits for the answer's end, and for what comes for the frames that were
// on their way.
func (f *frameUpload) outcome() (status int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.failed == nil && !f.ended {
		f.changed.Wait()
	}
	f.mu.Unlock()
	err = f.write(func() error { return f.framer.WritePing(false, [8]byte{}) })
	f.mu.Lock()
	for err == nil && f.failed == nil && !f.settled {
		f.changed.Wait()
	}
	return f.status, errors.Join(f.failed, err)
}

// read takes in what the service sends, until the connection ends.
func (f *frameUpload) read() {
	for {
		frame, err := f.framer.ReadFrame()
		if err == nil {
			err = f.take(frame)
		}
		if err != nil {
			f.mu.Lock()
			f.failed = errors.Join(f.failed, err)
			f.mu.Unlock()
			f.changed.Broadcast()
			return
		}
		f.changed.Broadcast()
	}
}

func (f *frameUpload) take(frame http2.Frame) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch frame := frame.(type) {
	case *http2.SettingsFrame:
		if frame.IsAck() {
			return nil
		}
		if window, ok := frame.Value(http2.SettingInitialWindowSize); ok {
			f.stream += int64(window) - 65535
		}
		return f.write(f.framer.WriteSettingsAck)
	case *http2.WindowUpdateFrame:
		if frame.StreamID == 0 {
			f.conn += int64(frame.Increment)
		} else {
			f.stream += int64(frame.Increment)
		}
	case *http2.PingFrame:
		f.settled = f.settled || frame.IsAck()
	case *http2.MetaHeadersFrame:
		f.status, _ = strconv.Atoi(frame.PseudoValue("status"))
		f.ended = f.ended || frame.StreamEnded()
	case *http2.DataFrame:
		f.ended = f.ended || frame.StreamEnded()
	case *http2.RSTStreamFrame:
		if !f.ended || frame.ErrCode != http2.ErrCodeNo {
			return fmt.Errorf("the stream was reset: %v (the answer was whole: %v)", frame.ErrCode, f.ended)
		}
		f.reset = true
	case *http2.GoAwayFrame:
		return fmt.Errorf("the connection ends: %v", frame.ErrCode)
	}
	return nil
}

// If a refused upload is longer than what is read of its rest, the caller must have used
// up its window before the answer ends. Otherwise data would still arrive, and net/http
// would reset the stream with STREAM_CLOSED for it, after the NO_ERROR that says that the
// rest is not wanted (RFC 9113, section 8.1). .NET's client would report the second.
func TestEndlessUploadsSeeTheirRefusal(t *testing.T) {
	u := newUploads(t)
	row := uploadRow{path: "/api/todo/items", token: "none", size: 100 << 20, unsized: true, status: 401}
	// On a machine so busy that the time for the rest ends first, a try says nothing.
	for range 20 {
		start := time.Now()
		status, err := u.uploadFrames(row)
		if err == nil && status == row.status {
			return
		}
		if took := time.Since(start); took < 5*time.Second {
			t.Fatalf("got %d, %v after %v, want %d", status, err, took, row.status)
		}
	}
	t.Fatal("no try was over within the time that is given to the rest of an upload")
}
