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

// chunk is a piece of a record. Chunks come from bufferPool.
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
// with the source. An attempt that has failed may still read the source: what it
// gets belongs to the next.
//
// Locks are taken in the order of the fields.
type record struct {
	source  io.ReadCloser
	limit   int
	sent    http.Header // trailers, as the attempts send them
	trailer http.Header // the same, as source fills them in at its end

	reading sync.Mutex // held by the one that reads source

	mu      sync.Mutex // guards what follows, and the replays
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
	return rec.newest, nil
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

// add takes in what b has read from the source. The caller holds mu.
func (rec *record) add(b *replay, p []byte) {
	current := b == rec.newest
	full := rec.start > 0 || rec.size-rec.start+len(p) > rec.limit || chunksInUse.Load() >= int64(maxChunks)
	if current && (rec.settled || full) || rec.settled && rec.newest.closed {
		rec.size += len(p)
		rec.drop()
		return
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
	if n, err, done := b.recorded(p); done {
		return n, err
	}
	rec := b.rec
	rec.reading.Lock()
	defer rec.reading.Unlock()
	if n, err, done := b.recorded(p); done { // another attempt has read on meanwhile
		return n, err
	}
	n, err := rec.source.Read(p)
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.add(b, p[:n])
	rec.end = err
	if b != rec.newest {
		return 0, errOldReplay
	}
	b.at = rec.size
	return n, b.ended(err)
}

// recorded reads what the record has for b. done is false where that is nothing,
// and the source has not ended.
func (b *replay) recorded(p []byte) (n int, err error, done bool) {
	rec := b.rec
	rec.mu.Lock()
	defer rec.mu.Unlock()
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

// Close ends the attempt. It leaves the source open for the next one.
func (b *replay) Close() error {
	b.rec.mu.Lock()
	b.closed = true
	last := b == b.rec.newest && b.rec.settled
	if last {
		b.rec.drop()
	}
	b.rec.mu.Unlock()
	if last {
		return b.rec.source.Close()
	}
	return nil
}
