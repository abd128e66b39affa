// Package recordstest opens stores of records in the Redis of a test.
package recordstest

import (
	"context"
	"encoding/base64"
	"log/slog"
	"testing"
	"time"

	"middletier/internal/records"
	"middletier/internal/redistier"
	"middletier/internal/testkit/redistest"
)

// Open returns a store in server, as a replica with these encryption keys, 32 bytes each, has
// it. It runs until the test ends.
func Open(t *testing.T, server *redistest.Server, keys ...[]byte) *records.Store {
	t.Helper()
	config := redistier.Config{
		URL: server.URL(), KeyPrefix: "middletier:", Timeout: time.Second, // the machine may be busy
		Log: slog.New(slog.DiscardHandler),
	}
	for _, key := range keys {
		config.EncryptionKeys = append(config.EncryptionKeys, base64.StdEncoding.EncodeToString(key))
	}
	shared, err := redistier.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- shared.Run(ctx, func(redistier.Notice) {}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
	store, err := records.NewRedis(shared, config.EncryptionKeys)
	if err != nil {
		t.Fatal(err)
	}
	return store
}
