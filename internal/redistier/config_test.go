package redistier_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"middletier/internal/redistier"
)

func TestPasswordFileThatHoldsNoPasswordIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	c := redistier.Config{URL: "redis://localhost", PasswordFile: file}
	for text, want := range map[string]string{
		"": "is empty", "\xff\xfep\x00": "is in UTF-16", "a\nb": "holds 2 lines", "abc\x00d": "is not printable text",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var got []string
		c.CheckLoading(func(key, problem string) { got = append(got, key+": "+problem) })
		if len(got) != 1 || !strings.HasPrefix(got[0], "passwordFile: "+want) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestRedisConfigIsChecked(t *testing.T) {
	good := redistier.Config{
		URL:            "redis://localhost",
		EncryptionKeys: []string{base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32))},
		Timeout:        time.Second,
	}
	for _, url := range []string{
		"redis://localhost", "rediss://app:pass@redis.example:6380/2", "unix:///run/redis.sock",
		"redis://a:1?addr=b:2&addr=c:3&pool_size=7", "rediss://a:26379?addr=b:26379&master_name=main",
	} {
		c := good
		c.URL = url
		c.Check(func(key, problem string) { t.Errorf("%s: %s %s", url, key, problem) })
	}
	for _, c := range []struct {
		key    string
		change func(c *redistier.Config)
	}{
		{"url", func(c *redistier.Config) { c.URL = "http://localhost" }},
		{"url", func(c *redistier.Config) { c.URL = "redis://user:s3cret@local host" }},
		{"url", func(c *redistier.Config) { c.URL = "redis://localhost?no_such=1" }},
		{"url", func(c *redistier.Config) { c.URL = "redis://localhost?read_timeout=1s" }},
		{"url", func(c *redistier.Config) { c.URL = "redis://:pass?s3cret@localhost" }},
		{"url", func(c *redistier.Config) { c.URL = "redis://localhost?pool_size=-1" }},
		{"url", func(c *redistier.Config) { c.URL = "redis://localhost?min_idle_conns=-1" }},
		{"url", func(c *redistier.Config) { c.URL = "redis://localhost?protocol=4" }},
		{"url", func(c *redistier.Config) { c.URL = "redis://a:1?addr=b:2&read_only=true" }},
		{"url", func(c *redistier.Config) { c.URL = "redis://a:1?master_name=main&replica_only=true" }},
		{"encryptionKeys", func(c *redistier.Config) { c.EncryptionKeys = nil }},
		{"encryptionKeys[1]", func(c *redistier.Config) { c.EncryptionKeys = append(c.EncryptionKeys, "s3cret") }},
		{"encryptionKeys[0]", func(c *redistier.Config) {
			c.EncryptionKeys = []string{base64.StdEncoding.EncodeToString(make([]byte, 16))}
		}},
		{"timeout", func(c *redistier.Config) { c.Timeout = 0 }},
	} {
		config := good
		c.change(&config)
		var keys []string
		config.Check(func(key, problem string) {
			keys = append(keys, key)
			if strings.Contains(problem, "s3cret") {
				t.Errorf("%s: %q holds a secret", key, problem)
			}
		})
		if !slices.Equal(keys, []string{c.key}) {
			t.Errorf("got mistakes in %q, want in %s", keys, c.key)
		}
	}
	(redistier.Config{}).Check(func(key, problem string) { t.Errorf("without a URL: %s %s", key, problem) })
	good.PasswordFile = filepath.Join(t.TempDir(), "missing")
	_, err := redistier.New(good)
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "tokenCache.redis.passwordFile") {
		t.Errorf("a password file that is missing: got %v, want its key", err)
	}
}
