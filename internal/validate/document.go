package validate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"middletier/internal/failure"
	"middletier/internal/reply"
)

const maxDocument = 1 << 20 // bytes of metadata or keys; Entra's are 2 and 12 KB

// metadataPath is what a client adds to an issuer to find its metadata (OpenID Connect
// Discovery 1.0, section 4).
const metadataPath = "/.well-known/openid-configuration"

// document is one metadata document of the provider, with the issuer and the keys
// that it leads to. Only a good answer replaces what it holds.
type document struct {
	metadataURL string
	client      *http.Client
	oneIssuer   bool // TenantID is a domain: only the metadata names the tenant's GUID
	optional    bool // the provider may not have it

	// Written by provider.run, read by everybody.
	current    atomic.Pointer[keySet]
	missing    atomic.Bool   // the provider does not have it
	firstFetch chan struct{} // closed when the first fetch has ended
	counts     counts

	// Owned by provider.run.
	timer      *time.Timer     // the next fetch is due
	fetching   bool            // a fetch is under way
	fetched    bool            // the first fetch has ended
	failing    bool            // the last fetch failed
	retryDelay time.Duration   // before the next attempt, should a fetch fail
	waiting    []chan struct{} // closed when the fetch that is under way has ended
}

// newDocument returns the document whose metadata is at path below c's authority.
func newDocument(c Config, path string) *document {
	return &document{
		metadataURL: strings.TrimSuffix(c.Instance, "/") + "/" + c.TenantID + path + metadataPath,
		oneIssuer:   !IsMultiTenant(c.TenantID) && !IsGUID(c.TenantID),
		client:      c.Client, retryDelay: minRetryDelay, firstFetch: make(chan struct{}),
	}
}

// replace puts set in use, and retires the keys that are not in it any more.
// Only provider.run calls it.
func (d *document) replace(set *keySet) {
	var gone []*signingKey
	if old := d.current.Load(); old != nil {
		for id, key := range old.keys {
			if same, ok := set.keys[id]; ok && key.equal(same) {
				set.keys[id] = key
			} else {
				gone = append(gone, key)
			}
		}
	}
	d.current.Store(set)
	for _, key := range gone {
		key.retired.Store(true)
	}
}

// awaitFirstFetch waits for the first fetch until end, so that a service that has
// just started does not refuse tokens whose keys it is about to get.
func (d *document) awaitFirstFetch(ctx context.Context, end time.Time) {
	if d.current.Load() != nil {
		return
	}
	timer := time.NewTimer(time.Until(end))
	defer timer.Stop()
	select {
	case <-d.firstFetch:
	case <-timer.C:
	case <-ctx.Done():
	}
}

var (
	errNotFound   = errors.New("answered 404")
	errNoMetadata = fmt.Errorf("metadata: %w", errNotFound)
)

// fetch reads the metadata and the keys it points to.
func (d *document) fetch(ctx context.Context) (*keySet, error) {
	var metadata struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
		Cloud   string `json:"cloud_instance_name"`
	}
	switch err := d.getJSON(ctx, d.metadataURL, &metadata); {
	case errors.Is(err, errNotFound):
		return nil, errNoMetadata
	case err != nil:
		return nil, fmt.Errorf("metadata: %w", err)
	}
	if metadata.Issuer == "" {
		return nil, errors.New("metadata: no issuer")
	}
	if d.oneIssuer && forTenant(metadata.Issuer, "") != metadata.Issuer {
		return nil, errors.New("metadata: the issuer is for all tenants, but tenantId is the domain of one")
	}
	if u, err := url.Parse(metadata.JWKSURI); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("metadata: jwks_uri is not an https URL")
	}
	var jwks struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := d.getJSON(ctx, metadata.JWKSURI, &jwks); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return newKeySet(metadata.Issuer, metadata.Cloud, jwks.Keys)
}

func (d *document) getJSON(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return failure.Of(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return errNotFound
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %d", resp.StatusCode)
	}
	body, err := reply.Body(resp, maxDocument)
	if errors.Is(err, reply.ErrTooLarge) {
		return fmt.Errorf("answer is larger than %d bytes", maxDocument)
	}
	if err != nil {
		return failure.Of(err)
	}
	return failure.Of(json.Unmarshal(body, into))
}
