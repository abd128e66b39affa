package credential_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/credential"
)

// user is what uses the credentials of a store.
type user struct {
	mu     sync.Mutex // guards the rest
	used   []*credential.Loaded
	refuse bool // the next
}

func (u *user) use(a *credential.Loaded) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.refuse {
		return errors.New("not this one")
	}
	u.used = append(u.used, a)
	return nil
}

func (u *user) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.used)
}

func (u *user) start(t *testing.T, entries ...credential.Config) *credential.Store {
	t.Helper()
	store, err := credential.NewStore(t.Context(), credential.StoreConfig{Entries: entries, Log: slog.New(slog.DiscardHandler), Use: u.use})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// secretFile returns the path of a file with a secret, and what replaces it.
func secretFile(t *testing.T) (path string, replace func(secret string)) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "secret")
	replace = func(secret string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	replace("one")
	return path, replace
}

func TestFirstEntryThatLoadsIsUsed(t *testing.T) {
	path, _ := secretFile(t)
	var u user
	u.start(t, credential.Config{SourceType: "ClientSecret", ClientSecretFile: path + ".none"},
		credential.Config{SourceType: "ClientSecret", ClientSecretFile: path},
		credential.Config{SourceType: "ClientSecret", ClientSecret: "third"})
	if got := u.used[0].String(); u.count() != 1 || got != "clientCredentials[1] ClientSecret" {
		t.Errorf("got %s, want the second entry", got)
	}
}

func TestReplacedFileIsUsed(t *testing.T) {
	path, replace := secretFile(t)
	var u user
	store := u.start(t, credential.Config{SourceType: "ClientSecret", ClientSecretFile: path})
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { store.Run(ctx) })
	defer group.Wait()
	defer stop()
	replace("two")
	for deadline := time.Now().Add(30 * time.Second); u.count() < 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the new secret is not used")
		}
	}
}

// A provider that refuses every credential has them read once in ten seconds.
func TestReloadsAfterRefusalsAreSeldom(t *testing.T) {
	path, replace := secretFile(t)
	synctest.Test(t, func(t *testing.T) {
		var u user
		store := u.start(t, credential.Config{SourceType: "ClientSecret", ClientSecretFile: path})
		for _, step := range []struct {
			secret string
			wait   time.Duration
			want   int // credentials used so far
		}{{"two", 0, 2}, {"three", 9 * time.Second, 2}, {"three", time.Second, 3}} {
			replace(step.secret)
			time.Sleep(step.wait)
			store.ReloadAfterRefusal(t.Context())
			if got := u.count(); got != step.want {
				t.Errorf("%v after the last, with %q in the file: %d credentials were used, want %d", step.wait, step.secret, got, step.want)
			}
		}
	})
}

func TestCredentialThatCannotBeUsedLeavesTheOneInUse(t *testing.T) {
	path, replace := secretFile(t)
	synctest.Test(t, func(t *testing.T) {
		var u user
		store := u.start(t, credential.Config{SourceType: "ClientSecret", ClientSecretFile: path})
		replace("two")
		u.refuse = true
		store.ReloadAfterRefusal(t.Context())
		u.refuse = false
		time.Sleep(10 * time.Second)
		store.ReloadAfterRefusal(t.Context()) // the same file: it is tried again
		if got := u.count(); got != 2 {
			t.Errorf("%d credentials were used, want the old one and then the new one", got)
		}
	})
}
