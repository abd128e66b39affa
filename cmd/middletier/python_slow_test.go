//go:build slow

package main

import (
	"bytes"
	"crypto/sha1"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	"middletier/internal/testkit/certtest"
	"middletier/internal/testkit/tooltest"
	"middletier/internal/todo"
)

// python is where the programs of clients in Python are.
const python = "../../clients/python"

// installPython makes clients/python/.venv, with the packages that requirements.txt names,
// unless it is there. pip gets them from its cache or its index.
var installPython = sync.OnceValue(func() error {
	requirements, err := os.ReadFile(filepath.Join(python, "requirements.txt"))
	if err != nil {
		return err
	}
	environment := filepath.Join(python, ".venv")
	installed := filepath.Join(environment, "installed-requirements.txt")
	if was, err := os.ReadFile(installed); err == nil && bytes.Equal(was, requirements) {
		return nil
	}
	for _, args := range [][]string{
		{"python3", "-m", "venv", "--clear", environment},
		{
			filepath.Join(environment, "bin", "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
			"--no-compile", "--require-hashes", "--only-binary", ":all:", "-r", filepath.Join(python, "requirements.txt"),
		},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf(
				"%q: %w: it needs CPython 3.11 to 3.13 with python3-venv (apt-get install python3-venv) and, the first time, the network\n%s",
				args, err, out)
		}
	}
	return os.WriteFile(installed, requirements, 0o644)
})

// pythonClient returns the command that runs Python with these arguments, for programs of
// clients/python.
func pythonClient(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	tooltest.Find(t, "python3", "python3-venv")
	if err := installPython(); err != nil {
		t.Fatal(err)
	}
	environment, err := filepath.Abs(filepath.Join(python, ".venv"))
	if err != nil {
		t.Fatal(err)
	}
	program := exec.CommandContext(t.Context(), filepath.Join(environment, "bin", "python"), args...)
	program.Env = append(os.Environ(), "PYTHONPYCACHEPREFIX="+filepath.Join(environment, "compiled"))
	return program
}

// runClient runs a program to its end, with more variables in its environment, and returns
// what it prints.
func runClient(t *testing.T, program *exec.Cmd, environment ...string) string {
	t.Helper()
	program.Env = append(program.Environ(), environment...)
	out, err := program.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", program.Args, err, out)
	}
	return string(out)
}

// environment returns the variables that tell programs in other languages where everything
// is, and of a daemon with a certificate. People sign in for them.
func (s *stack) environment(t *testing.T) []string {
	t.Helper()
	robot, dir := s.addRobot(), t.TempDir()
	certificate, key := filepath.Join(dir, "robot.pem"), filepath.Join(dir, "robot.key")
	writeTo(t, certificate, string(robot.CertificatePEM()))
	writeTo(t, key, string(robot.KeyPEM()))
	return []string{
		"PLATFORM=" + s.platform, "SERVICE=" + s.service, "TODO=" + s.todo, "PEOPLE=" + s.startPeople(t),
		"ROBOT_CLIENT_ID=" + robotID, "ROBOT_CERTIFICATE=" + certificate, "ROBOT_KEY=" + key,
		fmt.Sprintf("ROBOT_THUMBPRINT=%X", sha1.Sum(robot.Certificate.Raw)),
	}
}

// robotID is the client ID of a daemon that tests register.
const robotID = "99999999-9999-4999-8999-999999999999"

// addRobot registers the daemon of these tests, and returns its certificate.
func (s *stack) addRobot() certtest.Pair {
	s.t.Helper()
	return s.registerDaemon("robot", robotID, todo.AppPermissions...)
}

// The libraries of Python get tokens that the middle tier accepts, in every way that they
// have.
func TestSlowClientsInPython(t *testing.T) {
	s := startStack(t)
	s.addItems()
	program := pythonClient(t, "-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider", python)
	runClient(t, program, append(s.environment(t), "REQUESTS_CA_BUNDLE="+s.ca)...)
}

// problemsChecked is what clients/python/problems.py prints at its end.
var problemsChecked = regexp.MustCompile(`problem documents checked: (\d+)`)

// The service answers as its description says, whatever schemathesis makes of it, and each
// of its problem documents is of a type that the description holds.
func TestSlowDescriptionHoldsForSchemathesis(t *testing.T) {
	s := startStack(t)
	folder, err := filepath.Abs(python)
	if err != nil {
		t.Fatal(err)
	}
	program := pythonClient(t, filepath.Join(folder, ".venv", "bin", "schemathesis"),
		"--config-file", filepath.Join(folder, "schemathesis.toml"), "run", s.service+"/openapi.json", "--no-color")
	program.Dir = t.TempDir() // it writes files
	out := runClient(t, program, "PYTHONPATH="+folder, "USER_TOKEN="+s.token("alice"), "APP_TOKEN="+s.token("daemon"))
	if checked := problemsChecked.FindStringSubmatch(out); checked == nil || len(checked[1]) < 3 {
		t.Errorf("got %q problem documents, want 100 or more:\n%s", checked, out)
	}
}
