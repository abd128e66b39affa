// Package records keeps sealed records that must not be lost before their time.
//
// A record has a key, a random text that only its user holds; it is kept under the SHA-256 of
// the key, sealed with the key and with our own encryption keys, so that neither a copy of
// the store nor one with our encryption keys opens it. A record has one or more owners, such
// as all long-running sessions of a user: DeleteOwned ends what an owner has, and what is being
// made for it. Begin, before whatever brings the value, says since when: what is deleted
// after Begin does not come back with Put or Replace.
//
// The records are in Redis, where replicas share them, else in the memory of this process.
// Where Redis does not answer the error is ErrUnavailable: unlike a cache, nothing can go on
// without it.
package records

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"strings"
	"time"

	"middletier/internal/failure"
	"middletier/internal/redistier"
)

var (
	// ErrUnknown says that there is no record under a key, or no longer one.
	ErrUnknown = failure.New("there is no record under this key")

	// ErrUnavailable says that Redis does not answer: whether there is a record is not known.
	ErrUnavailable = failure.New("records cannot be read or written: Redis does not answer")
)

// Kind is what a record is for.
type Kind string

// The kinds.
const (
	// LongRunning records hold what a service needs to act for a user who has left.
	LongRunning Kind = "long-running session"
	// Session records hold the tokens of a user whose browser has a cookie in their place.
	Session Kind = "session"
	// ProviderSession is no kind of record: with it, OwnerOf makes a session at the identity
	// provider an owner of Session records.
	ProviderSession Kind = "session of the identity provider"
)

// Owner is what records belong to, such as a user for one kind of record. It is a hash.
type Owner = redistier.Key

// OwnerOf returns the owner of the records of a kind whose user, or session at the provider,
// has this hash.
func OwnerOf(kind Kind, hash [32]byte) Owner {
	return sha256.Sum256(append(hash[:], kind...))
}

// Key is the key of a record, a secret. The zero value is no key.
type Key struct{ text string }

const (
	keySize   = 20 // bytes: 160 bits
	keyLength = keySize * 8 / 5
)

// keyAlphabet has letters of one case, since keys stand in URLs whose case may not count.
const keyAlphabet = "0123456789abcdefghijklmnopqrstuv"

var keyEncoding = base32.NewEncoding(keyAlphabet).WithPadding(base32.NoPadding)

// NewKey returns a key that nobody can guess.
func NewKey() Key {
	var b [keySize]byte
	_, _ = rand.Read(b[:]) // it never fails
	return Key{keyEncoding.EncodeToString(b[:])}
}

// ParseKey reads a key in either case. ok is false for what is no key.
func ParseKey(text string) (key Key, ok bool) {
	text = strings.ToLower(text)
	if len(text) != keyLength || strings.Trim(text, keyAlphabet) != "" {
		return Key{}, false
	}
	return Key{text}, true
}

// Secret is the key as text, for its user alone.
func (k Key) Secret() string { return k.text }

// Digest is the key's SHA-256.
func (k Key) Digest() [32]byte { return sha256.Sum256([]byte(k.text)) }

// String keeps the key from being printed.
func (Key) String() string { return "a record's key" }

// GoString is String, for %#v.
func (k Key) GoString() string { return k.String() }

// MaxValue bounds a record's value, in bytes.
const MaxValue = 64 << 10

// Record is a record as Get found it.
type Record struct {
	Value []byte

	mark Mark // of its Put
}

// Mark says since when something is being made for some owners.
type Mark struct {
	owners []Owner
	since  []string // for each of them
}

// maxOwners bounds the owners of one record.
const maxOwners = 8

// Store keeps records. Its methods may be called concurrently.
type Store struct {
	backend backend
	sealer  sealer
	turns   turns
}

// backend stores sealed records. It sees the digests of keys only.
type backend interface {
	// begin returns the Mark.since of now for records of owners that live so long.
	begin(ctx context.Context, owners []Owner, life time.Duration) (since []string, err error)
	// holds reports whether nothing of m's owners was deleted since.
	holds(ctx context.Context, m Mark) (bool, error)
	// get returns what is under a key, or ErrUnknown.
	get(ctx context.Context, key redistier.Key) ([]byte, error)
	// put writes a record; with replace only where there is one, else ErrUnknown.
	put(ctx context.Context, key redistier.Key, m Mark, sealed []byte, life time.Duration, replace bool) error
	remove(ctx context.Context, key redistier.Key) error
	removeOwned(ctx context.Context, owner Owner) error
	removeAll(ctx context.Context) error
	// lock tries to take the lock of a key, and returns what releases it.
	lock(ctx context.Context, key redistier.Key, owner Owner, lease time.Duration) (unlock func(), mine bool, err error)
}

// IsShared reports whether the records are in Redis, and not in this process alone.
func (s *Store) IsShared() bool {
	_, shared := s.backend.(redisBackend)
	return shared
}

// Begin returns the mark for a record that is to live so long, each of whose owners, one at
// least, ends it.
func (s *Store) Begin(ctx context.Context, life time.Duration, owners ...Owner) (Mark, error) {
	if len(owners) == 0 || len(owners) > maxOwners {
		return Mark{}, errOwners
	}
	since, err := s.backend.begin(ctx, owners, life)
	return Mark{owners, since}, err
}

// Put keeps a record under key for life. Where an owner's records were deleted after m, it
// counts as deleted too.
func (s *Store) Put(ctx context.Context, key Key, m Mark, value []byte, life time.Duration) error {
	sealed, err := s.sealer.seal(key, Record{value, m})
	if err != nil {
		return err
	}
	return s.backend.put(ctx, key.Digest(), m, sealed, life, false)
}

// Get returns the record under key, or ErrUnknown.
func (s *Store) Get(ctx context.Context, key Key) (Record, error) {
	sealed, err := s.backend.get(ctx, key.Digest())
	if err != nil {
		return Record{}, err
	}
	r, ok := s.sealer.open(key, sealed)
	if !ok {
		return Record{}, ErrUnknown
	}
	switch holds, err := s.backend.holds(ctx, r.mark); {
	case err != nil:
		return Record{}, err
	case !holds:
		return Record{}, ErrUnknown
	}
	return r, nil
}

// Replace writes another value in place of r's, to live for life from now. The error is
// ErrUnknown where the record is gone; then it stays so.
func (s *Store) Replace(ctx context.Context, key Key, r Record, value []byte, life time.Duration) error {
	r.Value = value
	sealed, err := s.sealer.seal(key, r)
	if err != nil {
		return err
	}
	return s.backend.put(ctx, key.Digest(), r.mark, sealed, life, true)
}

// Delete removes the record under key, if there is one.
func (s *Store) Delete(ctx context.Context, key Key) error {
	return s.DeleteDigest(ctx, key.Digest())
}

// DeleteDigest is Delete for a key of which only the digest is known.
func (s *Store) DeleteDigest(ctx context.Context, digest [32]byte) error {
	return s.backend.remove(ctx, digest)
}

// DeleteOwned removes all records of an owner, those that are being made included. Where
// Redis does not answer, they count as deleted in this process, and are deleted when it does.
func (s *Store) DeleteOwned(ctx context.Context, owner Owner) error {
	return s.backend.removeOwned(ctx, owner)
}

// DeleteAll removes every record.
func (s *Store) DeleteAll(ctx context.Context) error { return s.backend.removeAll(ctx) }

// lockPoll is how often a lock that another replica holds is tried again.
const lockPoll = 25 * time.Millisecond

// Lock waits until nobody else holds the lock of r's key, here or in another replica, and
// takes it until unlock is called. Other replicas wait for lease at most, so that one that
// ended with the lock blocks nobody. The error is ctx's or ErrUnavailable.
func (s *Store) Lock(ctx context.Context, key Key, r Record, lease time.Duration) (unlock func(), err error) {
	leave, err := s.turns.take(ctx, key.Digest())
	if err != nil {
		return nil, err
	}
	for {
		unlock, mine, err := s.backend.lock(ctx, key.Digest(), r.mark.owners[0], lease)
		if err != nil {
			leave()
			return nil, err
		}
		if mine {
			return func() {
				unlock()
				leave()
			}, nil
		}
		select {
		case <-ctx.Done():
			leave()
			return nil, ctx.Err()
		case <-time.After(lockPoll):
		}
	}
}
