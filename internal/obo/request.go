package obo

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"

	"middletier/internal/redistier"
)

// Request says which token is asked for.
type Request struct {
	User *Assertion // on behalf of this user; nil: without a user
	// SessionKey is of a long-running session: on behalf of its user, who has left. User is nil.
	SessionKey string
	Agent      Agent     // as this agent; with a user of its own, User decides nothing
	Tenant     string    // where the token is asked for; "": in the user's tenant, or in our own
	Scopes     []string  // for an application one: RESOURCE/.default
	FMIPath    string    // of an application's token: the federated managed identity to name in it
	Challenge  Challenge // what the API had against the last token
	Claims     string    // more claims, as JSON: no held token is used, and the new one is not kept
	Refresh    bool      // no held token is used, and the new one replaces it

	session *heldSession // of SessionKey, once it is found
}

// Flow returns the flow that gets the token.
func (r *Request) Flow() Flow {
	switch {
	case r.SessionKey != "" || r.session != nil:
		return RefreshToken
	case r.Agent.User != "":
		return AgentUser
	case r.User != nil:
		return OnBehalfOf
	}
	return ClientCredentials
}

// cacheRequest is a token that is asked for, and where it is kept.
type cacheRequest struct {
	tokenRequest
	key      cacheKey // of the token
	refusals cacheKey // of refusals: key, unless they must not replace a token there
	throttle cacheKey // of the provider's demand to wait
	flight   cacheKey // of the exchange: requests with other claims do not share it
	rejected string
	owner    cacheKey   // of all that is kept for the user; zero for an application
	end      time.Time  // no token is used past it; zero: none
	since    forgetMark // when the fetch began
	renews   *entry     // the token in memory that is to be replaced; nil: callers wait
	once     bool       // the token is neither taken from a cache nor kept
	refresh  bool       // the tokens that are held when the fetch begins are not used
	held     [2]string  // with refresh: those tokens, in memory and in the shared tier

	granted func(grant) // called with what the exchange brings; nil: not called

	sharedGeneration string // of owner, in the shared tier before the exchange; "": unknown, and nothing is written
}

// in returns r with its tenant filled in, for a user theirs, else "" for our own, and its
// agent in one spelling.
func (c *Cache) in(r Request) Request {
	r.Agent.ID = strings.ToLower(r.Agent.ID)
	if r.User != nil && r.Tenant == "" {
		r.Tenant = r.User.TenantID
	}
	if r.User == nil && r.session == nil && strings.EqualFold(r.Tenant, c.client.config.TenantID) {
		r.Tenant = ""
	}
	return r
}

// key is the key of what r asks for, apart from its claims. r.Tenant is filled in.
func (c *Cache) key(r *Request, claims string) cacheKey {
	flow, subject := r.Flow(), []byte(nil)
	switch flow {
	case OnBehalfOf:
		subject = r.User.Digest[:]
	case RefreshToken:
		digest := r.session.key.Digest()
		subject = digest[:]
	}
	return newKey(string(flow), subject, c.asKey(r), r.Tenant, claims, r.Scopes)
}

// asKey says as whom the provider is asked: part of every key.
func (c *Cache) asKey(r *Request) string {
	if r.Agent == (Agent{}) && r.FMIPath == "" {
		return c.clientKey
	}
	key := newKey("as", nil, c.clientKey, r.FMIPath, "", []string{r.Agent.ID, strings.ToLower(r.Agent.User)})
	return string(key[:])
}

// ownerKey is the key of a user as the owner of entries. The user's GUIDs may be written in
// either case.
func (c *Cache) ownerKey(tenantID, objectID string) cacheKey {
	return newKey("user", []byte(strings.ToLower(objectID)), c.clientKey, strings.ToLower(tenantID), "", nil)
}

// ownerOf is the ownerKey of a's user. Users without an id have nothing in common: each of
// their assertions is an owner.
func (c *Cache) ownerOf(a Assertion) cacheKey {
	if a.ObjectID == "" {
		return newKey("user without an id", a.Digest[:], c.clientKey, strings.ToLower(a.TenantID), "", nil)
	}
	return c.ownerKey(a.TenantID, a.ObjectID)
}

// request is r as the cache sees it. key is that of r, and r.Tenant is filled in.
func (c *Cache) request(key cacheKey, r *Request) cacheRequest {
	request := cacheRequest{
		tokenRequest: tokenRequest{
			agent: r.Agent, tenant: r.Tenant, scopes: r.Scopes, fmiPath: r.FMIPath,
			session: r.session, claims: r.Challenge.Claims, moreClaims: r.Claims, again: r.Challenge.RejectedToken != "",
		},
		key:      key,
		refusals: key,
		flight:   c.key(r, r.Challenge.Claims),
		rejected: r.Challenge.RejectedToken,
	}
	switch as := c.asKey(r); r.Flow() {
	case OnBehalfOf:
		a := *r.User // a copy: the caller's own stays off the heap while tokens are held
		user := []byte(a.ObjectID)
		if len(user) == 0 {
			user = a.Digest[:] // users without an id have nothing in common
		}
		request.user, request.owner, request.end = &a, c.ownerOf(a), a.Expires
		request.throttle = newKey("throttled user", user, as, r.Tenant, "", r.Scopes)
	case RefreshToken:
		request.owner = cacheKey(r.session.Owner)
		request.throttle = newKey("throttled user", r.session.Owner, as, r.Tenant, "", r.Scopes)
	case AgentUser:
		request.owner = c.ownerKey(cmp.Or(r.Tenant, c.client.config.TenantID), r.Agent.User)
		request.throttle = newKey("throttled user", nil, as, r.Tenant, "", r.Scopes)
	default:
		request.throttle = newKey("throttled tenant", nil, as, r.Tenant, "", nil)
	}
	switch {
	case r.Claims != "":
		request.once = true
		request.flight = newKey("claims", request.flight[:], "", "", r.Claims, nil)
		request.key, request.refusals = request.flight, request.flight
	case r.Refresh && r.Challenge.RejectedToken == "": // a token that replaces a refused one is fresh
		request.refresh, request.again = true, true
		request.flight = newKey("refresh", request.flight[:], "", "", "", nil)
		request.refusals = request.flight
	}
	return request
}

// cacheKey is the SHA-256 over everything that changes the answer.
type cacheKey = redistier.Key

// short is the part of a key that memory compares. Two users with the same eight bytes
// lose their tokens together, which costs an exchange.
func short(k cacheKey) uint64 { return binary.BigEndian.Uint64(k[:8]) }

// newKey hashes the parts, each after its length, so that no two lists of parts give the
// same bytes.
func newKey(flow string, assertion []byte, clientKey, tenant, claims string, scopes []string) cacheKey {
	var buf [512]byte
	b := buf[:0]
	part := func(s string) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	part(flow)
	part(string(assertion))
	part(clientKey)
	part(tenant)
	part(claims)
	for _, s := range scopes {
		part(s)
	}
	return sha256.Sum256(b)
}
