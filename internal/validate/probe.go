package validate

import (
	"context"
	"errors"
	"fmt"
)

// ErrNotPublished says that the provider has metadata of version 2.0 only. That is
// enough.
var ErrNotPublished = errors.New("the provider issues v2.0 tokens only")

// ProbeMetadata fetches the metadata for tokens of a version, 1 or 2, and returns
// their issuer. It neither needs Run nor changes the keys in use.
func (v *Validator) ProbeMetadata(ctx context.Context, version int) (issuer string, err error) {
	doc := v.document(version)
	var metadata struct {
		Issuer string `json:"issuer"`
	}
	err = doc.getJSON(ctx, doc.metadataURL, &metadata)
	switch {
	case version == 1 && errors.Is(err, errNotFound):
		if _, v2Err := v.ProbeMetadata(ctx, 2); v2Err == nil {
			return "", ErrNotPublished
		}
	case err == nil && metadata.Issuer == "":
		err = errors.New("no issuer")
	}
	return metadata.Issuer, err
}

// ProbeKeys fetches the signing keys for tokens of a version, 1 or 2, and returns
// how many can be used. It neither needs Run nor changes the keys in use.
func (v *Validator) ProbeKeys(ctx context.Context, version int) (usable int, err error) {
	if _, err := v.ProbeMetadata(ctx, version); err != nil {
		return 0, fmt.Errorf("metadata: %w", err)
	}
	set, err := v.document(version).fetch(ctx)
	if err != nil {
		return 0, err
	}
	return len(set.keys), nil
}

func (v *Validator) document(version int) *document {
	if version == 1 {
		return v.provider.v1
	}
	return v.provider.v2
}
