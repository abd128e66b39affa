//go:build slow

package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"middletier/internal/testkit/certtest"
	"middletier/internal/testkit/tooltest"
)

// javascript is where the programs of clients in JavaScript are.
const javascript = "../../clients/javascript"

var installJavascript = sync.OnceValue(func() error { return installPackages(javascript) })

// installPackages installs the libraries that the lock file of a folder names into its
// node_modules, unless they are there. npm gets them from its cache or its registry.
func installPackages(folder string) error {
	lock, err := os.ReadFile(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		return err
	}
	installed := filepath.Join(folder, "node_modules", "installed-package-lock.json")
	if was, err := os.ReadFile(installed); err == nil && bytes.Equal(was, lock) {
		return nil
	}
	npm := exec.Command("npm", "ci", "--prefer-offline")
	npm.Dir = folder
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci in %s: %w: it needs npm (apt-get install npm) and, the first time, the network\n%s", folder, err, out)
	}
	return os.WriteFile(installed, lock, 0o644)
}

// javascriptClients returns the path of Node, for programs of clients/javascript.
func javascriptClients(t *testing.T) (node string) {
	t.Helper()
	node = tooltest.Find(t, "node", "nodejs")
	if err := installJavascript(); err != nil {
		t.Fatal(err)
	}
	return node
}

// registration is what a client knows of itself.
type registration struct{ id, secret, redirectURI string }

// Clients of the default directory, and one with a certificate.
var (
	daemonClient    = registration{id: demoDaemon, secret: mockSecret}
	webClient       = registration{id: demoWeb, secret: mockSecret, redirectURI: "http://localhost:3000/auth/redirect"}
	nativeClient    = registration{id: demoNative}
	tierClient      = registration{id: demoMiddleTier, secret: mockSecret}
	certifiedClient = registration{id: "99999999-0000-4000-8000-000000000002"}
)

// The libraries of JavaScript get tokens that the middle tier accepts, in every way that
// they have.
func TestSlowClientsInJavascript(t *testing.T) {
	node := javascriptClients(t)
	s := startStack(t)
	s.addItems()
	common := append(os.Environ(), "NODE_EXTRA_CA_CERTS="+s.ca, "PLATFORM="+s.platform, "SERVICE="+s.service, "TODO="+s.todo,
		"PEOPLE="+s.startPeople(t), "TENANT_ID="+demoTenant, "MIDDLE_TIER_URI=api://"+demoMiddleTier,
		"TOKEN="+s.token("alice"), "CERTIFICATE="+s.registerCertificate(certifiedClient))
	renewals := func(user, items string) string {
		return fmt.Sprintf(`{"user":"%s","items":"%[2]s","cached":true,"renewed":"%[2]s","redeemed":"%[2]s"}`, user, items)
	}
	const (
		everybodys = `{"items":"tea, coffee","cached":true}`
		ofAlice    = `{"items":"tea","cached":true}`
		ofBob      = `{"items":"coffee","cached":true}`
	)
	for _, row := range []struct {
		program, flow string
		client        registration
		want          string
	}{
		{"msal-node", "secret", daemonClient, everybodys},
		{"msal-node", "certificate", certifiedClient, everybodys},
		{"msal-node", "on-behalf-of", tierClient, ofAlice},
		{"msal-node", "code", webClient, renewals(alice, "tea")},
		{"msal-node", "interactive", nativeClient, renewals(alice, "tea")},
		{"msal-node", "password", nativeClient, renewals(alice, "tea")},
		{"msal-node", "device-code", nativeClient, renewals(bob, "coffee")},
		{"azure-identity", "secret", daemonClient, everybodys},
		{"azure-identity", "certificate", certifiedClient, everybodys},
		{"azure-identity", "on-behalf-of", tierClient, ofAlice},
		{"azure-identity", "code", webClient, ofAlice},
		{"azure-identity", "device-code", nativeClient, ofBob},
		{"openid-client", "client-credentials", daemonClient, `{"items":"tea, coffee"}`},
		{"openid-client", "code", webClient, `{"user":"alice@contoso.example","items":"tea","renewed":"tea"}`},
		{"openid-client", "userinfo", webClient, `{"same":true,"name":"alice"}`},
		{"openid-client", "device-code", nativeClient, `{"items":"coffee"}`},
		{"openid-client", "sign-out", webClient, `{"to":"REDIRECT_URI?state=after"}`},
	} {
		t.Run(row.program+"/"+row.flow, func(t *testing.T) {
			t.Parallel() // those with device codes wait
			program := exec.CommandContext(t.Context(), node, filepath.Join(javascript, row.program+".mjs"), row.flow)
			program.Env = append(slices.Clone(common),
				"CLIENT_ID="+row.client.id, "CLIENT_SECRET="+row.client.secret, "REDIRECT_URI="+row.client.redirectURI)
			var complaints bytes.Buffer
			program.Stderr = &complaints
			out, err := program.Output()
			if got := strings.TrimSpace(string(out)); err != nil || got != row.want {
				t.Errorf("got %s %v, want %s\n%s", got, err, row.want, complaints.String())
			}
		})
	}
}

// registerCertificate registers a daemon with a certificate, and returns the file with that
// and its key.
func (s *stack) registerCertificate(client registration) (path string) {
	s.t.Helper()
	pair := s.registerDaemon("certified", client.id, "ToDoList.Read.All")
	path = filepath.Join(s.t.TempDir(), "certificate.pem")
	writeTo(s.t, path, string(pair.CertificatePEM())+string(pair.KeyPEM()))
	return path
}

// registerDaemon registers a daemon with a certificate and app permissions of the middle
// tier, and returns the certificate.
func (s *stack) registerDaemon(name, clientID string, roles ...string) certtest.Pair {
	s.t.Helper()
	pair := certtest.New(name, certtest.NewRSA())
	s.manage("POST", "/mock/apps", map[string]any{
		"name": name, "tenantId": demoTenant, "clientId": clientID, "certificates": []string{string(pair.CertificatePEM())},
	})
	s.manage("POST", "/mock/grants", map[string]any{"client": name, "resource": "middletier", "roles": roles})
	return pair
}

// token returns a token of one of the platform's presets.
func (s *stack) token(preset string) string {
	s.t.Helper()
	return strings.TrimSpace(s.manage("GET", "/mock/tokens/"+preset, nil))
}

// addItems adds tea for Alice and coffee for Bob through the service.
func (s *stack) addItems() {
	s.t.Helper()
	for _, row := range []struct{ preset, title string }{{"alice", "tea"}, {"bob?scp=ToDoList.ReadWrite", "coffee"}} {
		req, err := http.NewRequestWithContext(s.t.Context(), "POST", s.service+"/api/todo/items", strings.NewReader(`{"title":"`+row.title+`"}`))
		if err != nil {
			s.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+s.token(row.preset))
		req.Header.Set("Content-Type", "application/json")
		resp, err := s.client.Do(req)
		if err != nil {
			s.t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // it is read
		if err != nil || resp.StatusCode != http.StatusCreated {
			s.t.Fatalf("adding %s: got %s %s %v", row.title, resp.Status, body, err)
		}
	}
}
