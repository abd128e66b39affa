package downstream

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"middletier/internal/failure"
)

const (
	// recordLimit is how much of a body is recorded, so that it can be sent again. Before a
	// server says that it does not process a request, it accepts at most the initial
	// flow-control window: 64 KiB at nginx, 768 KiB at Kestrel, 1 MiB at Go.
	recordLimit = 1 << 20

	// recordLimitHTTP1 is the same over HTTP/1.1, where a request is sent again only if
	// nothing of it was written: at most net/http's buffers hold what has been read by then.
	recordLimitHTTP1 = 64 << 10

	// maxChunkBytes bounds all records together. Beyond it bodies are not recorded.
	maxChunkBytes = 64 << 20
)

// chunkBytes is the size of the chunks of all records.
var chunkBytes atomic.Int64

var (
	errNotRecorded  = errors.New("the request body cannot be sent again")
	errLongBody     = failure.New("the request body is longer than its length says")
	errReplayClosed = failure.New("the API ended the connection or the request during the upload")
)

// record is what has been read of a request's body until the response begins: net/http
// sends a request again that the server did not process, and needs the body from its
// start. Each attempt has a replay, which reads the record and then goes on with the
// source.
//
//	state        newest replay  bytes from the source
//	recording    open           are recorded up to the limit; beyond, until newest has read them
//	interrupted  closed         are recorded for the next attempt
//	passing      open           go to newest; no attempt will follow (finished)
//	over         closed         are discarded; the source is closed (finished)
//
// Until the response begins, a caller may pause for as long as it likes, and the attempt
// may fail meanwhile. So a goroutine reads the source, and Close ends a Read that waits. In a
// direct record the attempts read the source themselves, through lend: their reading is in a goroutine
// already, and RoundTrip does not wait for it.
type record struct {
	source    io.ReadCloser
	limit     int
	direct    bool
	chunkSize int         // see bufferSize; each caller that holds a body open costs the memory of one chunk
	sent      http.Header // trailers, as the attempts send them
	received  http.Header // the same, as the source fills them in at its end

	mu       sync.Mutex // guards what follows, and the replays
	changed  sync.Cond  // signalled when a Read may go on
	reading  bool       // the source is being read: into the last chunk, if the read began before finished
	chunks   [][]byte   // buffers that hold the bytes of the source from base on, and have room for the next
	lent     int        // how many attempts write from the chunks
	base     int        // where the first chunk begins
	start    int        // above 0: the beginning has been discarded
	size     int        // bytes read from the source
	err      error      // of the source's last read
	first    replay     // most bodies have no other
	newest   *replay
	finished bool // no attempt will follow
}

// recordBody replaces the body of r by one that can be sent again while it is short. finish
// must be called on the record when the last attempt is over.
func recordBody(r *http.Request, limit int) *record {
	rec := &record{
		source: r.Body, limit: limit, chunkSize: bufferSize(r.ContentLength),
		received: r.Trailer, sent: maps.Clone(r.Trailer),
	}
	rec.changed.L = &rec.mu
	rec.first.rec = rec
	rec.newest = &rec.first
	r.Body, r.GetBody, r.Trailer = rec.newest, rec.rewind, rec.sent
	return rec
}

// rewind begins another attempt. The last one ends, if it has not ended yet.
func (rec *record) rewind() (io.ReadCloser, error) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.finished || rec.start > 0 {
		return nil, errNotRecorded
	}
	rec.newest = &replay{rec: rec}
	rec.changed.Broadcast() // to the last one
	return rec.newest, nil
}

// resume returns the body of the newest attempt, which has a new connection.
func (rec *record) resume() *replay {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.newest.abandoned = false
	return rec.newest
}

// finish ends the recording: the response has begun, or the last attempt has failed.
func (rec *record) finish(failed bool) {
	rec.mu.Lock()
	rec.finished = true
	if failed {
		rec.newest.closed = true
	}
	closed := rec.newest.closed
	if closed || rec.newest.at == rec.size {
		rec.discard()
	}
	rec.changed.Broadcast()
	rec.mu.Unlock()
	if closed {
		_ = rec.source.Close()
	}
}

// discard frees the chunks, except for the one that is being read into, or will be while the
// recording goes on. While bytes are lent, no chunk is used again: the garbage collector frees
// it. That is rare, because what is lent has not been read yet. The caller holds mu.
func (rec *record) discard() {
	freed := len(rec.chunks)
	if freed > 0 && (rec.reading || !rec.finished && rec.lent == 0) {
		freed--
	}
	for _, c := range rec.chunks[:freed] {
		if rec.lent == 0 {
			giveBuffer(c)
		}
		chunkBytes.Add(-int64(rec.chunkSize))
	}
	rec.chunks = slices.Delete(rec.chunks, 0, freed)
	if rec.base += freed * rec.chunkSize; !rec.reading {
		rec.base = rec.size
	}
	rec.start = rec.size
}

// startRead reads the source once, in a goroutine unless rec is direct. The newest attempt has read
// all that is recorded. The caller holds mu.
func (rec *record) startRead() {
	if rec.start > 0 {
		rec.discard()
	}
	used := rec.size - rec.base
	if used == len(rec.chunks)*rec.chunkSize {
		chunkBytes.Add(int64(rec.chunkSize))
		rec.chunks = append(rec.chunks, takeBuffer(rec.chunkSize))
	}
	rec.reading = true
	room := rec.chunks[len(rec.chunks)-1][used%rec.chunkSize:]
	if !rec.direct {
		go rec.read(room)
		return
	}
	rec.mu.Unlock()
	rec.read(room)
	rec.mu.Lock()
}

// read reads the source once, for the attempt that is the newest when it returns.
func (rec *record) read(p []byte) {
	n, err := rec.source.Read(p)
	rec.mu.Lock()
	defer rec.mu.Unlock()
	full := rec.start > 0 || rec.size+n > rec.limit || chunkBytes.Load() > maxChunkBytes
	if full && n > 0 && rec.newest.at == rec.size && !rec.newest.closed {
		rec.discard() // beyond the limit, newest has yet to read only what was read now
	}
	rec.size += n
	rec.err, rec.reading = err, false
	if rec.finished && (rec.newest.closed || rec.newest.at == rec.size) {
		rec.discard()
	}
	rec.changed.Broadcast()
}

// replay is the body of one attempt.
type replay struct {
	rec       *record
	at        int // bytes read
	closed    bool
	abandoned bool // its connection has ended
}

func (b *replay) Read(p []byte) (int, error) {
	rec := b.rec
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	recorded, err := b.next()
	switch {
	case err != nil:
		return 0, err
	case recorded == nil:
		return b.readSource(p)
	}
	n := copy(p, recorded)
	b.advance(n)
	return n, nil
}

// next waits for bytes that b has not read, and returns some of them, or an error. It never
// returns more than what is recorded: the source may be read into the rest of the chunk at the
// same time. If it returns neither, no attempt will follow, and b reads the source itself. The
// caller holds mu.
func (b *replay) next() ([]byte, error) {
	rec := b.rec
	for {
		switch {
		case b.closed || b.abandoned || b != rec.newest:
			return nil, errReplayClosed
		case b.at < rec.size:
			first := b.at - rec.base
			offset := first % rec.chunkSize
			end := min(rec.chunkSize, offset+rec.size-b.at)
			return rec.chunks[first/rec.chunkSize][offset:end], nil
		case rec.err != nil:
			return nil, b.passTrailers(rec.err)
		case rec.reading:
			rec.changed.Wait()
		case rec.finished && !rec.direct:
			return nil, nil
		default:
			rec.startRead()
		}
	}
}

// lend returns the next bytes of a direct record for b to write, at most limit, or an error. After
// bytes, giveBack must be called.
func (b *replay) lend(limit int64) ([]byte, error) {
	b.rec.mu.Lock()
	defer b.rec.mu.Unlock()
	part, err := b.next()
	if len(part) > 0 {
		part = part[:min(int64(len(part)), limit)]
		b.rec.lent++
	}
	return part, err
}

// giveBack ends a loan. b has read n bytes of it, which are written.
func (b *replay) giveBack(n int) {
	b.rec.mu.Lock()
	defer b.rec.mu.Unlock()
	b.rec.lent--
	b.advance(n)
}

// awaitEnd waits for the end of the source, of which b has read the last byte that is wanted.
func (b *replay) awaitEnd() error {
	b.rec.mu.Lock()
	defer b.rec.mu.Unlock()
	switch _, err := b.next(); err {
	case io.EOF:
		return nil
	case nil:
		return errLongBody
	default:
		return err
	}
}

// advance notes that b has read n bytes of the record. The caller holds mu.
func (b *replay) advance(n int) {
	if b.at += n; b == b.rec.newest && b.rec.finished && b.at == b.rec.size {
		b.rec.discard()
	}
}

// readSource reads the source without recording, since no attempt will follow. The caller
// holds mu.
func (b *replay) readSource(p []byte) (int, error) {
	rec := b.rec
	rec.reading = true
	rec.mu.Unlock()
	n, err := rec.source.Read(p)
	rec.mu.Lock()
	rec.size += n
	rec.err, rec.reading = err, false
	rec.discard()
	rec.changed.Broadcast()
	b.at = rec.size
	return n, b.passTrailers(err)
}

// passTrailers copies the trailers when err is io.EOF, and returns err. It must not come
// before the newest attempt has read the whole body, since that attempt may still write
// the trailers' names. The caller holds mu.
func (b *replay) passTrailers(err error) error {
	if err == io.EOF && b.rec.received != nil {
		for name := range b.rec.sent {
			b.rec.sent[name] = b.rec.received[name]
		}
		b.rec.received = nil // copied once only
	}
	return err
}

// abandon ends a Read that waits before the response, because the connection of the
// attempt has ended.
func (b *replay) abandon() {
	b.rec.mu.Lock()
	defer b.rec.mu.Unlock()
	if !b.rec.finished {
		b.abandoned = true
		b.rec.changed.Broadcast()
	}
}

// Close ends the attempt, and a Read that waits before the response. It leaves the source
// open for the next attempt.
func (b *replay) Close() error {
	b.rec.mu.Lock()
	b.closed = true
	last := b == b.rec.newest && b.rec.finished
	if last {
		b.rec.discard()
	}
	b.rec.changed.Broadcast()
	b.rec.mu.Unlock()
	if last {
		return b.rec.source.Close()
	}
	return nil
}
