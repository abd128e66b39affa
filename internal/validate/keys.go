package validate

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"middletier/internal/failure"
)

const (
	// refreshInterval is how old keys may get while the provider answers. Entra
	// announces new keys well ahead of their first use.
	refreshInterval = time.Hour

	// refreshFloor is the least time between two fetches that tokens with unknown
	// key ids or bad signatures bring about, so that invented ones cost the provider
	// nothing.
	refreshFloor = 30 * time.Second

	// maxKeyWait is how long a caller waits for such a fetch and the first together.
	maxKeyWait = 2 * time.Second

	// fetchTimeout bounds the metadata and the keys together. With maxRetryDelay
	// it is under the 10 s within which a returned provider must be noticed.
	fetchTimeout = 4 * time.Second

	// absentInterval is how long a source without a document waits to look again.
	absentInterval = 5 * time.Minute

	minRetryDelay = 500 * time.Millisecond
	maxRetryDelay = 4 * time.Second

	maxDocument = 1 << 20 // bytes of metadata or keys; Entra's have 2 and 12 KB
	maxKeys     = 100
	minKeyBits  = 2048
	maxKeyBits  = 16384 // a longer key would make every signature check dear
)

// signingKey is a key of the provider. A key that is in two answers in a row is
// the same signingKey in both, so that what was verified with it stays known.
type signingKey struct {
	id      string
	public  *rsa.PublicKey
	issuer  string      // Entra's own member: whose tokens it signs; may hold {tenantid}
	retired atomic.Bool // it has left the provider's answer
}

func (k *signingKey) equal(other *signingKey) bool {
	return k.id == other.id && k.issuer == other.issuer && k.public.Equal(other.public)
}

// keySet is what one good answer of the provider held. It never changes.
type keySet struct {
	issuer string
	keys   map[string]*signingKey // :: kid → key
	pick   jwt.Keyfunc
}

// keySource holds the issuer and keys of one metadata document and keeps them
// fresh. What it holds is only ever replaced by a good answer.
type keySource struct {
	metadataURL string
	client      *http.Client
	log         *slog.Logger
	floor       *floor      // of both documents of a provider
	oneIssuer   bool        // nothing but the metadata says which tenant is ours
	optional    func() bool // whether to believe that there is no such document; nil: never

	current atomic.Pointer[keySet]
	absent  atomic.Bool // the provider has no such document (404)
	counts  counts
	wake    chan struct{}
	tried   chan struct{} // closed when the first fetch has ended

	mu   sync.Mutex    // guards the rest
	busy bool          // a fetch is under way or about to be
	done chan struct{} // closed when the fetch that is under way, or the next one, has ended
}

// floor keeps fetches that tokens bring about apart, and shares them between the two
// documents of a provider: tokens that nobody signed cannot have one of them
// fetched for ever and the other never.
type floor struct {
	mu    sync.Mutex // guards the rest
	last  time.Time
	had   *keySource // which the last fetch was for
	wants *keySource // the other, if it was refused one since
}

// pass returns the source that may be fetched now, where s asks: s, the other
// whose turn it is, or nil.
func (f *floor) pass(s *keySource) *keySource {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if now.Sub(f.last) < refreshFloor {
		if s != f.had {
			f.wants = s
		}
		return nil
	}
	if f.wants != nil && now.Sub(f.last) < 2*refreshFloor { // later, who asks is more likely to be right
		s = f.wants
	}
	f.last, f.had, f.wants = now, s, nil
	return s
}

// newKeySource returns the source whose metadata is at path below c's authority.
func newKeySource(c Config, path string, floor *floor) *keySource {
	return &keySource{
		metadataURL: strings.TrimSuffix(c.Instance, "/") + "/" + c.TenantID + path + "/.well-known/openid-configuration",
		oneIssuer:   !IsMultiTenant(c.TenantID) && !IsGUID(c.TenantID),
		client:      c.Client, floor: floor, log: c.Log,
		wake: make(chan struct{}, 1), tried: make(chan struct{}), done: make(chan struct{}),
	}
}

// run keeps the keys fresh until ctx ends. It is the only writer of s.current.
// It logs changes only: when fetching fails after it went well, and the reverse.
func (s *keySource) run(ctx context.Context) {
	delay, failing := minRetryDelay, false
	for first := true; ; first = false {
		err := s.refresh(ctx)
		if first {
			close(s.tried)
		}
		if ctx.Err() != nil {
			return
		}
		wait := refreshInterval
		switch {
		case err == nil:
			s.counts.succeeded()
			delay = minRetryDelay
			if failing {
				s.log.Info("signing keys are fetched again", "url", s.metadataURL)
			}
		case s.absent.Load():
			wait = absentInterval
		case first && s.optional != nil && errors.Is(err, errNoSuchDocument):
			wait = minRetryDelay // it is not sure yet that there is none
		default:
			s.counts.failed.Add(1)
			wait, delay = delay, min(2*delay, maxRetryDelay)
			if !failing {
				s.log.Warn("signing keys could not be fetched; any held stay in use", "url", s.metadataURL, "error", err)
			}
			failing = true
		}
		failing = failing && err != nil && !s.absent.Load()
		// Jitter, so that replicas do not come all at once.
		timer := time.NewTimer(wait - rand.N(wait/10))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.wake:
		}
		timer.Stop()
	}
}

// refresh fetches once and tells those who wait.
func (s *keySource) refresh(ctx context.Context) error {
	s.mu.Lock()
	s.busy = true
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	set, err := s.fetch(ctx)
	if err == nil {
		s.replace(set)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	close(s.done)
	s.done = make(chan struct{})
	return err
}

// replace puts set in use, and retires the keys that are not in it any more.
func (s *keySource) replace(set *keySet) {
	var gone []*signingKey
	if old := s.current.Load(); old != nil {
		for id, key := range old.keys {
			if same, ok := set.keys[id]; ok && key.equal(same) {
				set.keys[id] = key
			} else {
				gone = append(gone, key)
			}
		}
	}
	s.current.Store(set)
	for _, key := range gone {
		key.retired.Store(true)
	}
}

// awaitFirst waits for the first fetch until end, so that a service that has just
// started refuses nobody whom a moment later it would know.
func (s *keySource) awaitFirst(ctx context.Context, end time.Time) {
	if s.current.Load() != nil {
		return
	}
	timer := time.NewTimer(time.Until(end))
	defer timer.Stop()
	select {
	case <-s.tried:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// refetch has the keys fetched and waits for that until end, or joins a fetch that
// is under way. It reports whether there was one to wait for: not where the last was
// asked for a moment ago.
func (s *keySource) refetch(ctx context.Context, end time.Time) bool {
	done := s.ask()
	if done == nil {
		return false
	}
	timer := time.NewTimer(time.Until(end))
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
	}
	return true
}

// ask returns a channel that is closed after the fetch that is under way, or
// after a new one; nil where the last one was asked for a moment ago.
func (s *keySource) ask() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy {
		return s.done
	}
	next := s.floor.pass(s)
	if next == nil {
		return nil
	}
	select {
	case next.wake <- struct{}{}:
	default: // run has yet to see the last one
	}
	if next != s {
		return nil
	}
	s.busy = true
	return s.done
}

var errNoSuchDocument = errors.New("answered 404")

// fetch reads the metadata and the keys it points to.
func (s *keySource) fetch(ctx context.Context) (*keySet, error) {
	var metadata struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
		Cloud   string `json:"cloud_instance_name"`
	}
	err := s.get(ctx, s.metadataURL, &metadata)
	s.absent.Store(errors.Is(err, errNoSuchDocument) && s.optional != nil && s.optional())
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	if metadata.Issuer == "" {
		return nil, errors.New("metadata: no issuer")
	}
	if s.oneIssuer && forTenant(metadata.Issuer, "") != metadata.Issuer {
		return nil, errors.New("metadata: an issuer for all tenants, where tenantId is one's domain")
	}
	if u, err := url.Parse(metadata.JWKSURI); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("metadata: jwks_uri is not an https URL")
	}
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := s.get(ctx, metadata.JWKSURI, &document); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return newKeySet(metadata.Issuer, metadata.Cloud, document.Keys)
}

func (s *keySource) get(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return failure.Of(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return errNoSuchDocument
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err != nil {
		return failure.Of(err)
	}
	if len(body) > maxDocument {
		return fmt.Errorf("answer is larger than %d bytes", maxDocument)
	}
	return failure.Of(json.Unmarshal(body, into))
}

// newKeySet makes a set of the keys that can be used, leaving out the others
// one by one. A set without any is an error. A key of another cloud than the
// metadata's, where both say, is none of ours.
func newKeySet(issuer, cloud string, documents []json.RawMessage) (*keySet, error) {
	if len(documents) > maxKeys {
		return nil, fmt.Errorf("keys: %d of them", len(documents))
	}
	set := &keySet{issuer: issuer, keys: map[string]*signingKey{}}
	storage := jwkset.NewMemoryStorage()
	for _, document := range documents {
		jwk, entra, err := parseKey(document)
		id := jwk.Marshal().KID
		if err != nil || cloud != "" && entra.Cloud != "" && entra.Cloud != cloud || set.keys[id] != nil || storage.KeyWrite(context.Background(), jwk) != nil {
			continue
		}
		set.keys[id] = &signingKey{id: id, public: jwk.Key().(*rsa.PublicKey), issuer: entra.Issuer}
	}
	if len(set.keys) == 0 {
		return nil, errors.New("keys: none that can be used")
	}
	pick, err := keyfunc.New(keyfunc.Options{Storage: storage})
	if err != nil {
		return nil, err
	}
	set.pick = pick.Keyfunc
	return set, nil
}

// entraMembers are Entra's own members of a key, which jwkset drops.
type entraMembers struct {
	Issuer string `json:"issuer"`
	Cloud  string `json:"cloud_instance_name"`
}

// parseKey reads one JWK and Entra's members of it. Only what a signature check
// needs is handed on: no certificate is looked at and no URL followed (RFC 7517,
// section 4).
func parseKey(document json.RawMessage) (jwkset.JWK, entraMembers, error) {
	var raw struct {
		jwkset.JWKMarshal
		entraMembers
	}
	if err := json.Unmarshal(document, &raw); err != nil {
		return jwkset.JWK{}, entraMembers{}, err
	}
	switch {
	case raw.KTY != jwkset.KtyRSA,
		raw.KID == "",
		raw.USE != "" && raw.USE != jwkset.UseSig,
		raw.ALG != "" && raw.ALG != jwkset.AlgRS256,
		len(raw.KEYOPS) > 0 && !slices.Contains(raw.KEYOPS, jwkset.KeyOpsVerify):
		return jwkset.JWK{}, entraMembers{}, errors.New("not a key that verifies RS256 signatures")
	}
	jwk, err := jwkset.NewJWKFromMarshal(jwkset.JWKMarshal{
		KTY: raw.KTY, KID: raw.KID, ALG: raw.ALG, USE: raw.USE, KEYOPS: raw.KEYOPS, N: raw.N, E: raw.E,
	}, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return jwkset.JWK{}, entraMembers{}, err
	}
	public, ok := jwk.Key().(*rsa.PublicKey)
	if !ok || public.N.BitLen() < minKeyBits || public.N.BitLen() > maxKeyBits {
		return jwkset.JWK{}, entraMembers{}, errors.New("not of 2048 to 16384 bits")
	}
	if public.N.Bit(0) == 0 || public.E < 3 || public.E%2 == 0 || public.E > math.MaxInt32 {
		return jwkset.JWK{}, entraMembers{}, errors.New("no RSA key")
	}
	return jwk, raw.entraMembers, nil
}
