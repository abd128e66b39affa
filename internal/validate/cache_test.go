package validate

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

func testTag(i int) tokenTag {
	digest := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
	return tokenTag(digest[:16])
}

// testIdentity returns an identity that nothing else has a part of, whose token expires in an
// hour.
func testIdentity(user string) identity {
	return identity{
		sharedClaims: &sharedClaims{
			key: testKey, issuer: "https://login.example/t/v2.0", audience: "api://a", version: "2.0", tenant: "t", client: "c", parent: "p",
			scopes: []string{"ToDoList.Read", "ToDoList.ReadWrite"}, roles: []string{"Reader"}, app: true, cp1: true, listable: true,
		},
		object: "object " + user, subject: "subject " + user, name: "name " + user, expires: time.Now().Add(time.Hour).Round(0),
		digest: sha256.Sum256([]byte(user)),
	}
}

var testKey = &signingKey{}

// sameIdentity reports whether a and b say the same.
func sameIdentity(a, b identity) bool {
	same := a.expires.Equal(b.expires)
	a.expires = b.expires
	return same && reflect.DeepEqual(a, b)
}

// holds checks that the cache has what was put.
func (c *identityCache) holds(t *testing.T, tag tokenTag, want identity) {
	t.Helper()
	if got, ok := c.get(tag, time.Now()); !ok || !sameIdentity(got, want) {
		t.Fatalf("got %+v, %t, want %+v", got, ok, want)
	}
}

func TestCacheReturnsWhatWasPut(t *testing.T) {
	var c identityCache
	want := map[tokenTag]identity{}
	for i := range 1000 {
		id := testIdentity(strings.Repeat("x", i))
		switch i % 4 {
		case 1:
			id.object, id.name = "", ""
		case 2:
			id.subject = ""
		case 3:
			id.expires = id.expires.Add(time.Duration(i)*time.Hour + time.Nanosecond)
		}
		id.client = fmt.Sprint("client ", i%7)
		want[testTag(i)] = id
		c.put(testTag(i), id)
	}
	for tag, id := range want {
		c.holds(t, tag, id)
	}
	if _, ok := c.get(testTag(1000), time.Now()); ok {
		t.Error("the cache has a token that was not put")
	}
}

// Users of one client share what their tokens say alike, and each difference counts.
func TestWhatTokensSayDifferentlyIsNotShared(t *testing.T) {
	var g generation
	one := testIdentity("1")
	g.put(hashOf(testTag(0)), testTag(0), one)
	claims := reflect.TypeFor[sharedClaims]()
	for i := range claims.NumField() {
		other := testIdentity("2")
		// Each value differs from the one that is held.
		switch i {
		case 0:
			other.key = &signingKey{}
		default:
			field := reflect.NewAt(claims.Field(i).Type, reflect.ValueOf(other.sharedClaims).Elem().Field(i).Addr().UnsafePointer()).Elem()
			switch field.Kind() {
			case reflect.String:
				field.SetString(field.String() + "2")
			case reflect.Bool:
				field.SetBool(!field.Bool())
			case reflect.Slice:
				field.Set(field.Slice(0, field.Len()-1))
			default:
				t.Fatalf("a %v is not expected", field.Type())
			}
		}
		g.put(hashOf(testTag(i+1)), testTag(i+1), other)
		if got, _ := g.get(hashOf(testTag(i+1)), testTag(i+1)); got.sharedClaims == g.shared[0] || !reflect.DeepEqual(got.sharedClaims, other.sharedClaims) {
			t.Errorf("%s: got %+v, want %+v", claims.Field(i).Name, got.sharedClaims, other.sharedClaims)
		}
	}
	g.put(hashOf(testTag(-1)), testTag(-1), testIdentity("3"))
	if got, _ := g.get(hashOf(testTag(-1)), testTag(-1)); got.sharedClaims != one.sharedClaims {
		t.Error("what is alike is not shared")
	}
}

// Tokens whose tags have one hash are told apart, also where their places reach past the end of the
// table, and a newer record of one takes the place of the older.
func TestTagsOfOneHashAreToldApart(t *testing.T) {
	const last = (smallestTable - 1) << 32
	var g generation
	for i := range 4 {
		g.put(last, testTag(i), testIdentity(fmt.Sprint("old ", i)))
	}
	g.put(last, testTag(1), testIdentity("new 1"))
	for i, want := range []string{"old 0", "new 1", "old 2", "old 3"} {
		if got, ok := g.get(last, testTag(i)); !ok || got.object != "object "+want {
			t.Errorf("token %d: got %q, %v, want that of %q", i, got.object, ok, want)
		}
	}
	if got, ok := g.get(last, testTag(4)); ok {
		t.Errorf("a token that was not put has %+v", got)
	}
	var empty generation
	if got, ok := empty.get(last, testTag(0)); ok {
		t.Errorf("an empty generation has %+v", got)
	}
}

// The cache forgets tokens that nobody sends before those that somebody does.
func TestCacheIsBoundedAndKeepsWhatIsUsed(t *testing.T) {
	var c identityCache
	used, id := testIdentity("used"), testIdentity("other")
	c.put(testTag(0), used)
	for i := range 5 * maxCachedIdentities {
		c.put(testTag(i+1), id)
		if i%(shards*100) == 0 {
			c.holds(t, testTag(0), used)
		}
	}
	held := 0
	for i := range 5*maxCachedIdentities + 1 {
		tag := testTag(i)
		hash := hashOf(tag)
		s := c.shard(hash)
		if _, ok := s.newer.get(hash, tag); ok {
			held++
		} else if _, ok := s.older.get(hash, tag); ok {
			held++
		}
	}
	if held < maxCachedIdentities || held > 2*maxCachedIdentities+1 {
		t.Errorf("%d tokens are held, want %d to %d", held, maxCachedIdentities, 2*maxCachedIdentities)
	}
}

// A token that is put again and again, since its key was retired, does not make the cache grow.
func TestCacheIsBoundedForOneToken(t *testing.T) {
	var c identityCache
	for range 3 * maxCachedIdentities / shards {
		c.put(testTag(0), testIdentity("1"))
	}
	s := c.shard(hashOf(testTag(0)))
	if got := s.newer.count + s.older.count; got > 2*maxCachedIdentities/shards {
		t.Errorf("%d records are held, want %d at most", got, 2*maxCachedIdentities/shards)
	}
}

func TestCacheForgetsWhatHasEnded(t *testing.T) {
	now := time.Now()
	for name, end := range map[string]func(*identity){
		"expired":         func(id *identity) { id.expires = now.Add(-time.Hour) },
		"expires now":     func(id *identity) { id.expires = now },
		"its key retired": func(id *identity) { id.key = retiredKey() },
	} {
		var c identityCache
		c.put(testTag(0), testIdentity("1"))
		if _, ok := c.get(testTag(0), now); !ok {
			t.Errorf("%s: a live token is not found", name)
		}
		id := testIdentity("1")
		end(&id)
		c.put(testTag(0), id) // in place of the live one
		if _, ok := c.get(testTag(0), now); ok {
			t.Errorf("%s: the token is found", name)
		}
	}
}

func retiredKey() *signingKey {
	key := &signingKey{}
	key.retired.Store(true)
	return key
}

// realIdentity returns an identity as long as usual ones, of one of many clients.
func realIdentity(user, client int) identity {
	guid := func(n int) string { return fmt.Sprintf("%08d-0000-4000-8000-000000000000", n) }
	return identity{
		sharedClaims: &sharedClaims{
			key: testKey, issuer: "https://login.microsoftonline.com/" + guid(client) + "/v2.0", audience: guid(0), version: strings.Clone("2.0"),
			tenant: guid(client), client: guid(client), scopes: strings.Fields(strings.Clone("ToDoList.Read ToDoList.ReadWrite")),
		},
		object: guid(user), subject: strings.Repeat("s", 43), name: "Alexandra Example", expires: time.Now().Add(time.Hour),
		digest: sha256.Sum256([]byte(guid(user))),
	}
}

// Cached identities are few objects for the garbage collector, and take what the cache says. Of
// many clients fewer are cached.
func TestCachedIdentitiesAreFewObjects(t *testing.T) {
	const tokens = 200_000
	for _, row := range []struct{ clients, size, objects int }{
		{1, 50 << 20, 5000},
		{2000, 60 << 20, 1_000_000},
		{tokens, 60 << 20, 1_000_000},
	} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		c := new(identityCache)
		for i := range tokens {
			c.put(testTag(i), realIdentity(i, i%row.clients))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		objects, size := int(after.HeapObjects-before.HeapObjects), int(after.HeapAlloc-before.HeapAlloc)
		if objects > row.objects || size > row.size {
			t.Errorf("%d clients: %d objects of %d bytes, want %d of %d at most", row.clients, objects, size, row.objects, row.size)
		}
		if got := c.size(); got < size*9/10 || got > size*11/10 {
			t.Errorf("%d clients: the cache says it takes %d bytes, want %d", row.clients, got, size)
		}
		t.Logf("%d clients: %d objects, %d bytes, %d", row.clients, objects, size, c.size())
		runtime.KeepAlive(c)
	}
}
