package main

import (
	"encoding/base64"
	"os"
	"testing"
)

// The configurations of the page have no mistake. The folders and secrets that they name are
// not here.
func TestConfigurationsOfTheSessionsPage(t *testing.T) {
	text, err := os.ReadFile("../../docs/sessions.md")
	if err != nil {
		t.Fatal(err)
	}
	key := "TokenCache__Redis__EncryptionKeys__0=" + base64.StdEncoding.EncodeToString(make([]byte, 32))
	found := 0
	for _, block := range fenced.FindAllStringSubmatch(string(text), -1) {
		if block[1] != "yaml" {
			continue
		}
		found++
		if f, err := load(writeConfig(t, block[2]), []string{key}); err != nil || !f.Session.Enabled {
			t.Errorf("got %v of\n%s", err, block[2])
		}
	}
	if found != 2 {
		t.Errorf("got %d configurations, want 2", found)
	}
}
