package validate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"middletier/internal/failure"
)

const maxDocument = 1 << 20 // bytes of metadata or keys; Entra's have 2 and 12 KB

// document holds the issuer and keys of one metadata document and keeps them
// fresh. What it holds is only ever replaced by a good answer.
type document struct {
	metadataURL string
	client      *http.Client
	log         *slog.Logger
	limiter     *refreshLimiter // of both documents of a provider
	oneIssuer   bool            // nothing but the metadata says which tenant is ours
	optional    func() bool     // whether to believe that there is no such document; nil: never

	current atomic.Pointer[keySet]
	absent  atomic.Bool // the provider has no such document (404)
	counts  counts
	wake    chan struct{}
	tried   chan struct{} // closed when the first fetch has ended

	mu   sync.Mutex    // guards the rest
	busy bool          // a fetch is under way or about to be
	done chan struct{} // closed when the fetch that is under way, or the next one, has ended
}

// newDocument returns the document whose metadata is at path below c's authority.
func newDocument(c Config, path string, limiter *refreshLimiter) *document {
	return &document{
		metadataURL: strings.TrimSuffix(c.Instance, "/") + "/" + c.TenantID + path + "/.well-known/openid-configuration",
		oneIssuer:   !IsMultiTenant(c.TenantID) && !IsGUID(c.TenantID),
		client:      c.Client, limiter: limiter, log: c.Log,
		wake: make(chan struct{}, 1), tried: make(chan struct{}), done: make(chan struct{}),
	}
}

var errNoSuchDocument = errors.New("answered 404")

// fetch reads the metadata and the keys it points to.
func (d *document) fetch(ctx context.Context) (*keySet, error) {
	var metadata struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
		Cloud   string `json:"cloud_instance_name"`
	}
	err := d.getJSON(ctx, d.metadataURL, &metadata)
	d.absent.Store(errors.Is(err, errNoSuchDocument) && d.optional != nil && d.optional())
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	if metadata.Issuer == "" {
		return nil, errors.New("metadata: no issuer")
	}
	if d.oneIssuer && forTenant(metadata.Issuer, "") != metadata.Issuer {
		return nil, errors.New("metadata: an issuer for all tenants, where tenantId is one's domain")
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
