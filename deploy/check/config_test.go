package check

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// folder is for the program's binary.
var folder string

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "middletier"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(folder) // at worst, a file stays in a temporary folder
	os.Exit(code)
}

// built returns the path of the program's binary.
var built = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(folder, "middletier")
	build := exec.Command("go", "build", "-o", binary, "./cmd/middletier")
	build.Dir = "../.."
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, output)
	}
	return binary, nil
})

// program runs the program in an empty folder, with no other environment.
func program(t *testing.T, environ []string, args ...string) (output []byte, err error) {
	t.Helper()
	binary, err := built()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(binary, args...)
	command.Dir, command.Env = t.TempDir(), append([]string{}, environ...)
	return command.CombinedOutput()
}

// What the chart puts into the ConfigMap is a configuration that the program
// accepts.
func TestChartsConfigurationIsAccepted(t *testing.T) {
	for _, file := range valueSets[1:] { // the chart's own values name no API
		r := install(t, file)
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte(r.configs["mt-middletier"].Data["config.yaml"]), 0o600); err != nil {
			t.Fatal(err)
		}
		environ := []string{ // as workload identity and the Secret would set them
			"AZURE_TENANT_ID=11111111-1111-4111-8111-111111111111", "AZURE_CLIENT_ID=22222222-2222-4222-8222-222222222222",
			"AZURE_FEDERATED_TOKEN_FILE=/var/run/secrets/azure/tokens/azure-identity-token",
			"TokenCache__Redis__EncryptionKeys__0=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		}
		if file == "small.yaml" {
			environ = environ[:3]
		}
		if output, err := program(t, environ, "check", "--config", path); err != nil {
			t.Errorf("with %q: %v\n%s", file, err, output)
		}
	}
}
