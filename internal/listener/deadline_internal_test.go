package listener

import (
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"middletier/internal/testkit/wiretest"
)

const stall = 30 * time.Second

// shutWindow asks for an answer over HTTP/2 and lets nothing of its body come. It returns what
// ended the stream, and how long that took.
func shutWindow(t *testing.T, conn net.Conn) (end http2.Frame, took time.Duration) {
	block := wiretest.HeaderBlock([][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "service"}, {":path", "/"}})
	framer := http2.NewFramer(conn, conn)
	pings := make(chan [8]byte, 1)
	defer close(pings)
	go func() { // a pipe holds nothing: what we write is read while we read
		_, _ = io.WriteString(conn, http2.ClientPreface)
		_ = framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndStream: true, EndHeaders: true})
		for data := range pings {
			_ = framer.WritePing(true, data)
		}
	}()
	begun := time.Now()
	for {
		frame, err := framer.ReadFrame()
		took = time.Since(begun)
		if err != nil || took > 2*time.Hour {
			t.Fatalf("after %v: %v, want the end of the stream", took, err)
		}
		switch frame := frame.(type) {
		case *http2.PingFrame:
			pings <- frame.Data
		case *http2.RSTStreamFrame:
			return frame, took
		case *http2.DataFrame:
			t.Fatalf("got data, though the window is shut: %v", frame)
		}
	}
}

// A deadline is set late, but before what may block. Package door sets one for each write, and
// one for the end.
func TestAnswersOverHTTP2ThatNobodyReadsAreCutOff(t *testing.T) {
	write := func(w http.ResponseWriter, size int) error {
		control := http.NewResponseController(w)
		_ = control.SetWriteDeadline(time.Now().Add(stall)) // HTTP/2 supports it
		_, err := io.WriteString(w, strings.Repeat("x", size))
		_ = control.SetWriteDeadline(time.Time{})
		return err
	}
	flush := func(w http.ResponseWriter) error {
		control := http.NewResponseController(w)
		_ = control.SetWriteDeadline(time.Now().Add(stall))
		err := control.Flush()
		_ = control.SetWriteDeadline(time.Time{})
		return err
	}
	for _, row := range []struct {
		name   string
		answer func(w http.ResponseWriter) error
		broken bool          // a write or a flush has an error
		after  time.Duration // the stream ends
	}{
		{"one that net/http holds back", func(w http.ResponseWriter) error {
			err := write(w, streamBuffer)
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(stall))
			return err
		}, false, stall},
		{"one that is held back for an hour", func(w http.ResponseWriter) error {
			err := errors.Join(write(w, 1000), write(w, streamBuffer-1000))
			time.Sleep(time.Hour)
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(stall))
			return err
		}, false, time.Hour + stall},
		{"one byte more", func(w http.ResponseWriter) error { return write(w, streamBuffer+1) }, true, stall},
		{"two parts", func(w http.ResponseWriter) error { return errors.Join(write(w, 3000), write(w, 3000)) }, true, stall},
		{"a part and a flush", func(w http.ResponseWriter) error { return errors.Join(write(w, 1), flush(w)) }, true, stall},
		{"a flush, silence, and a part with a flush", func(w http.ResponseWriter) error {
			err := flush(w) // the headers
			time.Sleep(time.Hour)
			return errors.Join(err, write(w, 1), flush(w))
		}, true, time.Hour + stall},
		{"a deadline during a write", func(w http.ResponseWriter) error {
			time.AfterFunc(time.Hour, func() {
				_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(stall))
			})
			_, err := io.WriteString(w, strings.Repeat("x", streamBuffer+1))
			return err
		}, true, time.Hour + stall},
		{"a deadline that has passed", func(w http.ResponseWriter) error {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(-time.Second))
			time.Sleep(time.Hour)
			return nil
		}, false, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				written := make(chan error, 1)
				conn := servePipes(t, true, func(w http.ResponseWriter, _ *http.Request) { written <- row.answer(w) })()
				defer conn.Close()
				if end, took := shutWindow(t, conn); took != row.after {
					t.Errorf("%v after %v, want it after %v", end, took, row.after)
				}
				if err := <-written; (err != nil) != row.broken {
					t.Errorf("writing: got %v, want an error: %t", err, row.broken)
				}
			})
		})
	}
}

// deadlineWriter notes the deadlines that net/http gets, and what is written.
type deadlineWriter struct {
	http.ResponseWriter
	set []time.Time
}

func (w *deadlineWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *deadlineWriter) FlushError() error           { return nil }
func (w *deadlineWriter) SetWriteDeadline(t time.Time) error {
	w.set = append(w.set, t)
	return nil
}

func TestShortAnswersHaveOneDeadline(t *testing.T) {
	below := &deadlineWriter{}
	w := &lateDeadline{ResponseWriter: below}
	first, last := time.Now().Add(stall), time.Now().Add(2*stall)
	_ = w.SetWriteDeadline(first) // below has no errors
	_, _ = w.Write(make([]byte, streamBuffer))
	_ = w.SetWriteDeadline(time.Time{})
	_ = w.SetWriteDeadline(last)
	w.setBlocking(true)
	if !slices.Equal(below.set, []time.Time{last}) {
		t.Errorf("got %v, want only %v", below.set, last)
	}
}

// After a flush net/http holds nothing back, so short parts need no deadline again.
func TestShortPartsAfterAFlushHaveNoDeadline(t *testing.T) {
	below := &deadlineWriter{}
	w := &lateDeadline{ResponseWriter: below}
	_, _ = w.Write(make([]byte, streamBuffer+1)) // below has no errors
	_ = w.FlushError()
	_ = w.SetWriteDeadline(time.Now().Add(stall))
	_, _ = w.Write(make([]byte, streamBuffer))
	if len(below.set) > 0 {
		t.Errorf("got %v, want no deadline", below.set)
	}
}

// How much net/http holds back of a long part depends on what it held back before. A deadline
// that it has must not come earlier than the last one.
func TestPartsAfterALongOneHaveDeadlines(t *testing.T) {
	below := &deadlineWriter{}
	w := &lateDeadline{ResponseWriter: below}
	_, _ = w.Write(make([]byte, streamBuffer+1)) // below has no errors
	first, second := time.Now().Add(stall), time.Now().Add(2*stall)
	_ = w.SetWriteDeadline(first)
	if len(below.set) > 0 {
		t.Errorf("got %v before anything is written", below.set)
	}
	_, _ = w.Write(make([]byte, 1))
	_ = w.SetWriteDeadline(second)
	_ = w.SetWriteDeadline(time.Time{})
	if want := []time.Time{first, second, {}}; !slices.Equal(below.set, want) {
		t.Errorf("got %v, want %v", below.set, want)
	}
}
