//go:build slow

package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// stack is the identity platform with the ToDo API, and the service, each in a process of
// its own and set up as docs/integration-testing.md says.
type stack struct {
	t        *testing.T
	platform string // its URL, without a slash at the end
	todo     string // the same of the ToDo API
	service  string // the same of the service
	ca       string // the file with the platform's CA certificate
	client   *http.Client
}

// startStack starts all processes.
func startStack(t *testing.T, mockArgs ...string) *stack {
	t.Helper()
	s := startPlatform(t, mockArgs...)
	s.startService()
	return s
}

// instanceLine is what mock prints of its URL.
var instanceLine = regexp.MustCompile(`(?m)^ +instance +(https://\S+)/$`)

// startPlatform starts the identity platform with the ToDo API.
func startPlatform(t *testing.T, mockArgs ...string) *stack {
	t.Helper()
	s := &stack{t: t, ca: filepath.Join(t.TempDir(), "ca.pem")}
	todo := "127.0.0.1:" + freePorts(t, 1)[0]
	args := []string{"mock", "--address", "127.0.0.1:0", "--todo-address", todo, "--ca-out", s.ca}
	mock := startProcess(t, nil, append(args, mockArgs...)...)
	mock.await(t, "Ctrl-C stops it.")
	line := instanceLine.FindStringSubmatch(mock.stdout.String())
	if line == nil {
		t.Fatalf("no line with the instance in the output of mock:\n%s", mock.stdout.String())
	}
	s.platform, s.todo = line[1], "http://"+todo
	pem, err := os.ReadFile(s.ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	s.client = &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
		CheckRedirect: noRedirects.CheckRedirect,
	}
	return s
}

// startService starts the service with the configuration of docs/integration-testing.md,
// changed by variables of the environment.
func (s *stack) startService(environment ...string) {
	s.t.Helper()
	address := "127.0.0.1:" + freePorts(s.t, 1)[0]
	text := documentedConfig(s.t)
	text = strings.NewReplacer(
		"https://127.0.0.1:9443", s.platform, "http://127.0.0.1:9444", s.todo, "127.0.0.1:8080", address, "127.0.0.1:8081", "",
	).Replace(text)
	s.startServiceWith(address, text, environment...)
}

// startServiceWith starts the service with a configuration, in which it has this address.
func (s *stack) startServiceWith(address, text string, environment ...string) {
	s.t.Helper()
	environment = append([]string{"SSL_CERT_FILE=" + s.ca}, environment...)
	service := startProcess(s.t, environment, "serve", "--config", writeConfig(s.t, text))
	s.service = "http://" + address
	eventually(s.t, func() bool {
		resp, err := http.Get(s.service + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}, func() string { return "the service is not ready:\n" + service.stdout.String() })
}

// documentedConfig returns the configuration in docs/integration-testing.md.
func documentedConfig(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/integration-testing.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := fenced.FindAllStringSubmatch(string(text), -1)
	i := slices.IndexFunc(blocks, func(b []string) bool { return b[1] == "yaml" && strings.Contains(b[2], "downstreamApis:") })
	if i < 0 {
		t.Fatal("docs/integration-testing.md has no yaml block with downstreamApis")
	}
	return blocks[i][2]
}

// manage calls a route of the platform's management API, such as "POST", "/mock/apps",
// with a body that is encoded as JSON unless it is nil, and returns the answer.
func (s *stack) manage(method, path string, body any) string {
	s.t.Helper()
	var encoded []byte
	if body != nil {
		var err error
		if encoded, err = json.Marshal(body); err != nil {
			s.t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.platform+path, bytes.NewReader(encoded))
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		s.t.Fatalf("%s %s: %s %s %v", method, path, resp.Status, answer, err)
	}
	return string(answer)
}
