package check

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// loadCompose reads a compose file, whose services must have those names. The loader
// checks the file against Compose's schema, and that everything it refers to is in it.
func loadCompose(t *testing.T, file string, services ...string) *types.Project {
	t.Helper()
	path, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	project, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir: filepath.Dir(path), ConfigFiles: []types.ConfigFile{{Filename: path}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(slices.Values(project.ServiceNames())); !slices.Equal(got, services) {
		t.Fatalf("services: got %v, want %v", got, services)
	}
	for name, service := range project.Services {
		if !service.ReadOnly || len(service.CapDrop) != 1 || service.CapDrop[0] != "ALL" || service.Privileged {
			t.Errorf("%s may do more than it needs", name)
		}
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s can be reached from elsewhere", name, port.Published)
			}
		}
		for other, dependency := range service.DependsOn {
			if dependency.Condition != types.ServiceConditionHealthy || project.Services[other].HealthCheck == nil {
				t.Errorf("%s does not wait until %s is healthy", name, other)
			}
		}
	}
	return project
}

func TestComposeFileIsGood(t *testing.T) {
	loadCompose(t, "../compose.yaml", "middletier", "mock", "redis")
}
