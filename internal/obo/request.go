package obo

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"

	"middletier/internal/redistier"
)

// cacheRequest is a token that is asked for, and where it is kept.
type cacheRequest struct {
	tokenRequest
	key      cacheKey // of the token
	throttle cacheKey // of the provider's demand to wait
	flight   cacheKey // of the exchange: requests with other claims do not share it
	rejected string
	owner    cacheKey   // of all that is kept for the user; zero for an application
	end      time.Time  // no token is used past it; zero: none
	since    forgetMark // when the fetch began
	renews   *entry     // the token in memory that is to be replaced; nil: callers wait

	sharedGeneration string // of owner, in the shared tier before the exchange; "": unknown, and nothing is written
}

// userKey is the key of what is fetched on behalf of a's user; appKey, of what is
// fetched as ourselves. Tokens are kept under the keys without claims.
func (c *Cache) userKey(a Assertion, scopes []string, claims string) cacheKey {
	return newKey(string(OnBehalfOf), a.Digest[:], c.clientKey, a.TenantID, claims, scopes)
}

func (c *Cache) appKey(tenant string, scopes []string, claims string) cacheKey {
	return newKey(string(ClientCredentials), nil, c.clientKey, tenant, claims, scopes)
}

// ownerKey is not of an entry, but of all that are kept for a user, whose GUIDs
// may be written in either case.
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

func (c *Cache) userRequest(key cacheKey, a Assertion, scopes []string, challenge Challenge) cacheRequest {
	user := []byte(a.ObjectID)
	if len(user) == 0 {
		user = a.Digest[:] // users without an id have nothing in common
	}
	return cacheRequest{
		tokenRequest: tokenRequest{user: &a, scopes: scopes, claims: challenge.Claims, again: challenge.RejectedToken != ""},
		key:          key,
		throttle:     newKey("throttled user", user, c.clientKey, a.TenantID, "", scopes),
		flight:       c.userKey(a, scopes, challenge.Claims),
		rejected:     challenge.RejectedToken,
		owner:        c.ownerOf(a),
		end:          a.Expires,
	}
}

func (c *Cache) appRequest(key cacheKey, tenant string, scopes []string, challenge Challenge) cacheRequest {
	return cacheRequest{
		tokenRequest: tokenRequest{tenant: tenant, scopes: scopes, claims: challenge.Claims, again: challenge.RejectedToken != ""},
		key:          key,
		throttle:     newKey("throttled tenant", nil, c.clientKey, tenant, "", nil),
		flight:       c.appKey(tenant, scopes, challenge.Claims),
		rejected:     challenge.RejectedToken,
	}
}

// cacheKey is the SHA-256 over everything that changes the answer.
type cacheKey = redistier.Key

// short is the part of a key that memory compares. Two users with the same eight bytes
// lose their tokens together, which costs an exchange.
func short(k cacheKey) uint64 { return binary.BigEndian.Uint64(k[:8]) }

// newKey hashes the parts, each behind its length, so that no two lists of parts
// give the same bytes.
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
