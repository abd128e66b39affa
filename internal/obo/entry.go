package obo

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"
	"unsafe"
)

// entry is what is kept under a key: a token, or a refusal that is not to be
// asked for again for a while.
type entry struct {
	until   time.Time // it counts no longer than this
	renewAt time.Time // a token is renewed in the background from here; zero: never
	failed  byte      // how many renewals in a row have failed
	owner   uint64    // the user it is kept for, as cacheRequest.owner begins; 0: nobody
	token   string
	refusal *Error // nil for a token

	// onTrial: the token replaced one that the API refused, and the API
	// has not answered it yet. keptUntil: the API refused this one too, and until then
	// it is replaced only after a claims challenge; zero: the API has not.
	onTrial   bool
	keptUntil time.Time
}

// The first byte of an encoded entry.
const (
	tokenEntry   = 3
	refusalEntry = 4
	trialEntry   = 5 // a token that is onTrial or has a keptUntil, which stands before it
)

const entryHead = 1 + 8 + 8 + 1 + 8 // kind, until, renewAt, failed, owner

// encode writes an entry. Times are kept to the millisecond.
func (e entry) encode() []byte {
	b := make([]byte, 0, entryHead+len(e.token))
	kind := byte(tokenEntry)
	switch {
	case e.refusal != nil:
		kind = refusalEntry
	case e.onTrial || !e.keptUntil.IsZero():
		kind = trialEntry
	}
	b = append(b, kind)
	b = binary.BigEndian.AppendUint64(b, uint64(e.until.UnixMilli()))
	renew := int64(0)
	if !e.renewAt.IsZero() {
		renew = e.renewAt.UnixMilli()
	}
	b = binary.BigEndian.AppendUint64(b, uint64(renew))
	b = append(b, e.failed)
	b = binary.BigEndian.AppendUint64(b, e.owner)
	if kind == trialEntry {
		kept := uint64(0)
		if !e.keptUntil.IsZero() {
			kept = uint64(e.keptUntil.UnixMilli())
		}
		b = binary.BigEndian.AppendUint64(b, kept)
	}
	if e.refusal == nil {
		return append(b, e.token...)
	}
	stored, err := json.Marshal(e.refusal.stored())
	if err != nil { // of strings and numbers only
		panic(err)
	}
	return append(b, stored...)
}

// decode reads an entry, or false for anything else.
func decode(b []byte) (entry, bool) {
	if len(b) <= entryHead {
		return entry{}, false
	}
	e := entry{until: time.UnixMilli(int64(binary.BigEndian.Uint64(b[1:]))), failed: b[17], owner: binary.BigEndian.Uint64(b[18:])}
	if renew := int64(binary.BigEndian.Uint64(b[9:])); renew != 0 {
		e.renewAt = time.UnixMilli(renew)
	}
	switch b[0] {
	case tokenEntry:
		e.token = unsafe.String(&b[entryHead], len(b)-entryHead) // ours alone: BigCache and the sealer give copies
		return e, true
	case trialEntry:
		if len(b) <= entryHead+8 {
			return entry{}, false
		}
		if kept := int64(binary.BigEndian.Uint64(b[entryHead:])); kept != 0 {
			e.keptUntil = time.UnixMilli(kept)
		} else {
			e.onTrial = true
		}
		e.token = string(b[entryHead+8:])
		return e, true
	case refusalEntry:
		var stored storedError
		if json.Unmarshal(b[entryHead:], &stored) != nil {
			return entry{}, false
		}
		e.refusal = stored.refusal()
		return e, true
	}
	return entry{}, false
}

// storedError is the part of an Error that can be kept.
type storedError struct {
	Error
	Err string
}

func (e *Error) stored() storedError {
	t := storedError{Error: *e, Err: e.Err.Error()}
	t.Error.Err = nil
	return t
}

func (t storedError) refusal() *Error {
	e := t.Error
	e.Err = errors.New("remembered: " + t.Err)
	return &e
}

const (
	// refusalMemory is for how long a refusal that needs the user is given again,
	// so that a client in a loop does not hammer the provider, which would then
	// refuse it everything (AADSTS50196).
	refusalMemory = time.Minute

	// renewShare is the part of a token's use after which it is renewed, where the
	// provider does not say when. Up to a tenth more spreads the replicas.
	renewShare = 0.75

	minRenewPause = 15 * time.Second
	maxRenewPause = 5 * time.Minute
)

// newEntry keeps a grant until its buffer, and not past end where there is one.
// Without the provider's word (refresh_in) a token is renewed late in its life,
// unless it ends with the assertion: another would end with it too.
func newEntry(g grant, buffer time.Duration, end, now time.Time) entry {
	e := entry{token: g.token, until: g.expires.Add(-min(buffer, g.expires.Sub(now)/2))}
	bounded := !end.IsZero() && end.Before(e.until)
	if bounded {
		e.until = end
	}
	switch {
	case !g.refreshAt.IsZero():
		e.renewAt = g.refreshAt.Add(jitter(g.refreshAt.Sub(now) / 20))
	case !bounded:
		use := e.until.Sub(now)
		e.renewAt = now.Add(time.Duration(float64(use)*renewShare) + jitter(use/10))
	}
	return e
}

// due reports whether it is time to renew the token.
func (e entry) due(now time.Time) bool { return !e.renewAt.IsZero() && now.After(e.renewAt) }

// isToken reports whether e is a token other than the rejected one.
func (e entry) isToken(rejected string) bool { return e.refusal == nil && e.token != rejected }

// isSettled reports whether nothing is left to do for the token: it is neither due for
// renewal nor on trial.
func (e entry) isSettled(now time.Time) bool { return !e.onTrial && !e.due(now) }

// postponed is the entry after a renewal that failed: as good as before, to be
// renewed later, and later each time.
func (e entry) postponed(now time.Time) entry {
	pause := min(minRenewPause<<min(e.failed, 8), maxRenewPause)
	e.renewAt = now.Add(pause + jitter(pause/2))
	e.failed = min(e.failed+1, 200)
	return e
}

// jitter is a random time from 0 to d.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d)
}
