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
	places  map[tokenTag]uint32 // where a record begins in records
	records []byte              // is only appended to
	shared  []*sharedClaims     // a record has the index of one
	count   int                 // of records, those that were replaced included
}

// get returns the identity of a token, and whether there is one.
func (g *generation) get(tag tokenTag) (identity, bool) {
	place, ok := g.places[tag]
	if !ok {
		return identity{}, false
	}
	record := g.records[place:]
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
func (g *generation) put(tag tokenTag, id identity) {
	if g.places == nil {
		g.places = map[tokenTag]uint32{}
	}
	g.places[tag] = uint32(len(g.records))
	g.count++
	for _, n := range []int{
		g.index(id.sharedClaims), int(id.expires.Unix()), id.expires.Nanosecond(), len(id.object), len(id.subject), len(id.name),
	} {
		g.records = binary.AppendUvarint(g.records, uint64(n))
	}
	g.records = append(append(append(append(g.records, id.digest[:]...), id.object...), id.subject...), id.name...)
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

const (
	// placeSize is what a place takes in the map, in bytes, about: 20 and a byte of the
	// map's own, while a fifth to a half is empty, depending on the number of places.
	placeSize = 38

	// sharedSize is what shared claims of a usual length take, in bytes, about.
	sharedSize = 500
)

// size returns how many bytes the identities take, about.
func (g *generation) size() int {
	return len(g.places)*placeSize + cap(g.records) + len(g.shared)*sharedSize
}
