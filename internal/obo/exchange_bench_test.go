package obo_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"middletier/internal/obo"
	"middletier/internal/testkit/certtest"
)

// platformVariable makes the test binary the identity platform of BenchmarkExchange.
const platformVariable = "MIDDLETIER_TEST_PLATFORM"

func TestMain(m *testing.M) {
	if os.Getenv(platformVariable) != "" {
		server := httptest.NewTLSServer(http.HandlerFunc(answerExchange))
		fmt.Println(server.URL)
		_, _ = io.Copy(io.Discard, os.Stdin) // until the benchmark ends
		return
	}
	os.Exit(m.Run())
}

// exchangeRounds is how often MSAL and the cache take turns.
const exchangeRounds = 10

// BenchmarkExchange compares a token that must come from the platform with MSAL's
// AcquireTokenOnBehalfOf, 16 at once on each core. The platform is a process of its own, so
// that only the client's side counts. The users are new each time. MSAL has a new client with
// an empty cache in each turn, which has read the platform's metadata; both send the same
// client capabilities and use the same connection settings. The users' ids are GUIDs, as the
// platform's are.
func BenchmarkExchange(b *testing.B) {
	url := startPlatformProcess(b)
	trusted := trustingClient(certtest.Loopback().Pool())
	k := start(b, func(c *obo.Config, keep *obo.CacheConfig) {
		largeCache(c, keep)
		c.Instance, c.Client = url+"/", trusted
	})
	var serial atomic.Int64
	next := func() string { return fmt.Sprintf("%01400d", serial.Add(1)) } // makes tokens of the usual size
	ours := func() error {
		a := user(next())
		a.ObjectID = fmt.Sprintf("%08d-0000-4000-8000-000000000000", serial.Load()) // two may be the same
		got, err := k.cache.OnBehalfOf(b.Context(), a, todo, obo.Challenge{})
		if err == nil && got.Origin != obo.IdentityProvider {
			err = fmt.Errorf("from %s", got.Origin)
		}
		return err
	}
	for round := range exchangeRounds {
		msal := newPeerMSAL(b, url, trusted)
		theirs := func() error {
			token := "eyJhbGciOiJSUzI1NiJ9." + next() + ".signature" // as user's, without its digest
			_, err := msal.AcquireTokenOnBehalfOf(b.Context(), token, todo)
			return err
		}
		cpu := map[string]float64{}
		for _, way := range []struct {
			name string
			do   func() error
		}{{"msal", theirs}, {"middletier", ours}} {
			if err := way.do(); err != nil { // it reads the metadata, and opens a connection
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("by=%s/round=%d", way.name, round), func(b *testing.B) {
				cpu[way.name] = measureParallel(b, way.do)
				if cpu["msal"] > 0 { // -bench did not leave it out
					b.ReportMetric(cpu[way.name]/cpu["msal"], "x-msal")
				}
			})
		}
	}
}

// newPeerMSAL returns a client of MSAL's as its documentation shows, with the settings of ours.
func newPeerMSAL(b *testing.B, url string, client *http.Client) confidential.Client {
	secret, err := confidential.NewCredFromSecret(ourSecret)
	if err != nil {
		b.Fatal(err)
	}
	msal, err := confidential.New(url+"/"+ourTenant, ourClient, secret,
		confidential.WithHTTPClient(client), confidential.WithInstanceDiscovery(false),
		confidential.WithClientCapabilities([]string{"cp1"}))
	if err != nil {
		b.Fatal(err)
	}
	return msal
}

// startPlatformProcess starts the identity platform, and returns its URL.
func startPlatformProcess(b *testing.B) (url string) {
	binary, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), binary)
	cmd.Env = append(os.Environ(), platformVariable+"=1")
	cmd.Stderr = os.Stderr
	_, inErr := cmd.StdinPipe() // it ends with the benchmark, however that ends
	stdout, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Wait() }) // it was killed
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatalf("the platform does not start: %v", err)
	}
	return strings.TrimSpace(line)
}
