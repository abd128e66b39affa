package session_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"middletier/internal/records"
	"middletier/internal/testkit/recordstest"
	"middletier/internal/testkit/redistest"
)

var encryptionKey = bytes.Repeat([]byte{1}, 32) // of tokenCache.redis.encryptionKeys

// Replicas share a session, its one refresh, and its end.
func TestReplicasShareSessions(t *testing.T) {
	server := redistest.Start(t)
	k := newKit(t)
	one, other := k.start(recordstest.Open(t, server, encryptionKey), nil), k.start(recordstest.Open(t, server, encryptionKey), nil)
	b := one.browser()
	at := b.callbackOf(aliceID, "")
	if a := b.on(other).send("GET", at, true); a.status != 200 {
		t.Fatalf("the callback at another replica: got %d %s", a.status, a.body)
	}
	b.wantUser(aliceID)
	b.age(t, server)
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() { b.on([]*replica{one, other}[i%2]).wantToken() })
	}
	group.Wait()
	if got := k.idp.Count("refresh_token"); got != 1 {
		t.Errorf("refreshes: got %d, want 1", got)
	}
	if err := other.EndUser(t.Context(), tenant, aliceID); err != nil {
		t.Fatal(err)
	}
	b.wantUser("")
}

// age makes the session's access token an old one, as time would.
func (b *browser) age(t *testing.T, server *redistest.Server) {
	t.Helper()
	store := recordstest.Open(t, server, encryptionKey)
	key, _ := records.ParseKey(b.sessionCookie())
	r, err := store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	old := bytes.Replace(r.Value, []byte(`"tokenExpires":`), []byte(`"tokenExpires":1,"formerly":`), 1)
	if err := store.Replace(t.Context(), key, r, old, time.Hour); err != nil {
		t.Fatal(err)
	}
}

// While Redis cannot be read nobody is signed out, and nobody's cookie goes.
func TestSessionsWithoutRedisAreUnknown(t *testing.T) {
	server := redistest.Start(t)
	b := newKit(t).start(recordstest.Open(t, server, encryptionKey), nil).browser()
	b.signIn(aliceID, "")
	key := b.sessionCookie()
	server.Kill()
	b.wantProblem("503 shared-cache-unavailable")
	for _, path := range []string{"/bff/user", "/bff/logout?sid=x", "/bff/login", "/bff/silent-login-callback"} {
		if a := b.get(path, "X-CSRF", "1"); a.status != 503 || a.problem() != "shared-cache-unavailable" || a.header.Get("Retry-After") == "" {
			t.Errorf("GET %s: got %d %s, want 503", path, a.status, a.body)
		}
	}
	if b.sessionCookie() != key {
		t.Error("the cookie is gone")
	}
}

// A dump of Redis shows nobody's tokens or claims, and with our encryption keys it opens nothing:
// it takes the cookie too.
func TestRedisHoldsNothingReadable(t *testing.T) {
	server := redistest.Start(t)
	k := newKit(t)
	r := k.start(recordstest.Open(t, server, encryptionKey), nil)
	b := r.browser()
	b.signIn(aliceID, "")
	key, _ := records.ParseKey(b.sessionCookie())
	digest := key.Digest()
	secrets := []string{b.sessionCookie(), "alice", aliceID, "eyJ", b.user()["sid"].(string), `"refreshToken"`}
	texts := dump(server)
	for _, text := range texts {
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("Redis holds %q in %q", secret, text)
			}
		}
	}
	guesses := append([]string{"", string(digest[:]), strings.ToLower(tenant + "\n" + aliceID)}, texts...)
	for _, text := range texts { // names end with a hash, as text
		last := text[strings.LastIndex(text, ":")+1:]
		guesses = append(guesses, last)
		for _, decode := range []func(string) ([]byte, error){hex.DecodeString, base64.RawURLEncoding.DecodeString, base64.StdEncoding.DecodeString} {
			if decoded, err := decode(last); err == nil {
				guesses = append(guesses, string(decoded))
			}
		}
	}
	opened := 0
	for _, text := range texts {
		for _, guess := range guesses {
			if plain := unseal(t, guess, text); plain != nil {
				t.Errorf("opens without the cookie: %q", plain)
			}
		}
		if plain := unseal(t, b.sessionCookie(), text); strings.Contains(string(plain), `"refreshToken"`) {
			opened++
		}
	}
	if opened != 1 {
		t.Errorf("the cookie opens %d values, want the session's: the attempts above show nothing", opened)
	}
	for _, secret := range secrets {
		if strings.Contains(k.log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

// dump returns all names in a server and all that is under them.
func dump(server *redistest.Server) (texts []string) {
	for _, name := range server.Keys() {
		texts = append(texts, name)
		switch server.Do("TYPE", name) {
		case "string":
			texts = append(texts, server.Get(name))
		case "set":
			texts = append(texts, listed(server.Do("SMEMBERS", name))...)
		case "zset":
			texts = append(texts, listed(server.Do("ZRANGE", name, 0, -1))...)
		case "hash":
			texts = append(texts, listed(server.Do("HVALS", name))...)
		default:
			text, _ := server.Do("DUMP", name).(string) // "" for what has expired meanwhile
			texts = append(texts, text)
		}
	}
	return texts
}

func listed(answer any) (texts []string) {
	for _, text := range answer.([]any) {
		texts = append(texts, fmt.Sprint(text))
	}
	return texts
}

// unseal tries to open a value with our encryption key and a guess of what else it is sealed with:
// in the way of package records, and without what the way adds.
func unseal(t *testing.T, guess, sealed string) []byte {
	t.Helper()
	derived, err := hkdf.Key(sha256.New, append(bytes.Clone(encryptionKey), guess...), nil, "middletier record", 32)
	if err != nil {
		t.Fatal(err)
	}
	direct := sha256.Sum256(append(bytes.Clone(encryptionKey), guess...))
	for _, key := range [][]byte{derived, direct[:], encryptionKey} {
		block, err := aes.NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			t.Fatal(err)
		}
		for start := range min(8, len(sealed)) {
			for _, along := range [][]byte{nil, {1}, {2}, []byte(guess)} {
				if plain, err := aead.Open(nil, nil, []byte(sealed[start:]), along); err == nil {
					return plain
				}
			}
		}
	}
	return nil
}
