package validate

import (
	"encoding/binary"
	"slices"
	"time"
)

// generation holds identities by the tags of their tokens. It has pointers to what
// identities share, but none to each identity, which the garbage collector would follow in
// every cycle.
type generation struct {
	places  table
	records []byte          // is only appended to; each record begins with its tag
	shared  []*sharedClaims // a record has the index of one
	count   int             // of records, those that were replaced included
}

// table has the places of records in a generation: where each begins, plus one; an empty slot has 0.
// It is an open-addressing hash table with linear probing, at most half full, whose length is a power
// of two. A map would hash each tag once more, and take more memory.
type table []uint32

// smallestTable is the length of the first table.
const smallestTable = 16

// tagAt returns the tag that the record of a place begins with.
func tagAt(records []byte, place uint32) tokenTag {
	return tokenTag(records[place-1:][:len(tokenTag{})])
}

// find returns the slot of a tag's record, or the empty one for it.
func (t table) find(hash uint64, tag tokenTag, records []byte) int {
	for i := int(hash >> 32); ; i++ {
		i &= len(t) - 1
		if t[i] == 0 || tagAt(records, t[i]) == tag {
			return i
		}
	}
}

// grown returns a table of twice the length with the same records.
func (t table) grown(records []byte) table {
	larger := make(table, max(2*len(t), smallestTable))
	for _, place := range t {
		if place != 0 {
			tag := tagAt(records, place)
			larger[larger.find(hashOf(tag), tag, records)] = place
		}
	}
	return larger
}

// get returns the identity of a token, and whether there is one. hash is that of its tag.
func (g *generation) get(hash uint64, tag tokenTag) (identity, bool) {
	if len(g.places) == 0 {
		return identity{}, false
	}
	place := g.places[g.places.find(hash, tag, g.records)]
	if place == 0 {
		return identity{}, false
	}
	record := g.records[int(place)-1+len(tag):]
	next := func() int {
		n, size := binary.Uvarint(record)
		record = record[size:]
		return int(n)
	}
	id := identity{sharedClaims: g.shared[next()]}
	id.expires = time.Unix(int64(next()), int64(next()))
	object, subject, name := next(), next(), next()
	record = record[copy(id.digest[:], record):]
	own := string(record[:object+subject+name]) // one allocation
	id.object, id.subject, id.name = own[:object], own[object:object+subject], own[object+subject:]
	return id, true
}

// put holds the identity of a token, in place of an older one.
func (g *generation) put(hash uint64, tag tokenTag, id identity) {
	g.count++
	if 2*g.count > len(g.places) {
		g.places = g.places.grown(g.records)
	}
	slot, place := g.places.find(hash, tag, g.records), uint32(len(g.records))+1
	g.records = append(g.records, tag[:]...)
	for _, n := range []int{
		g.index(id.sharedClaims), int(id.expires.Unix()), id.expires.Nanosecond(), len(id.object), len(id.subject), len(id.name),
	} {
		g.records = binary.AppendUvarint(g.records, uint64(n))
	}
	g.records = append(append(append(append(g.records, id.digest[:]...), id.object...), id.subject...), id.name...)
	g.places[slot] = place
}

// index returns the index of what is equal to c, and adds c if nothing is.
func (g *generation) index(c *sharedClaims) int {
	i := slices.IndexFunc(g.shared, c.equal)
	if i < 0 {
		i = len(g.shared)
		g.shared = append(g.shared, c)
	}
	return i
}

// sharedSize is what shared claims of a usual length take, in bytes, about.
const sharedSize = 500

// size returns how many bytes the identities take, about.
func (g *generation) size() int {
	return 4*len(g.places) + cap(g.records) + len(g.shared)*sharedSize
}
