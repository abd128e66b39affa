package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What the chart puts into the ConfigMap is a configuration that the program
// accepts.
func TestChartsConfigurationIsAccepted(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "middletier")
	build := exec.Command("go", "build", "-o", program, "./cmd/middletier")
	build.Dir = "../.."
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for _, file := range valueSets[1:] { // the chart's own values name no API
		r := install(t, file)
		path := filepath.Join(dir, "config.yaml")
		if err := os.WriteFile(path, []byte(r.configs["mt-middletier"].Data["config.yaml"]), 0o600); err != nil {
			t.Fatal(err)
		}
		check := exec.Command(program, "check", "--config", path)
		check.Env = []string{ // as workload identity and the Secret would set them
			"AZURE_TENANT_ID=11111111-1111-4111-8111-111111111111", "AZURE_CLIENT_ID=22222222-2222-4222-8222-222222222222",
			"AZURE_FEDERATED_TOKEN_FILE=/var/run/secrets/azure/tokens/azure-identity-token",
			"TokenCache__Redis__EncryptionKeys__0=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		}
		if file == "small.yaml" {
			check.Env = check.Env[:3]
		}
		if output, err := check.CombinedOutput(); err != nil {
			t.Errorf("with %q: %v\n%s", file, err, output)
		}
	}
}
