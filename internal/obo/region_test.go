package obo_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"middletier/internal/obo"
)

// regional is a platform that has an endpoint in a region too. It records which hosts the
// requests for tokens went to.
type regional struct {
	*platform
	hosts []string
}

func (r *regional) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodPost {
		r.hosts = append(r.hosts, req.URL.Host)
	}
	host := req.URL.Host
	if host != "westeurope.login.example" {
		return r.platform.RoundTrip(req)
	}
	req = req.Clone(req.Context())
	req.URL.Host = "login.example"
	resp, err := r.platform.RoundTrip(req)
	if err != nil || req.Method == http.MethodPost {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(bytes.ReplaceAll(body, []byte("https://login.example/"), []byte("https://"+host+"/"))))
	return resp, err
}

// startHost plays the metadata service of an Azure host.
func startHost(t *testing.T, answer http.HandlerFunc) (url string, asked *atomic.Int32) {
	t.Helper()
	asked = new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("Metadata") != "true" {
			t.Error("the host was asked without its header")
		}
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, asked
}

func TestRegionIsForApplicationTokensOnly(t *testing.T) {
	t.Setenv("MSAL_FORCE_REGION", "eastus") // not for MSAL to read
	location := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
	}
	for _, row := range []struct {
		name, region string
		host         http.HandlerFunc
		want         string // the host of application tokens
		asked        int32
		log          string
	}{
		{"none", "", nil, "login.example", 0, ""},
		{"configured", "westeurope", nil, "westeurope.login.example", 0, ""},
		{"displayed name", "West Europe", nil, "westeurope.login.example", 0, ""},
		{"detected", "TryAutoDetect", location(`{"location":"westeurope","name":"vm"}`), "westeurope.login.example", 1, "level=INFO"},
		{"no location", "TryAutoDetect", location(`{}`), "login.example", 2, "level=WARN"},
		{"a location that is a host", "TryAutoDetect", location(`{"location":"evil.example/"}`), "login.example", 2, "level=WARN"},
		{"refused", "tryautodetect", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, "login.example", 2, "level=WARN"},
	} {
		t.Run(row.name, func(t *testing.T) {
			url, asked := startHost(t, row.host)
			r := &regional{platform: newPlatform()}
			var log lockedBuffer
			k := r.start(t, func(c *obo.Config, _ *obo.CacheConfig) {
				c.Region, c.HostMetadataURL, c.Client.Transport = row.region, url, r
				c.Log = slog.New(slog.NewTextHandler(&log, nil))
			})
			if _, err := k.cache.ForApp(t.Context(), "", "api://todo/.default", obo.Challenge{}); err != nil {
				t.Fatal(err)
			}
			k.want(user("alice"), "", "token-2", obo.IdentityProvider)
			if got, want := fmt.Sprint(r.hosts), fmt.Sprint([]string{row.want, "login.example"}); got != want {
				t.Errorf("hosts: got %s, want %s", got, want)
			}
			if got := asked.Load(); got != row.asked {
				t.Errorf("the host was asked %d times, want %d", got, row.asked)
			}
			if row.log != "" && !strings.Contains(log.String(), row.log) {
				t.Errorf("log: got %s, want %s", log.String(), row.log)
			}
		})
	}
}

// Where there is no Azure host, nothing answers at the address. Without a bound the test does
// not end.
func TestRegionIsNotWaitedForWithoutEnd(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	p := newPlatform()
	config := p.config()
	config.Region, config.HostMetadataURL = obo.AutoDetectRegion, "http://"+silent.Addr().String()
	begin := time.Now()
	if _, err := obo.NewClient(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < time.Second {
		t.Errorf("took %v, want two times 500 ms", took)
	}
}
