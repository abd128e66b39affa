//go:build slow

package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"middletier/internal/testkit/tooltest"
)

// javaFolder is where the programs of clients in Java are.
const javaFolder = "../../clients/java"

// installJava has Maven copy the libraries that pom.xml names into clients/java/target/jars,
// unless they are there. Maven gets them from its local repository or its remote one.
var installJava = sync.OnceValue(func() error {
	if checkJars() == nil {
		return nil
	}
	maven := exec.Command("mvn", "dependency:copy-dependencies")
	maven.Dir = javaFolder
	if out, err := maven.CombinedOutput(); err != nil {
		return fmt.Errorf("mvn in clients/java: %w: it needs, the first time, the network\n%s", err, out)
	}
	return checkJars()
})

// checkJars compares the libraries with the hashes in jars.sha256. Maven has no lock file.
func checkJars() error {
	list, err := os.ReadFile(filepath.Join(javaFolder, "jars.sha256"))
	if err != nil {
		return err
	}
	want := map[string]string{}
	for line := range strings.Lines(string(list)) {
		hash, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		want[name] = hash
	}
	jars, err := filepath.Glob(filepath.Join(javaFolder, "target", "jars", "*"))
	if err != nil || len(jars) != len(want) {
		return fmt.Errorf("clients/java/target/jars has %q, and jars.sha256 lists %d (%w)", jars, len(want), err)
	}
	var errs []error
	for _, path := range jars {
		jar, err := os.ReadFile(path)
		if got := fmt.Sprintf("%x", sha256.Sum256(jar)); err != nil || got != want[filepath.Base(path)] {
			errs = append(errs, fmt.Errorf("%s has the hash %s, which jars.sha256 does not list (%w)", path, got, err))
		}
	}
	return errors.Join(errs...)
}

// javaClient returns the command that runs a source file with the libraries of clients/java.
// It trusts the platform's CA.
func (s *stack) javaClient(t *testing.T, source string) *exec.Cmd {
	t.Helper()
	tooltest.Find(t, "mvn", "maven")
	tooltest.Find(t, "javac", "default-jdk-headless")
	if err := installJava(); err != nil {
		t.Fatal(err)
	}
	const password = "changeit" // it protects nothing: the certificate is public
	store := filepath.Join(t.TempDir(), "ca.p12")
	runClient(t, exec.CommandContext(t.Context(), "keytool", "-importcert", "-noprompt", "-alias", "platform",
		"-file", s.ca, "-keystore", store, "-storepass", password))
	return exec.CommandContext(t.Context(), "java", "-Djavax.net.ssl.trustStore="+store, "-Djavax.net.ssl.trustStorePassword="+password,
		"-cp", filepath.Join(javaFolder, "target", "jars", "*"), source)
}

// MSAL for Java gets tokens that the middle tier accepts, in every way that it has.
func TestSlowClientsInJava(t *testing.T) {
	s := startStack(t)
	s.addItems()
	runClient(t, s.javaClient(t, filepath.Join(javaFolder, "MsalFlows.java")), s.environment(t)...)
}
