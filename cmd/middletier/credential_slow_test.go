//go:build slow

package main

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"middletier/internal/credential"
	"middletier/internal/mockidp"
	"middletier/internal/testkit/mounttest"
)

// While a credential is replaced, the platform accepts the old and the new one. No
// request fails, and the new one is soon in use.
func TestSlowCredentialIsReplacedUnderTraffic(t *testing.T) {
	const freshSecret = "another-client-secret-that-must-not-be-seen"
	oldCertificate, oldPath := newCertificate(t)
	freshCertificate, freshPath := newCertificate(t)
	content := func(path string) string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	directory := testDirectory()
	directory.Apps[0].Secrets = append(directory.Apps[0].Secrets, freshSecret)
	directory.Apps[0].Certificates = slices.Concat(oldCertificate, freshCertificate)
	for _, row := range []struct {
		name       string
		old, fresh string // contents of the file
		credential func(path string) credential.Config
		isFresh    func(exchange mockidp.Request) bool
	}{
		{
			"secret", testSecret, freshSecret,
			func(path string) credential.Config {
				return credential.Config{SourceType: "ClientSecret", ClientSecretFile: path}
			},
			func(r mockidp.Request) bool { return r.Form.Get("client_secret") == freshSecret },
		},
		{
			"certificate", content(oldPath), content(freshPath),
			func(path string) credential.Config {
				return credential.Config{SourceType: "Path", CertificateDiskPath: path}
			},
			func(r mockidp.Request) bool {
				assertion := r.Form.Get("client_assertion")
				_, err := jwt.Parse(assertion, func(*jwt.Token) (any, error) { return freshCertificate[0].PublicKey, nil })
				return assertion != "" && err == nil
			},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			mount := mounttest.New(t, row.old)
			w := newStoppedWorldOf(t, directory, func(f *file) {
				f.AzureAd.ClientCredentials = []credential.Config{row.credential(mount.Path())}
			}, unhurried)
			w.startReady()
			traffic := w.startTraffic()
			// fresh counts the exchanges with the new credential among the last n.
			fresh := func(n int) (count int) {
				var exchanges []mockidp.Request
				for _, r := range w.idp.Requests() {
					if r.Flow == "on_behalf_of" {
						exchanges = append(exchanges, r)
					}
				}
				for _, r := range exchanges[max(len(exchanges)-n, 0):] {
					if row.isFresh(r) {
						count++
					}
				}
				return count
			}
			traffic.awaitAnswers(t, trafficRate)
			if got := fresh(trafficRate); got > 0 {
				t.Errorf("%d exchanges with the new credential before it is there", got)
			}
			mount.Replace(row.fresh)
			replaced := time.Now()
			eventually(t, func() bool { // sooner than in the 30 s of the promise
				traffic.awaitAnswers(t, maxRunning/2)
				return fresh(maxRunning/2) == maxRunning/2
			}, func() string { return "the new credential is not used" })
			t.Logf("the new credential was in use after %v at the most", time.Since(replaced))
			traffic.awaitAnswers(t, trafficRate)
			if got := fresh(trafficRate / 2); got != trafficRate/2 {
				t.Errorf("%d of the last %d exchanges used the new credential, want all", got, trafficRate/2)
			}
			traffic.stop()
			if log := w.log.String(); strings.Contains(log, testSecret) || strings.Contains(log, freshSecret) ||
				strings.Contains(log, "PRIVATE KEY") {
				t.Error("a credential is logged")
			}
		})
	}
}
