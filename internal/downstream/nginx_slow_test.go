//go:build slow

package downstream_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"middletier/internal/downstream"
	"middletier/internal/testkit/certtest"
	"middletier/internal/testkit/nginxtest"
)

// startRecyclingNginx runs nginx over TLS in front of the API. It recycles each
// connection after five requests.
func startRecyclingNginx(t *testing.T, api, listen string) (url string, roots *x509.CertPool) {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()
	certificate := certtest.Loopback()
	nginxtest.Start(t, address, fmt.Sprintf(`
	server {
		listen %s %s;
		ssl_certificate cert.pem;
		ssl_certificate_key key.pem;
		keepalive_requests 5;
		client_max_body_size 0;
		client_body_buffer_size 256k; # in memory: the workers may not write our folder
		location / { proxy_pass %s; proxy_http_version 1.1; }
	}
`, address, listen, api), map[string][]byte{"cert.pem": certificate.CertificatePEM(), "key.pem": certificate.KeyPEM()})
	return "https://" + address, certificate.Pool()
}

// A server that recycles its connections makes no upload fail or lose bytes.
func TestSlowUploadsThroughARecyclingServer(t *testing.T) {
	const callers, calls = 8, 5000
	for name, listen := range map[string]string{"HTTP/2": "ssl http2", "HTTP/1.1": "ssl"} {
		for kind, size := range map[string]int{"known length": 100_000, "chunked": 20_000, "small": 1000} {
			t.Run(name+", "+kind, func(t *testing.T) {
				api := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					sum := sha256.New()
					n, err := io.Copy(sum, r.Body)
					_, _ = fmt.Fprintf(w, "%d %x %v", n, sum.Sum(nil), err)
				}))
				url, roots := startRecyclingNginx(t, api, listen)
				e := start(t, url, func(c *downstream.Config) {
					transport := downstream.NewTransport()
					transport.TLSClientConfig = &tls.Config{RootCAs: roots}
					t.Cleanup(transport.CloseIdleConnections)
					c.Transport = transport
				})
				e.results = make(chan error, calls)
				var next, failed atomic.Int64
				var group sync.WaitGroup
				client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callers}}
				defer client.CloseIdleConnections()
				for range callers {
					group.Go(func() {
						for i := next.Add(1); i <= calls; i = next.Add(1) {
							content := bytes.Repeat(fmt.Appendf(nil, "%09d\n", i), size/10)
							body := io.Reader(bytes.NewReader(content))
							if kind == "chunked" {
								body = io.MultiReader(body)
							}
							want := fmt.Sprintf("%d %x <nil>", size, sha256.Sum256(content))
							if got, err := post(client, e.front.URL+"/x", body); err != nil || got != want {
								if failed.Add(1) <= 5 {
									t.Errorf("call %d: got %.200s %v, want %s", i, strings.TrimSpace(got), err, want)
								}
							}
						}
					})
				}
				group.Wait()
				if n := failed.Load(); n > 0 {
					t.Errorf("%d of %d calls failed", n, calls)
				}
			})
		}
	}
}

func post(client *http.Client, url string, body io.Reader) (string, error) {
	resp, err := client.Post(url, "application/octet-stream", body)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}
