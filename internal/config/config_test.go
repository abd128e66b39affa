package config_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"middletier/internal/config"
)

// settings has every kind of field that the package supports.
type settings struct {
	Server server            `yaml:"server" doc:"The listener."`
	Azure  azure             `yaml:"azureAd"`
	APIs   map[string]api    `yaml:"downstreamApis" doc:"The APIs behind us."`
	Labels map[string]string `yaml:"labels"`
}

type server struct {
	Address string        `yaml:"address" doc:"Where to listen."`
	Timeout time.Duration `yaml:"timeout"`
	MaxBody config.Size   `yaml:"maxBodySize"`
	Burst   int           `yaml:"burst"`
	Ratio   float64       `yaml:"ratio"`
	Timing  bool          `yaml:"serverTiming"`
	Format  string        `yaml:"format" enum:"json,text"`
	TLS     tlsFiles      `yaml:"tls"`
}

type tlsFiles struct {
	CertFile string `yaml:"certFile"`
}

type azure struct {
	TenantID     string       `yaml:"tenantId"`
	Audiences    []string     `yaml:"audiences"`
	Capabilities []string     `yaml:"clientCapabilities"`
	Credentials  []credential `yaml:"clientCredentials"`
	Keys         []string     `yaml:"keys" secret:"true"`
	Backoff      []int        `yaml:"backoff"`
}

type credential struct {
	Source string `yaml:"sourceType"`
	Secret string `yaml:"clientSecret" secret:"true"`
	PIN    int    `yaml:"pin" secret:"true"`
}

type api struct {
	BaseURL string        `yaml:"baseUrl"`
	Timeout time.Duration `yaml:"timeout"`
	Access  []access      `yaml:"access"`
	Retry   retry         `yaml:"retry"`
}

func (a *api) SetDefaults() { a.Timeout = 20 * time.Second }

type access struct {
	Methods []string `yaml:"methods" enum:"GET,POST"`
	Paths   []string `yaml:"paths"`
}

func (a *access) SetDefaults() { a.Paths = []string{"/**"} }

type retry struct {
	Attempts int `yaml:"attempts"`
}

func (r *retry) SetDefaults() { r.Attempts = 2 }

func defaults() settings {
	return settings{
		Server: server{Address: ":8080", Timeout: 30 * time.Second, MaxBody: 10 << 20, Format: "json"},
		Azure:  azure{Capabilities: []string{"cp1"}},
	}
}

func newAPI(change func(*api)) api {
	a := api{Timeout: 20 * time.Second, Retry: retry{Attempts: 2}}
	change(&a)
	return a
}

// load reads text and environ over the defaults, and returns the mistakes as
// one text.
func load(t *testing.T, text string, environ ...string) (settings, string) {
	t.Helper()
	got := defaults()
	doc, err := config.Parse("config.yaml", []byte(text), config.Input{Environ: environ}, &got)
	if err == nil {
		err = doc.Err()
	}
	if err == nil {
		return got, ""
	}
	return got, err.Error()
}

// want is what the defaults become by change.
func want(change func(*settings)) settings {
	s := defaults()
	if change != nil {
		change(&s)
	}
	return s
}

func checkSettings(t *testing.T, got, want settings) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func lines(ls ...string) string { return strings.Join(ls, "\n") }
