package downstream

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
)

// slowBody returns its content in pieces of random size.
type slowBody struct {
	*bytes.Reader
	pieces *rand.Rand
}

func (b slowBody) Read(p []byte) (int, error) { return b.Reader.Read(p[:1+b.pieces.IntN(len(p))]) }
func (slowBody) Close() error                 { return nil }

// Each new attempt reads the body from the start, while the last one may still be reading.
func TestReplaysOfABody(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		want := make([]byte, random.IntN(300_000))
		for i := range want {
			want[i] = byte(random.Uint32())
		}
		r := (&http.Request{Body: slowBody{bytes.NewReader(want), rand.New(rand.NewPCG(3, uint64(round)))}}).WithContext(t.Context())
		rec := recordBody(r, recordLimit)
		var group sync.WaitGroup
		body := r.Body
		for range random.IntN(4) {
			old := body
			stop := random.IntN(len(want) + 1)
			group.Go(func() { // continues while the next one reads, as a transport may
				_, _ = io.CopyN(io.Discard, old, int64(stop))
				_, _ = io.Copy(io.Discard, old)
			})
			_, _ = io.CopyN(io.Discard, body, int64(random.IntN(1000)))
			var err error
			if body, err = r.GetBody(); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		if random.IntN(2) == 0 {
			rec.finish(false)
		}
		if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("round %d: got %d bytes, %v, want %d", round, len(got), err, len(want))
		}
		group.Wait()
		rec.finish(false)
	}
	if n := chunksInUse.Load(); n != 0 {
		t.Errorf("%d chunks are lost", n)
	}
}

// A body beyond the limit is not sent again, and its record is discarded at once.
func TestLongBodyIsNotRecorded(t *testing.T) {
	r := (&http.Request{Body: io.NopCloser(bytes.NewReader(make([]byte, 2*recordLimit)))}).WithContext(t.Context())
	rec := recordBody(r, recordLimit)
	if n, err := io.Copy(io.Discard, r.Body); n != 2*recordLimit || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if n := chunksInUse.Load(); n > 1 { // one is for the next bytes
		t.Errorf("%d chunks are held", n)
	}
	if _, err := r.GetBody(); !errors.Is(err, errNotRecorded) {
		t.Errorf("GetBody returned %v", err)
	}
	rec.finish(true)
	if n := chunksInUse.Load(); n != 0 {
		t.Errorf("%d chunks are held after the end", n)
	}
}

// pausingBody returns first, and then the rest, which it writes in the midst of a Read.
type pausingBody struct {
	first, rest []byte
	started     chan struct{} // closed when the second Read has begun
	proceed     chan struct{} // closed when it may return
}

func (b *pausingBody) Read(p []byte) (int, error) {
	if n := copy(p, b.first); n > 0 {
		b.first = b.first[n:]
		return n, nil
	}
	close(b.started)
	for i := range p { // also beyond what it returns, as io.Reader allows
		p[i] = 'x'
	}
	n := copy(p, b.rest)
	<-b.proceed
	return n, io.EOF
}

func (*pausingBody) Close() error { return nil }

// An attempt reads what is recorded while the source is read into the same chunk for the last
// attempt. The race detector fails this test if the attempt reads more of the chunk.
func TestRecordIsReadWhileTheSourceDelivers(t *testing.T) {
	source := &pausingBody{
		first: bytes.Repeat([]byte("1"), 1000), rest: bytes.Repeat([]byte("2"), 1000),
		started: make(chan struct{}), proceed: make(chan struct{}),
	}
	want := slices.Concat(source.first, source.rest)
	r := (&http.Request{Body: source}).WithContext(t.Context())
	rec := recordBody(r, recordLimit)
	var group sync.WaitGroup
	last := r.Body
	group.Go(func() { _, _ = io.Copy(io.Discard, last) }) // the next attempt ends it
	<-source.started
	next, err := r.GetBody()
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(chunk{}))
	n, err := next.Read(got)
	if n != 1000 || err != nil {
		t.Errorf("the next attempt read %d bytes, %v, want 1000", n, err)
	}
	close(source.proceed)
	rest, err := io.ReadAll(next)
	if got := append(got[:n], rest...); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the next attempt read %d bytes, %v, want %d", len(got), err, len(want))
	}
	group.Wait()
	rec.finish(false)
	if n := chunksInUse.Load(); n != 0 {
		t.Errorf("%d chunks are lost", n)
	}
}
