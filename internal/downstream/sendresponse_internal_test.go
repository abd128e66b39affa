package downstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// partsReader is a body that comes in parts.
type partsReader struct {
	text  []byte
	parts []int         // their sizes
	quick int           // how many come at once
	pause time.Duration // before each of the others, and before the end
	end   error         // after the last part
}

func (r *partsReader) Read(p []byte) (int, error) {
	if r.quick--; r.quick < 0 {
		time.Sleep(r.pause) // in virtual time
	}
	if len(r.parts) == 0 {
		return 0, r.end
	}
	n := copy(p, r.text[:r.parts[0]])
	r.text = r.text[n:]
	if r.parts[0] -= n; r.parts[0] == 0 {
		r.parts = r.parts[1:]
	}
	return n, nil
}

func (r *partsReader) Close() error { return nil }

// stepsWriter notes what is written and when it is flushed.
type stepsWriter struct {
	text  bytes.Buffer
	steps []string
}

func (w *stepsWriter) Header() http.Header { return nil }
func (w *stepsWriter) WriteHeader(int)     {}
func (w *stepsWriter) Flush()              { w.steps = append(w.steps, "flush") }

func (w *stepsWriter) Write(p []byte) (int, error) {
	w.steps = append(w.steps, fmt.Sprint(len(p)))
	return w.text.Write(p)
}

func TestPartsOfAResponse(t *testing.T) {
	cut := errors.New("cut off")
	for _, test := range []struct {
		name, kind string
		parts      []int
		quick      int
		pause      time.Duration
		end        error // nil: io.EOF
		want       []string
	}{
		{"one part", "", []int{100}, 0, 0, nil, []string{"100"}},
		{"nothing", "", nil, 0, 0, nil, nil},
		{"a short one waits for the next", "", []int{minPart - 1, 50_000, 20_000}, 0, 0, nil, []string{"54095", "20000"}},
		{"short ones wait for the end", "", []int{1000, 1000, 1000}, 0, 0, nil, []string{"3000"}},
		{"a longer one does not", "", []int{minPart, 1000, minPart}, 0, 0, nil, []string{"4096", "5096"}},
		{"a large one fills the buffer", "", []int{100, 2 * len(largeBuffer{})}, 0, 0, nil, []string{"61440", "61440", "100"}},
		{"no longer than flushInterval", "", []int{1000, 9000}, 0, 2 * flushInterval, nil, []string{"flush", "1000", "flush", "9000", "flush"}},
		{"nor the last one until the end", "", []int{9000}, 0, 2 * flushInterval, nil, []string{"flush", "9000", "flush"}},
		{
			"what comes after it does not wait again", "",
			[]int{1000, 1000, 1000, 9000},
			0, 2 * flushInterval, nil,
			[]string{"flush", "1000", "flush", "1000", "flush", "1000", "flush", "9000", "flush"},
		},
		{"two in that time", "", []int{1000, 1000, 1000, 9000}, 0, 2 * flushInterval / 5, nil, []string{"2000", "flush", "1000", "9000"}},
		{"an API that breaks off", "", []int{1000}, 0, 0, cut, []string{"1000"}},
		{"an API that breaks off late", "", []int{1000, 1000}, 0, 2 * flushInterval, cut, []string{"flush", "1000", "flush", "1000", "flush"}},
		{"one that has waited is not sent again", "", []int{1000, 9000, 500}, 2, 2 * flushInterval, nil, []string{"10000", "flush", "500", "flush"}},
		{"no event waits", "text/event-stream", []int{1000, 1000}, 0, time.Millisecond, nil, []string{"flush", "1000", "flush", "1000", "flush"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				size := 0
				for _, part := range test.parts {
					size += part
				}
				body := &partsReader{text: bytes.Repeat([]byte("0123456789a"), size/11+1), parts: slices.Clone(test.parts), quick: test.quick, pause: test.pause, end: io.EOF}
				want := bytes.Clone(body.text[:size])
				resp := &http.Response{Header: http.Header{"Content-Type": {test.kind}}, Body: body, ContentLength: int64(size)}
				if test.end != nil {
					body.end = test.end
					resp.ContentLength++
				}
				w := &stepsWriter{}
				c := &call{}
				c.response = responseWriter{ResponseWriter: w, call: c}
				c.deadline.start(time.Hour, time.Hour, c.wake)
				defer c.deadline.stop()
				buffer := make([]byte, len(largeBuffer{}))
				if err := c.response.copyThrough(buffer, resp); err != test.end {
					t.Errorf("got %v, want %v", err, test.end)
				}
				clear(buffer) // for another response
				time.Sleep(time.Minute)
				if !slices.Equal(w.steps, test.want) {
					t.Errorf("got %v, want %v", w.steps, test.want)
				}
				if !bytes.Equal(w.text.Bytes(), want) {
					t.Error("the text is another")
				}
			})
		})
	}
}

func TestSizesOfBuffers(t *testing.T) {
	small, large := len(smallBuffer{}), len(largeBuffer{})
	for length, want := range map[int64]int{
		-1: small, 0: small, 32 << 10: small, 32<<10 + 1: large, 1 << 40: large,
	} {
		if got := len(takeBuffer(bufferSize(length))); got != want {
			t.Errorf("for a body of %d: got %d, want %d", length, got, want)
		}
	}
	for _, size := range []int{small, large} {
		// The average, rounded down: the race detector makes a sync.Pool forget some.
		if n := testing.AllocsPerRun(100, func() { giveBuffer(takeBuffer(size)) }); n != 0 {
			t.Errorf("buffers of %d are not used again", size)
		}
	}
}
