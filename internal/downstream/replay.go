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
	// recordLimit is how much of a body is recorded, so that it can be sent again. A
	// server takes no more of a request that it does not process than the window it
	// grants at first: 64 KiB at nginx, 768 KiB at Kestrel, 1 MiB at Go.
	recordLimit = 1 << 20

	// recordLimitHTTP1 is the same over HTTP/1.1, where a request is sent again only if
	// nothing of it was written: what is read by then fits into net/http's buffers.
	recordLimitHTTP1 = 64 << 10

	// maxChunks bounds all records together, to 64 MiB. Bodies beyond are not recorded.
	maxChunks = 64 << 20 / len(chunk{})
)

// pieceSize is how much is read at once before the answer begins: what HTTP/2 sends in
// a frame. As much is held for each caller who keeps a body open.
const pieceSize = 16 << 10

var piecePool = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// chunk is a part of a record. Chunks come from bufferPool.
type chunk = [32 << 10]byte

// chunksInUse counts those of all records.
var chunksInUse atomic.Int64

var (
	errNotRecorded = errors.New("the request body cannot be sent again")
	errOldReplay   = errors.New("the request body was closed")
)

// record is what was read of a request's body, until the answer begins: net/http
// sends a request again that the server did not process, and needs its body from
// the start. Each attempt has a replay, which reads the record and then goes on
// with the source.
//
//	state      newest replay  what is read of source
//	recording  open           is recorded, up to the limit; beyond, until newest has it
//	between    closed         is recorded: it belongs to the next attempt
//	passing    open           goes to newest; no attempt will follow (settled)
//	over       closed         is thrown away; source is closed (settled)
//
// Until the answer begins a caller may send nothing for as long as it likes, and the
// attempt may fail meanwhile: so source is read where nobody waits for it, and Close
// ends a Read.
type record struct {
	source  io.ReadCloser
	limit   int
	sent    http.Header // trailers, as the attempts send them
	trailer http.Header // the same, as source fills them in at its end

	mu      sync.Mutex // guards what follows, and the replays
	changed sync.Cond  // signalled when a Read may go on
	reading bool       // somebody reads source
	chunks  []*chunk   // hold what source gave, from start to size
	start   int        // beyond 0, the beginning is lost
	size    int
	end     error // that source ended with
	newest  *replay
	settled bool // no attempt will follow
}

// recordBody returns a copy of r whose body can be sent again while it is short.
// The record must be settled when the last attempt is over.
func recordBody(r *http.Request, limit int) (*http.Request, *record) {
	again := r.WithContext(r.Context()) // a shallow copy
	rec := &record{source: r.Body, limit: limit, trailer: r.Trailer, sent: maps.Clone(r.Trailer)}
	rec.changed.L = &rec.mu
	rec.newest = &replay{rec: rec}
	again.Body, again.GetBody, again.Trailer = rec.newest, rec.again, rec.sent
	return again, rec
}

// again begins another attempt. The last one ends, if it has not.
func (rec *record) again() (io.ReadCloser, error) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.settled || rec.start > 0 {
		return nil, errNotRecorded
	}
	rec.newest = &replay{rec: rec}
	rec.changed.Broadcast() // to the last one
	return rec.newest, nil
}

// attempt returns the body of the newest attempt.
func (rec *record) attempt() *replay {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return rec.newest
}

// settle ends the recording: the answer has begun, or the last attempt has failed.
func (rec *record) settle(failed bool) {
	rec.mu.Lock()
	rec.settled = true
	if failed {
		rec.newest.closed = true
	}
	closed := rec.newest.closed
	if closed || rec.newest.at == rec.size {
		rec.drop()
	}
	rec.changed.Broadcast()
	rec.mu.Unlock()
	if closed {
		_ = rec.source.Close() // nobody reads on
	}
}

// drop forgets what is recorded. The caller holds mu.
func (rec *record) drop() {
	for _, c := range rec.chunks {
		bufferPool.Put(c)
	}
	chunksInUse.Add(-int64(len(rec.chunks)))
	rec.chunks, rec.start = nil, rec.size
}

// read reads source once, for whatever attempt is the newest then.
func (rec *record) read() {
	piece := piecePool.Get().(*[pieceSize]byte)
	defer piecePool.Put(piece)
	n, err := rec.source.Read(piece[:])
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.add(piece[:n])
	rec.end, rec.reading = err, false
	rec.changed.Broadcast()
}

// add takes in what was read from source. The caller holds mu.
func (rec *record) add(p []byte) {
	if rec.settled && rec.newest.closed {
		rec.size += len(p)
		rec.drop()
		return
	}
	full := rec.start > 0 || rec.size-rec.start+len(p) > rec.limit || chunksInUse.Load() >= int64(maxChunks)
	if full && rec.newest.at == rec.size && !rec.newest.closed {
		rec.drop()
	}
	for len(p) > 0 { // also beyond the limit, if the newest has yet to read it
		offset := (rec.size - rec.start) % len(chunk{})
		if offset == 0 {
			rec.chunks = append(rec.chunks, bufferPool.Get().(*chunk))
			chunksInUse.Add(1)
		}
		n := copy(rec.chunks[len(rec.chunks)-1][offset:], p)
		p = p[n:]
		rec.size += n
	}
}

// replay is the body of one attempt.
type replay struct {
	rec    *record
	at     int  // how much was read
	closed bool // by the transport
}

func (b *replay) Read(p []byte) (int, error) {
	rec := b.rec
	rec.mu.Lock()
	defer rec.mu.Unlock()
	for {
		if n, err, done := b.recorded(p); done {
			return n, err
		}
		switch {
		case rec.reading:
			rec.changed.Wait()
		case rec.settled:
			return b.pass(p)
		default:
			rec.reading = true
			go rec.read()
		}
	}
}

// pass reads source itself, since no other attempt will. The caller holds mu.
func (b *replay) pass(p []byte) (int, error) {
	rec := b.rec
	rec.reading = true
	rec.mu.Unlock()
	n, err := rec.source.Read(p)
	rec.mu.Lock()
	rec.size += n
	rec.drop()
	rec.end, rec.reading = err, false
	rec.changed.Broadcast()
	b.at = rec.size
	return n, b.ended(err)
}

// recorded reads what the record has for b. done is false where that is nothing,
// and the source has not ended. The caller holds mu.
func (b *replay) recorded(p []byte) (n int, err error, done bool) {
	rec := b.rec
	switch {
	case b.closed || b != rec.newest:
		return 0, errOldReplay, true
	case b.at < rec.size:
		offset := b.at - rec.start
		n = copy(p, rec.chunks[offset/len(chunk{})][offset%len(chunk{}):])
		n = min(n, rec.size-b.at)
		if b.at += n; rec.settled && b.at == rec.size {
			rec.drop()
		}
		return n, nil, true
	case rec.end != nil || len(p) == 0:
		return 0, b.ended(rec.end), true
	}
	return 0, nil, false
}

// ended passes the trailers on at the end of the body: not before an attempt that
// is still current has read all of it, since it may yet write their names. The
// caller holds mu.
func (b *replay) ended(err error) error {
	if err == io.EOF && b.rec.trailer != nil {
		for name := range b.rec.sent {
			b.rec.sent[name] = b.rec.trailer[name]
		}
		b.rec.trailer = nil // once is enough
	}
	return err
}

// giveUp ends a Read that waits before the answer: the connection of the attempt has
// ended.
func (b *replay) giveUp() {
	b.rec.mu.Lock()
	defer b.rec.mu.Unlock()
	if !b.rec.settled {
		b.closed = true
		b.rec.changed.Broadcast()
	}
}

// Close ends the attempt, and a Read that waits before the answer. It leaves the
// source open for the next one.
func (b *replay) Close() error {
	b.rec.mu.Lock()
	b.closed = true
	last := b == b.rec.newest && b.rec.settled
	if last {
		b.rec.drop()
	}
	b.rec.changed.Broadcast()
	b.rec.mu.Unlock()
	if last {
		return b.rec.source.Close()
	}
	return nil
}
