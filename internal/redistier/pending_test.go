package redistier_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"middletier/internal/redistier"
	"middletier/internal/testkit/redistest"
)

// silence is no answer.
const silence = ""

var alice = redistier.Key{1}

// forgetInVain forgets alice while Redis is silent, and returns what ends the replica, and its log
// then.
func forgetInVain(t *testing.T, server *redistest.Server, proxy *redistest.Proxy) (end func() string) {
	t.Helper()
	var log bytes.Buffer
	shared, err := redistier.New(redistier.Config{
		URL: "redis://" + proxy.Addr(), KeyPrefix: "middletier:", Timeout: time.Second, // the machine may be busy
		EncryptionKeys: []string{base64.StdEncoding.EncodeToString(make([]byte, 32))},
		Log:            slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- shared.Run(ctx, func(redistier.Notice) {}) }()
	if _, ok := shared.BeginGenerations(ctx, []redistier.Key{alice}, time.Hour); !ok {
		t.Fatal("Redis does not answer")
	}
	proxy.Answer(silence, "*")
	if err := shared.Forget(ctx, alice, redistier.Notice{What: redistier.AllOfUser, Keys: []redistier.Key{alice}}); err == nil {
		t.Error("Forget while Redis is silent: got nil, want an error")
	}
	if generation(server) == "" {
		t.Error("the deletion has come to Redis")
	}
	return func() string {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		return log.String()
	}
}

// generation is what Redis has of alice.
func generation(server *redistest.Server) string {
	return server.Get(fmt.Sprintf("middletier:%x:generation", alice))
}

// A process that ends retries the deletions that Redis did not answer, and does not wait for the
// next regular retry.
func TestPendingDeletionsAreRetriedAtTheEnd(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	end := forgetInVain(t, server, proxy)
	proxy.Answer("")
	log := end()
	if got := generation(server); got != "" {
		t.Errorf("got the generation %x, want none; log:\n%s", got, log)
	}
	if strings.Contains(log, "given up") {
		t.Errorf("log: got\n%s, want nothing given up", log)
	}
}

// A process that ends while Redis does not answer says what it gives up, and is not held up.
func TestPendingDeletionsAreGivenUpAtTheEnd(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	log := forgetInVain(t, server, redistest.NewProxy(t, server))()
	if !strings.Contains(log, "given up") || !strings.Contains(log, "waiting=1") {
		t.Errorf("log: got\n%s, want the deletion that is given up", log)
	}
}
