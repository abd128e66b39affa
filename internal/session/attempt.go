package session

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// attempt is a sign-in that is under way. It is a sealed cookie, so that a flood of sign-ins
// takes no memory, and the callback of another browser opens nothing.
type attempt struct {
	State     string   `json:"state"`
	Nonce     string   `json:"nonce"`
	Verifier  string   `json:"verifier"`
	ReturnURL string   `json:"returnUrl,omitempty"`
	Scopes    []string `json:"scopes"`         // of the session's access token
	Consent   []string `json:"apis,omitempty"` // scopes of an API, which the user is asked for in their place
	Claims    string   `json:"claims,omitempty"`
	Silent    bool     `json:"silent,omitempty"`
	Session   []byte   `json:"session,omitempty"` // digest of the key of the session that there was
	User      []byte   `json:"user,omitempty"`    // its user, hashed
	Began     int64    `json:"began"`             // Unix time in seconds
}

const (
	attemptLife = 10 * time.Minute

	// maxAttempts bounds a browser's attempts: one for each tab that a user may have open
	// when a session ends.
	maxAttempts = 5

	// maxAttempt bounds the cookie: browsers drop one whose name and value have more than 4096
	// bytes.
	maxAttempt = 3800
)

func newAttempt() attempt {
	var verifier [32]byte
	_, _ = rand.Read(verifier[:]) // it never fails
	return attempt{
		State: rand.Text(), Nonce: rand.Text(), Verifier: base64.RawURLEncoding.EncodeToString(verifier[:]), Began: time.Now().Unix(),
	}
}

// challenge is the S256 code challenge of a (RFC 7636, section 4.2).
func (a attempt) challenge() string {
	sum := sha256.Sum256([]byte(a.Verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// asked are the scopes that the user is asked for.
func (a attempt) asked() []string {
	if len(a.Consent) > 0 {
		return a.Consent
	}
	return a.Scopes
}

func (a attempt) isOver(now time.Time) bool {
	age := now.Sub(time.Unix(a.Began, 0))
	return age >= attemptLife || age < -time.Minute // clocks of replicas differ a little
}

// newSeals returns the ciphers of keys, each of 32 bytes.
func newSeals(keys [][]byte) []cipher.AEAD {
	var seals []cipher.AEAD
	for _, key := range keys {
		block, err := aes.NewCipher(key)
		if err != nil {
			panic(err) // a key of another size, which nobody configures
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			panic(err)
		}
		seals = append(seals, aead)
	}
	return seals
}

// seal seals value for a place, such as a cookie of a name.
func (m *Manager) seal(place string, value any) string {
	plain, err := json.Marshal(value)
	if err != nil { // of strings and numbers only
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(m.seals[0].Seal(nil, nil, plain, []byte(place)))
}

// open opens what seal sealed for the same place.
func (m *Manager) open(place, text string, value any) bool {
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return false
	}
	for _, seal := range m.seals {
		if plain, err := seal.Open(nil, nil, sealed, []byte(place)); err == nil {
			return json.Unmarshal(plain, value) == nil
		}
	}
	return false
}

// begin sets the cookie of a, in place of the oldest if there are too many. It reports whether
// a is small enough for one.
func (m *Manager) begin(w http.ResponseWriter, r *http.Request, a attempt) bool {
	name := m.names.login + a.State
	sealed := m.seal(name, a)
	if len(sealed) > maxAttempt {
		return false
	}
	kept := m.attempts(w, r)
	for len(kept) >= maxAttempts {
		m.dropAttempt(w, kept[0].State)
		kept = kept[1:]
	}
	http.SetCookie(w, m.names.cookie(name, sealed, http.SameSiteLaxMode, attemptLife))
	return true
}

// attempts returns the attempts of r's cookies, the oldest first. It drops the cookies of those
// that are over.
func (m *Manager) attempts(w http.ResponseWriter, r *http.Request) (all []attempt) {
	for _, cookie := range r.Cookies() {
		state, ok := strings.CutPrefix(cookie.Name, m.names.login)
		if !ok {
			continue
		}
		if a, ok := m.openAttempt(state, cookie.Value); ok {
			all = append(all, a)
		} else {
			m.dropAttempt(w, state)
		}
	}
	slices.SortStableFunc(all, func(a, b attempt) int { return int(a.Began - b.Began) })
	return all
}

// attemptOf returns the attempt of r's cookie for a state.
func (m *Manager) attemptOf(r *http.Request, state string) (attempt, bool) {
	for _, cookie := range r.CookiesNamed(m.names.login + state) {
		if a, ok := m.openAttempt(state, cookie.Value); ok {
			return a, true
		}
	}
	return attempt{}, false
}

func (m *Manager) openAttempt(state, text string) (a attempt, ok bool) {
	ok = m.open(m.names.login+state, text, &a)
	return a, ok && !a.isOver(time.Now())
}
