package redistier

import (
	"cmp"
	"log/slog"
	"sync"

	"middletier/internal/secretfile"
)

// passwordFile holds the password of Redis. It may be replaced at any time.
type passwordFile struct {
	path string
	log  *slog.Logger

	mu      sync.Mutex // guards the rest
	last    string     // the last good one
	problem string     // of the last reading, "" for none
}

// openPasswordFile reads the file for the first time. Its error is for the start.
func openPasswordFile(path string, log *slog.Logger) (*passwordFile, error) {
	password, err := secretfile.ReadSecret(path)
	if err != nil {
		return nil, err
	}
	return &passwordFile{path: path, log: cmp.Or(log, slog.New(slog.DiscardHandler)), last: password}, nil
}

// password returns what the file holds now. Where that is no password, such as in the
// middle of being replaced, it returns the last good one, and logs why once.
func (f *passwordFile) password() string {
	password, err := secretfile.ReadSecret(f.path)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.last, f.problem = password, ""
	} else if f.problem != err.Error() {
		f.problem = err.Error()
		f.log.Warn("the Redis password cannot be read again; the last good one stays in use",
			"key", "tokenCache.redis.passwordFile", "error", err)
	}
	return f.last
}

// CheckLoading reports by key what c names and cannot be read.
func (c Config) CheckLoading(report func(key, problem string)) {
	if c.URL == "" || c.PasswordFile == "" {
		return
	}
	if _, err := secretfile.ReadSecret(c.PasswordFile); err != nil {
		report("passwordFile", err.Error())
	}
}
