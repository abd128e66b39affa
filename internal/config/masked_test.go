package config_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"middletier/internal/config"
)

func TestMaskedHoldsEverythingButSecrets(t *testing.T) {
	full := defaults()
	full.Azure.TenantID, full.Azure.Backoff, full.Azure.Keys = "tenant", []int{1, 2}, []string{"canary-key"}
	full.Azure.Credentials = []credential{{Source: "ClientSecret", Secret: "canary-secret", PIN: 987654}, {Source: "Path"}}
	full.APIs = map[string]api{"todo": newAPI(func(a *api) {
		a.BaseURL, a.Access = "https://todo", []access{{Methods: []string{"GET"}, Paths: []string{"/**"}}}
	})}
	full.Labels, full.Server.Ratio, full.Server.TLS.CertFile = map[string]string{"team": "blue"}, 0.5, "/etc/tls.crt"
	text, err := config.Masked(&full)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"canary", "987654"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("got %s, which holds %s", text, secret)
		}
	}
	for _, want := range []string{
		`"timeout": "30s"`, `"maxBodySize": "10MiB"`, `"certFile": "/etc/tls.crt"`,
		`"clientSecret": "***"`, `"clientSecret": ""`, `"pin": "***"`, `"***"`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("got %s, want %s in it", text, want)
		}
	}

	// What it shows is what would be loaded.
	full.Azure.Keys, full.Azure.Credentials[0] = nil, credential{Source: "ClientSecret"}
	if text, err = config.Masked(full); err != nil {
		t.Fatal(err)
	}
	got, mistakes := load(t, string(text))
	full.Azure.Keys, full.Azure.Audiences = []string{}, []string{}
	if mistakes != "" || !reflect.DeepEqual(got, full) {
		t.Errorf("loaded again: got %+v %s, want %+v", got, mistakes, full)
	}
	if full.Server.Timeout != 30*time.Second {
		t.Errorf("the original is changed: %+v", full)
	}
}
