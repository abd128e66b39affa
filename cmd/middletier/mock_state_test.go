package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// mockProcess is `middletier mock` as a process of its own, and a client that trusts its CA.
type mockProcess struct {
	*process
	t      *testing.T
	url    string
	client *http.Client
}

func startMock(t *testing.T, address, ca string, more ...string) *mockProcess {
	t.Helper()
	p := startProcess(t, nil, append([]string{"mock", "--address", address, "--ca-out", ca}, more...)...)
	p.await(t, "Ctrl-C stops it.")
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(readText(t, ca))) {
		t.Fatalf("%s holds no certificate", ca)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	return &mockProcess{p, t, "https://" + address, &http.Client{Transport: transport}}
}

// kill ends the process as a crash would.
func (m *mockProcess) kill() {
	m.t.Helper()
	if err := m.Process.Kill(); err != nil {
		m.t.Fatal(err)
	}
	m.wait(m.t)
}

// do sends a request and returns the status and the body.
func (m *mockProcess) do(method, path, contentType, body string) (int, string) {
	m.t.Helper()
	request, err := http.NewRequest(method, m.url+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	response, err := m.client.Do(request)
	if err != nil {
		m.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// token asks the token endpoint as the middle tier.
func (m *mockProcess) token(pairs ...string) (int, map[string]any) {
	m.t.Helper()
	form := url.Values{"client_id": {demoMiddleTier}, "client_secret": {mockSecret}, "scope": {"api://todo/.default offline_access"}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	status, text := m.do("POST", "/"+demoTenant+"/oauth2/v2.0/token", "application/x-www-form-urlencoded", form.Encode())
	var body map[string]any
	if err := json.Unmarshal([]byte(text), &body); err != nil {
		m.t.Fatal(err)
	}
	return status, body
}

func (m *mockProcess) exchange(assertion string) (int, map[string]any) {
	return m.token("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "requested_token_use", "on_behalf_of", "assertion", assertion)
}

func (m *mockProcess) keys() string {
	_, keys := m.do("GET", "/common/discovery/v2.0/keys", "", "")
	return keys
}

// With --state, whoever has the CA, a token, the keys or a refresh token does not notice that
// the platform was killed and started again.
func TestMockWithStateGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	state, ca, address := filepath.Join(dir, "state", "mock"), filepath.Join(dir, "ca.pem"), "127.0.0.1:"+freePorts(t, 1)[0]
	m := startMock(t, address, ca, "--state", state)
	_, beforeKeys := m.do("GET", "/mock/tokens/alice", "", "")
	m.do("POST", "/mock/keys", "application/json", `{"publishOnly": true}`)
	m.do("POST", "/mock/keys", "application/json", `{"publishOnly": true}`)
	m.do("POST", "/mock/keys", "application/json", `{}`)
	_, alice := m.do("GET", "/mock/tokens/alice", "", "")
	_, first := m.exchange(alice)
	keys, trusted := m.keys(), readText(t, ca)

	second := startProcess(t, nil, "mock", "--address", "127.0.0.1:0", "--ca-out", filepath.Join(dir, "other.pem"), "--state", state)
	if code := second.wait(t); code != 1 || second.stdout.String() != "--state: another process uses "+state+"\n" {
		t.Errorf("a second process: exit code %d, %q", code, second.stdout.String())
	}

	m.kill()
	m = startMock(t, address, ca, "--state", state)
	if readText(t, ca) != trusted {
		t.Error("the CA is another one")
	}
	if got := m.keys(); got != keys {
		t.Errorf("got the keys\n%s, want\n%s", got, keys)
	}
	for _, token := range []string{beforeKeys, alice} {
		if status, body := m.exchange(token); status != http.StatusOK {
			t.Errorf("a token of before: got %d %v, want 200", status, body)
		}
	}
	refresh := first["refresh_token"].(string)
	if status, body := m.token("grant_type", "refresh_token", "refresh_token", refresh); status != http.StatusOK {
		t.Errorf("a refresh token of before: got %d %v, want 200", status, body)
	}

	m.do("POST", "/mock/reset", "", "")
	m.kill()
	m = startMock(t, address, ca, "--state", state)
	if status, _ := m.token("grant_type", "refresh_token", "refresh_token", refresh); status != http.StatusBadRequest {
		t.Errorf("a refresh token of before the reset: got %d, want 400", status)
	}
	checkPrivate(t, state)

	m.kill()
	m = startMock(t, address, ca)
	if readText(t, ca) == trusted || m.keys() == keys {
		t.Error("without --state, the platform is the same after a restart")
	}
}

// checkPrivate checks the files of a state: no one else may read them, and none is left over.
func checkPrivate(t *testing.T, state string) {
	t.Helper()
	files, err := os.ReadDir(state)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		names = append(names, file.Name())
		info, err := file.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the mode %v, want 0600", file.Name(), info.Mode().Perm())
		}
	}
	if want := []string{"mock-state.json", "mock-state.lock"}; !reflect.DeepEqual(names, want) {
		t.Errorf("got the files %q, want %q", names, want)
	}
}
