package downstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"

	"middletier/internal/failure"
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
		if r.ContentLength = -1; round%2 == 0 {
			r.ContentLength = int64(len(want)) // has large chunks
		}
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
	if n := chunkBytes.Load(); n != 0 {
		t.Errorf("%d bytes are lost", n)
	}
}

// A body beyond the limit is not sent again, and its record is discarded at once.
func TestLongBodyIsNotRecorded(t *testing.T) {
	r := (&http.Request{Body: io.NopCloser(bytes.NewReader(make([]byte, 2*recordLimit)))}).WithContext(t.Context())
	rec := recordBody(r, recordLimit)
	if n, err := io.Copy(io.Discard, r.Body); n != 2*recordLimit || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if n := chunkBytes.Load(); n > int64(len(smallBuffer{})) { // it is for the next bytes
		t.Errorf("%d bytes are held", n)
	}
	if _, err := r.GetBody(); !errors.Is(err, errNotRecorded) {
		t.Errorf("GetBody returned %v", err)
	}
	rec.finish(true)
	if n := chunkBytes.Load(); n != 0 {
		t.Errorf("%d bytes are held after the end", n)
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
	got := make([]byte, len(smallBuffer{}))
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
	if n := chunkBytes.Load(); n != 0 {
		t.Errorf("%d bytes are lost", n)
	}
}

// pieces returns at most size bytes from each Read.
type pieces struct {
	io.Reader
	size int
}

func (r pieces) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(r.size, len(p))]) }

// What an attempt is writing stays as it is while the next attempt reads the body, and more of
// it than is recorded.
func TestNextAttemptLeavesLentBytesAlone(t *testing.T) {
	want := numbers(10 * len(smallBuffer{}))
	for _, test := range []struct{ piece, limit, read int }{ // read: before the loan
		{len(smallBuffer{}), len(smallBuffer{}), 0},
		{len(smallBuffer{}), len(smallBuffer{}), 1000},
		{3000, 5000, 1000}, // as if other records had the memory: what was lent is in the last chunk
	} {
		r := (&http.Request{Body: io.NopCloser(pieces{bytes.NewReader(want), test.piece})}).WithContext(t.Context())
		rec := recordBody(r, test.limit)
		last, part, next := lendBeforeNext(t, rec, test.read)
		if got, err := io.ReadAll(next); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%v: the next attempt read %d bytes, %v, want %d", test, len(got), err, len(want))
		}
		if len(part) == 0 || !bytes.Equal(part, want[test.read:test.read+len(part)]) {
			t.Errorf("%v: the %d bytes that were lent have changed", test, len(part))
		}
		last.giveBack(len(part))
		rec.finish(false)
		if n := chunkBytes.Load(); n != 0 {
			t.Errorf("%v: %d bytes are lost", test, n)
		}
	}
}

// lendBeforeNext has an attempt read n bytes, lends what follows, and begins the next attempt.
func lendBeforeNext(t *testing.T, rec *record, n int) (last *replay, part []byte, next io.Reader) {
	t.Helper()
	last = rec.newest
	if read, err := io.CopyN(io.Discard, last, int64(n)); err != nil {
		t.Fatalf("read %d bytes of %d, %v", read, n, err)
	}
	part, err := last.lend(math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	if next, err = rec.rewind(); err != nil {
		t.Fatal(err)
	}
	return last, part, next
}

// A loan that ends after the recording leaves what the next attempt has not read.
func TestLateLoansLeaveWhatIsNotRead(t *testing.T) {
	want := numbers(2*len(smallBuffer{}) + 5)
	r := (&http.Request{Body: io.NopCloser(bytes.NewReader(want))}).WithContext(t.Context())
	rec := recordBody(r, len(want)+len(smallBuffer{}))
	last, part, next := lendBeforeNext(t, rec, 2*len(smallBuffer{}))
	begin := make([]byte, 10)
	if _, err := io.ReadFull(next, begin); err != nil {
		t.Fatal(err)
	}
	rec.finish(false)
	last.giveBack(len(part))
	if rest, err := io.ReadAll(next); err != nil || !bytes.Equal(append(begin, rest...), want) {
		t.Errorf("the next attempt read %d bytes, %v, want %d", len(begin)+len(rest), err, len(want))
	}
	if n := chunkBytes.Load(); n != 0 {
		t.Errorf("%d bytes are lost", n)
	}
}

// writing is a connection with a function that writes.
type writing struct {
	net.Conn
	write func(p []byte) (int, error)
}

func (c writing) Write(p []byte) (int, error) { return c.write(p) }

// A call that ends leaves alone what an attempt is writing: others get no chunk of it.
func TestEndOfACallLeavesLentBytesAlone(t *testing.T) {
	want := numbers(1000)
	for range 20 { // under the race detector, a sync.Pool forgets some of what is put
		r := (&http.Request{Body: io.NopCloser(bytes.NewReader(want))}).WithContext(t.Context())
		rec := recordBody(r, recordLimit)
		conn := &http1Conn{Conn: writing{write: func(p []byte) (int, error) {
			rec.finish(true)
			other := takeBuffer(len(smallBuffer{}))
			defer giveBuffer(other)
			clear(other)
			if !bytes.Equal(p, want) {
				t.Errorf("%d bytes are written, or others than those of the body", len(p))
			}
			return len(p), nil
		}}}
		s := &sender{conn: conn, body: rec.newest}
		if err := s.sendAll(int64(len(want))); err != errReplayClosed {
			t.Errorf("got %v, want the end of the call", err)
		}
	}
	if n := chunkBytes.Load(); n != 0 {
		t.Errorf("%d bytes are lost", n)
	}
}

// While the records of others have all the memory for them, a body of more than a chunk is not
// recorded.
func TestFullMemoryIsNotForRecords(t *testing.T) {
	chunkBytes.Add(maxChunkBytes)
	defer chunkBytes.Add(-maxChunkBytes)
	size := 3 * len(smallBuffer{})
	r := (&http.Request{Body: io.NopCloser(bytes.NewReader(make([]byte, size)))}).WithContext(t.Context())
	rec := recordBody(r, recordLimit)
	defer rec.finish(true)
	if n, err := io.Copy(io.Discard, r.Body); n != int64(size) || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if _, err := r.GetBody(); !errors.Is(err, errNotRecorded) {
		t.Errorf("GetBody returned %v", err)
	}
}

// What the log says of an upload that its API or its caller has ended.
func TestEndedUploadsAreExplained(t *testing.T) {
	for _, err := range []error{errReplayClosed, bodyError{errLongBody}} {
		if got := failure.Class(fmt.Errorf("read: %w", err)); got != err.Error() {
			t.Errorf("got %q, want %q", got, err)
		}
	}
}

// numbers returns n bytes, of which no chunk is like the next.
func numbers(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(1 + i/1000%255)
	}
	return b
}
