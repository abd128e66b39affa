package main

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"middletier/internal/credential"
	"middletier/internal/obo"
)

// assertionHeader is the header of a client assertion.
type assertionHeader struct {
	Alg  string   `json:"alg"`
	SHA1 string   `json:"x5t"`
	SHA2 string   `json:"x5t#S256"`
	X5C  []string `json:"x5c"`
}

// lastAssertion returns the header of the last client assertion that the platform got.
func (w *world) lastAssertion() assertionHeader {
	w.t.Helper()
	requests := w.idp.Requests()
	head, _, _ := strings.Cut(requests[len(requests)-1].Form.Get("client_assertion"), ".")
	data, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		w.t.Fatal(err)
	}
	var header assertionHeader
	if err := json.Unmarshal(data, &header); err != nil {
		w.t.Fatalf("client assertion: %v", err)
	}
	return header
}

// inTwoFiles splits a PEM file behind its certificate.
func inTwoFiles(t *testing.T, path string) (certificate, key string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(data, []byte("-----BEGIN PRIVATE KEY"))
	certificate, key = filepath.Join(t.TempDir(), "client.crt"), filepath.Join(t.TempDir(), "client.key")
	for name, part := range map[string][]byte{certificate: data[:i], key: data[i:]} {
		if err := os.WriteFile(name, part, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

// The ways in which files of other programs name a certificate, and what the provider gets.
func TestCertificatesOfOtherProgramsAreUsed(t *testing.T) {
	certificates, path := newCertificate(t)
	certificate, key := inTwoFiles(t, path)
	der := certificates[0].Raw
	sum1, sum2 := sha1.Sum(der), sha256.Sum256(der)
	wantSHA1, wantSHA2 := base64.RawURLEncoding.EncodeToString(sum1[:]), base64.RawURLEncoding.EncodeToString(sum2[:])
	chain := base64.StdEncoding.EncodeToString(der)
	for _, row := range []struct {
		name  string
		entry credential.Config
		x5c   bool
		want  assertionHeader
	}{
		{"two files", credential.Config{CertificateDiskPath: certificate, PrivateKeyDiskPath: key}, false, assertionHeader{Alg: "PS256", SHA2: wantSHA2}},
		{"SHA-1 thumbprint alone", credential.Config{PrivateKeyDiskPath: key, CertificateThumbprint: fmt.Sprintf("% X", sum1)}, false, assertionHeader{Alg: "RS256", SHA1: wantSHA1}},
		{"SHA-256 thumbprint alone", credential.Config{PrivateKeyDiskPath: key, CertificateThumbprint: fmt.Sprintf("%x", sum2)}, false, assertionHeader{Alg: "PS256", SHA2: wantSHA2}},
		{"chain", credential.Config{CertificateDiskPath: path}, true, assertionHeader{Alg: "PS256", SHA2: wantSHA2, X5C: []string{chain}}},
		{"chain and claims", credential.Config{CertificateDiskPath: path, ClientClaims: map[string]string{"a": "b"}}, true, assertionHeader{Alg: "PS256", SHA2: wantSHA2, X5C: []string{chain}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			directory := testDirectory()
			directory.Apps[0].Secrets, directory.Apps[0].Certificates = nil, []*x509.Certificate{certificates[0]}
			w := newStoppedWorldOf(t, directory, func(f *file) {
				row.entry.SourceType = "Path"
				f.AzureAd.ClientCredentials, f.AzureAd.SendX5C = []credential.Config{row.entry}, row.x5c
			})
			w.startReady()
			for path, token := range map[string]string{"/api/todo/items": w.alice(), "/app/todo/items": w.daemon()} {
				if r := w.call("GET", path, token, ""); r.StatusCode != 200 {
					t.Fatalf("%s: got %d %s, want 200", path, r.StatusCode, r.body)
				}
				got := w.lastAssertion()
				got.SHA2 = strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(got.SHA2) // MSAL's spelling
				if fmt.Sprint(got) != fmt.Sprint(row.want) {
					t.Errorf("%s: the assertion's header: got %+v, want %+v", path, got, row.want)
				}
			}
		})
	}
}

// sentHeaders records the headers of the service's requests to the token endpoint.
func (w *world) sentHeaders() func() http.Header {
	var mu sync.Mutex
	var last http.Header
	d := detour(func(r *http.Request, platform http.RoundTripper) (*http.Response, error) {
		mu.Lock()
		last = r.Header.Clone()
		mu.Unlock()
		return platform.RoundTrip(r)
	})
	w.detour.Store(&d)
	return func() http.Header {
		mu.Lock()
		defer mu.Unlock()
		return last
	}
}

// The caller, this service and the provider log one request under the same id.
func TestExchangeSaysWhoAsksAndUnderWhichID(t *testing.T) {
	w := newWorld(t)
	sent := w.sentHeaders()
	const id = "0F8FAD5B-D9CB-469F-A165-70867728950E"
	user := w.idp.UserClaims("alice", "app", "middletier", "ToDoList.Read")
	anchor := fmt.Sprintf("oid:%v@%v", user["oid"], user["tid"])
	for _, row := range []struct {
		name, path, token, id string
		wantAnchor            string
		wantID                bool
	}{
		{"user", "/api/todo/items", w.alice(), id, anchor, true},
		{"application", "/app/todo/items", w.daemon(), id, "", true},
		{"id that is no GUID", "/api/todo/items", w.bob(), "request-1", "", false},
	} {
		req, err := http.NewRequest("GET", w.url+row.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+row.token)
		req.Header.Set("X-Request-ID", row.id)
		if r := w.do(req); r.StatusCode != 200 {
			t.Fatalf("%s: got %d %s, want 200", row.name, r.StatusCode, r.body)
		}
		got := sent()
		if anchor := got.Get("X-AnchorMailbox"); row.wantID && anchor != row.wantAnchor {
			t.Errorf("%s: x-anchormailbox: got %q, want %q", row.name, anchor, row.wantAnchor)
		}
		if ids := got.Values("client-request-id"); len(ids) != 1 || (ids[0] == row.id) != row.wantID || len(ids[0]) != len(id) {
			t.Errorf("%s: client-request-id: got %q, want a GUID, the caller's %v", row.name, ids, row.wantID)
		}
		if capability := got.Get("x-ms-lib-capability"); capability != "retry-after, h429" {
			t.Errorf("%s: x-ms-lib-capability: got %q", row.name, capability)
		}
	}
}

// A service of several tenants has one tenant for its own calls.
func TestHomeTenantIsWhereApplicationTokensComeFrom(t *testing.T) {
	w := newWorld(t, multiTenant("organizations", "*"), func(f *file) {
		f.AzureAd.AppHomeTenantID = demoTenant
		d := f.DownstreamAPIs["todo"]
		d.Tenant = ""
		f.DownstreamAPIs["todo"] = d
	})
	if r := w.call("GET", "/app/todo/items", w.daemon(), ""); r.StatusCode != 200 {
		t.Fatalf("got %d %s, want 200", r.StatusCode, r.body)
	}
	requests := w.idp.Requests()
	if got := requests[len(requests)-1].Path; !strings.HasPrefix(got, "/"+demoTenant+"/") {
		t.Errorf("the token was requested at %s, want tenant %s", got, demoTenant)
	}
}

func TestCredentialAndRegionFromTheEnvironment(t *testing.T) {
	const entry = "clientCredentials: [{sourceType: ClientSecret, clientSecret: s3cret-value}]"
	without := writeConfig(t, strings.Replace(goodConfig, entry, "azureRegion: TryAutoDetect", 1))
	for _, row := range []struct {
		name    string
		environ []string
		want    credential.Config
		region  string
	}{
		{"secret", []string{"AZURE_CLIENT_SECRET=s3cret-value", "REGION_NAME=West Europe"}, credential.Config{SourceType: "ClientSecret", ClientSecret: "s3cret-value"}, "West Europe"},
		{
			"certificate",
			[]string{"AZURE_CLIENT_CERTIFICATE_PATH=/run/client.pfx", "AZURE_CLIENT_CERTIFICATE_PASSWORD=pass", "REGION_NAME=?"},
			credential.Config{SourceType: "Path", CertificateDiskPath: "/run/client.pfx", CertificatePassword: "pass"},
			obo.AutoDetectRegion,
		},
		{"keys alone", []string{"AzureAd__ClientCredentials__0__ClientSecret=own", "AZURE_CLIENT_SECRET=s3cret-value"}, credential.Config{SourceType: "ClientSecret", ClientSecret: "own"}, obo.AutoDetectRegion},
	} {
		f, err := load(without, row.environ)
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		got := f.AzureAd.ClientCredentials
		if len(got) != 1 || got[0].SourceType != row.want.SourceType || got[0].ClientSecret != row.want.ClientSecret ||
			got[0].CertificateDiskPath != row.want.CertificateDiskPath || got[0].CertificatePassword != row.want.CertificatePassword ||
			f.AzureAd.AzureRegion != row.region {
			t.Errorf("%s: got %d credentials and region %q, want the variable's and %q", row.name, len(got), f.AzureAd.AzureRegion, row.region)
		}
	}
	f, err := load(writeConfig(t, goodConfig), []string{"AZURE_CLIENT_SECRET=unused"})
	if err != nil || f.AzureAd.ClientCredentials[0].ClientSecret != "s3cret-value" {
		t.Errorf("beside a configured credential: got %v, want that one", err)
	}
	if _, err := load(without, nil, checkLoading); err == nil || !strings.Contains(err.Error(), "must hold at least one credential") {
		t.Errorf("without variables: got %v, want that a credential is missing", err)
	}
	_, err = load(without, []string{"AZURE_CLIENT_CERTIFICATE_PATH=/nowhere/client.pfx"}, checkLoading)
	if err == nil || !strings.Contains(err.Error(), "(it is from AZURE_CLIENT_CERTIFICATE_PATH)") {
		t.Errorf("with a variable that is wrong: got %v, want its name", err)
	}
}

// A layer of the configuration may leave another kind's key behind.
func TestKeyOfAnotherKindOfCredentialIsAWarning(t *testing.T) {
	path := writeConfig(t,
		strings.Replace(goodConfig, "clientSecret: s3cret-value", "clientSecret: s3cret-value, certificateDiskPath: x.pem", 1))
	f, err := load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	var warnings []string
	f.warn(func(key, text string) { warnings = append(warnings, key+": "+text) })
	if got := strings.Join(warnings, "\n"); !strings.Contains(got,
		"azureAd.clientCredentials[0].certificateDiskPath: has no effect: it does not belong to ClientSecret") {
		t.Errorf("got %q, want a warning of certificateDiskPath", got)
	}
}
