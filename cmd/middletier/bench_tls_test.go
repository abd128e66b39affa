package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"middletier/internal/mockidp"
	"middletier/internal/testkit/certtest"
)

// BenchmarkTLS is the hot path over TLS, with HTTP/2 from the callers and to the API. The
// callers have a connection each, as without TLS. The proxy passes on the callers' tokens:
// HTTP/2 would send a token that is always the same as one byte.
func BenchmarkTLS(b *testing.B) {
	platform, secret := startBenchPlatform(b)
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			http.Error(w, "not over HTTP/2", http.StatusTeapot)
			return
		}
		answerBench(w, r)
	}))
	api.EnableHTTP2 = true
	api.StartTLS()
	b.Cleanup(api.Close)
	ca := trustBoth(api, platform)
	pair, certFile, keyFile := benchCertificate(b)
	more := fmt.Sprintf("server: {tls: {certFile: %q, keyFile: %q}}\n", certFile, keyFile)
	requests := benchRequests(platform, benchUsers)
	args := map[string][]string{
		"pooled": {api.URL, "", certFile, keyFile},
		"middletier": {
			"serve", "--config", benchConfig(b, platform.URL(), secret, api.URL, "", ""), "--config", benchFile(b, "more.yaml", more),
		},
	}
	takeTurnsWithPooled(b, platform, ca, args, func(s *benchServer) {
		s.connectHTTP2(b, pair.Pool(), requests)
		s.warmUp(b, benchWarmUp)
	})
}

// BenchmarkHTTP1TLS is the hot path to an API that has TLS and HTTP/1.1 only.
func BenchmarkHTTP1TLS(b *testing.B) {
	platform, secret := startBenchPlatform(b)
	api := httptest.NewTLSServer(http.HandlerFunc(answerBench))
	b.Cleanup(api.Close)
	ca := trustBoth(api, platform)
	requests := benchRequests(platform, benchUsers)
	args := map[string][]string{
		"pooled":     {api.URL, platform.UserToken(benchUser(0), "middletier", "todo")},
		"middletier": {"serve", "--config", benchConfig(b, platform.URL(), secret, api.URL, "", "")},
	}
	takeTurnsWithPooled(b, platform, ca, args, func(s *benchServer) {
		s.connect(b, requests)
		s.warmUp(b, benchWarmUp)
	})
}

// trustBoth returns the certificates of the API and of the platform's CA, as PEM.
func trustBoth(api *httptest.Server, platform *mockidp.Server) []byte {
	return append(certtest.Pair{Certificate: api.Certificate()}.CertificatePEM(), platform.CAPEM()...)
}

// benchCertificate makes a server's certificate for loopback, and writes it into files.
func benchCertificate(b *testing.B) (pair certtest.Pair, certFile, keyFile string) {
	template := certtest.Template("service", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	pair = certtest.Sign(template, certtest.NewEC(), nil)
	return pair, benchFile(b, "tls.crt", string(pair.CertificatePEM())), benchFile(b, "tls.key", string(pair.KeyPEM()))
}

// connectHTTP2 is connect over TLS, with HTTP/2.
func (s *benchServer) connectHTTP2(b *testing.B, trusted *x509.CertPool, requests [][]byte) {
	s.requests = requests
	parsed := make([]*http.Request, len(requests))
	for i, request := range requests {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
		if err != nil {
			b.Fatal(err)
		}
		parsed[i] = r
	}
	for range benchConnections {
		transport := &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: trusted}, ForceAttemptHTTP2: true, DisableCompression: true,
		}
		b.Cleanup(transport.CloseIdleConnections)
		s.conns = append(s.conns, http2Conn{transport, parsed, s})
	}
}

// http2Conn is a connection of HTTP/2: its transport's only one.
type http2Conn struct {
	transport *http.Transport
	requests  []*http.Request // one a user
	server    *benchServer
}

func (c http2Conn) get(user int) error {
	r := c.requests[user]
	resp, err := c.transport.RoundTrip(&http.Request{
		Method: r.Method, Host: r.Host, Header: r.Header,
		URL: &url.URL{Scheme: "https", Host: c.server.address, Path: r.URL.Path, RawQuery: r.URL.RawQuery},
	})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 {
		return errors.New("answered by " + resp.Proto)
	}
	return c.server.check(resp)
}
