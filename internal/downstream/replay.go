package downstream

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
)

const (
	// recordLimit is how much of a body is recorded, so that it can be sent again. Before a
	// server says that it does not process a request, it accepts at most the initial
	// flow-control window: 64 KiB at nginx, 768 KiB at Kestrel, 1 MiB at Go.
	recordLimit = 1 << 20

	// recordLimitHTTP1 is the same over HTTP/1.1, where a request is sent again only if
	// nothing of it was written: net/http's buffers hold what has been read by then.
	recordLimitHTTP1 = 64 << 10

	// maxChunks bounds all records together, to 64 MiB. Beyond it bodies are not recorded.
	maxChunks = 64 << 20 / len(chunk{})
)

// readSize is how much is read at once before the response begins: the size of an HTTP/2
// frame. Each caller that holds a body open costs as much memory.
const readSize = 16 << 10

var readBufferPool = sync.Pool{New: func() any { return new([readSize]byte) }}

// chunk is a buffer of bufferPool, and a part of a record.
type chunk = [32 << 10]byte

// chunksInUse counts the chunks of all records.
var chunksInUse atomic.Int64

var (
	errNotRecorded  = errors.New("the request body cannot be sent again")
	errReplayClosed = errors.New("the API ended the connection or the request during the upload")
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
// may fail meanwhile. So a goroutine reads the source, and Close ends a Read that waits.
type record struct {
	source   io.ReadCloser
	limit    int
	sent     http.Header // trailers, as the attempts send them
	received http.Header // the same, as the source fills them in at its end

	mu       sync.Mutex      // guards what follows, and the replays
	changed  sync.Cond       // signalled when a Read may go on
	reading  bool            // a goroutine reads the source
	chunks   []*chunk        // hold the bytes of the source from start to size
	spare    *chunk          // for the next bytes, so that a long body does not need the pool; nil: none
	buffer   *[readSize]byte // of read; nil: none
	start    int             // above 0: the beginning has been discarded
	size     int             // bytes read from the source
	err      error           // of the source's last read
	first    replay          // most bodies have no other
	newest   *replay
	finished bool // no attempt will follow
}

// recordBody replaces the body of r by one that can be sent again while it is short. finish
// must be called on the record when the last attempt is over.
func recordBody(r *http.Request, limit int) *record {
	rec := &record{source: r.Body, limit: limit, received: r.Trailer, sent: maps.Clone(r.Trailer)}
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
	rec.freeBuffers()
	rec.changed.Broadcast()
	rec.mu.Unlock()
	if closed {
		_ = rec.source.Close()
	}
}

// discard frees the chunks, except for a spare one while the recording goes on. The
// caller holds mu.
func (rec *record) discard() {
	for _, c := range rec.chunks {
		if rec.spare == nil && !rec.finished {
			rec.spare = c
			continue
		}
		free(c)
	}
	clear(rec.chunks)
	rec.chunks, rec.start = rec.chunks[:0], rec.size
}

func free(c *chunk) {
	bufferPool.Put(c)
	chunksInUse.Add(-1)
}

// freeBuffers frees what is kept for the next read, at the end of the recording. A read
// that is not over needs its buffer. The caller holds mu.
func (rec *record) freeBuffers() {
	if rec.spare != nil {
		free(rec.spare)
		rec.spare = nil
	}
	if rec.buffer != nil && !rec.reading {
		readBufferPool.Put(rec.buffer)
		rec.buffer = nil
	}
}

// read reads the source once, for the attempt that is the newest when it returns.
func (rec *record) read() {
	n, err := rec.source.Read(rec.buffer[:])
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.add(rec.buffer[:n])
	rec.err, rec.reading = err, false
	if rec.finished {
		rec.freeBuffers()
	}
	rec.changed.Broadcast()
}

// add records bytes from the source. The caller holds mu.
func (rec *record) add(p []byte) {
	if rec.finished && rec.newest.closed {
		rec.size += len(p)
		rec.discard()
		return
	}
	full := rec.start > 0 || rec.size-rec.start+len(p) > rec.limit || chunksInUse.Load() >= int64(maxChunks)
	if full && rec.newest.at == rec.size && !rec.newest.closed {
		rec.discard()
	}
	for len(p) > 0 { // beyond the limit too, if newest has yet to read it
		offset := (rec.size - rec.start) % len(chunk{})
		if offset == 0 {
			rec.chunks = append(rec.chunks, rec.newChunk())
		}
		n := copy(rec.chunks[len(rec.chunks)-1][offset:], p)
		p = p[n:]
		rec.size += n
	}
}

// newChunk returns the spare chunk or another. The caller holds mu.
func (rec *record) newChunk() *chunk {
	if c := rec.spare; c != nil {
		rec.spare = nil
		return c
	}
	chunksInUse.Add(1)
	return bufferPool.Get().(*chunk)
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
	for {
		if n, err, done := b.readRecorded(p); done {
			return n, err
		}
		switch {
		case rec.reading:
			rec.changed.Wait()
		case rec.finished:
			return b.readSource(p)
		default:
			rec.reading = true
			if rec.buffer == nil {
				rec.buffer = readBufferPool.Get().(*[readSize]byte)
			}
			go rec.read()
		}
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
	rec.discard()
	rec.err, rec.reading = err, false
	rec.changed.Broadcast()
	b.at = rec.size
	return n, b.passTrailers(err)
}

// readRecorded reads what the record has for b. done is false if b has to wait for the
// source. The caller holds mu.
func (b *replay) readRecorded(p []byte) (n int, err error, done bool) {
	rec := b.rec
	switch {
	case b.closed || b.abandoned || b != rec.newest:
		return 0, errReplayClosed, true
	case b.at < rec.size:
		offset := b.at - rec.start
		n = copy(p, rec.chunks[offset/len(chunk{})][offset%len(chunk{}):])
		n = min(n, rec.size-b.at)
		if b.at += n; rec.finished && b.at == rec.size {
			rec.discard()
		}
		return n, nil, true
	case rec.err != nil || len(p) == 0:
		return 0, b.passTrailers(rec.err), true
	}
	return 0, nil, false
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
