package check

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// renderAgent returns what is sent for the chart of an agent, of which ours is a
// dependency. more are values of ours.
func renderAgent(t *testing.T, more map[string]any) (map[string]string, error) {
	t.Helper()
	load := func(path string) *chart.Chart {
		c, err := loader.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	agent := load("testdata/agent")
	agent.AddDependency(load(chartPath))
	values := map[string]any{"middletier": more}
	if err := chartutil.ProcessDependenciesWithMerge(agent, values); err != nil {
		t.Fatal(err)
	}
	all, err := chartutil.ToRenderValues(agent, values, chartutil.ReleaseOptions{Name: "mt", Namespace: "apis", IsInstall: true}, nil)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(agent, all)
	for path, text := range files {
		if strings.TrimSpace(text) == "" || strings.HasSuffix(path, ".txt") {
			delete(files, path)
		}
	}
	return files, err
}

// installAgent returns the agent's Deployment and our ConfigMap, which is all there is.
func installAgent(t *testing.T, more map[string]any) (agent apps.Deployment, config core.ConfigMap) {
	t.Helper()
	files, err := renderAgent(t, more)
	if err != nil {
		t.Fatal(err)
	}
	for path, object := range map[string]any{
		"agent/templates/deployment.yaml":                  &agent,
		"agent/charts/middletier/templates/configmap.yaml": &config,
	} {
		if err := yaml.UnmarshalStrict([]byte(files[path]), object); err != nil {
			t.Fatalf("%s: %v\n%s", path, err, files[path])
		}
		delete(files, path)
	}
	if len(files) > 0 {
		t.Errorf("there is more than a ConfigMap: %v", slices.Sorted(maps.Keys(files)))
	}
	return agent, config
}

// In a Pod of somebody else's, the container brings all that it needs, and nothing that
// the Pod's other containers could have.
func TestSidecarIsAContainerOfAnotherPod(t *testing.T) {
	agent, config := installAgent(t, map[string]any{})
	pod := agent.Spec.Template.Spec
	c := pod.InitContainers[0]
	if c.RestartPolicy == nil || *c.RestartPolicy != core.ContainerRestartPolicyAlways {
		t.Errorf("it ends before the agent starts: restartPolicy is %v", c.RestartPolicy)
	}
	if s := c.SecurityContext; !*s.RunAsNonRoot || *s.RunAsUser != 65532 || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem ||
		!slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) || s.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
		t.Errorf("its context is %+v", s)
	}
	for what, probe := range map[string]*core.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe} {
		if probe.HTTPGet.Path != "/healthz" || probe.HTTPGet.Port.StrVal != c.Ports[0].Name {
			t.Errorf("%s probe: got %+v", what, probe.HTTPGet)
		}
	}
	volumes := map[string]core.Volume{}
	for _, volume := range pod.Volumes {
		if !strings.HasPrefix(volume.Name, "middletier-") {
			t.Errorf("the volume %s may be one of the agent's", volume.Name)
		}
		volumes[volume.Name] = volume
	}
	for _, mount := range c.VolumeMounts {
		if _, ok := volumes[mount.Name]; !ok || !mount.ReadOnly {
			t.Errorf("%s: %+v", mount.MountPath, mount)
		}
	}
	if got := volumes["middletier-config"].ConfigMap.Name; got != config.Name {
		t.Errorf("the configuration: got %s, want %s", got, config.Name)
	}
	if got := *volumes["middletier-secret-client"].Secret.DefaultMode; got != 0o444 {
		t.Errorf("the mode of the secret: got %o, want one that another user can read: the Pod's group is not ours to set", got)
	}
	for _, want := range []string{`address: "off"`, `adminAddress: "off"`, `sidecarAddress: :5178`} {
		if text := config.Data["config.yaml"]; !strings.Contains(text, want) {
			t.Errorf("the configuration has no %s:\n%s", want, text)
		}
	}
	agent, _ = installAgent(t, map[string]any{"sidecar": map[string]any{"native": false}})
	if policy := agent.Spec.Template.Spec.InitContainers[0].RestartPolicy; policy != nil {
		t.Errorf("without native: restartPolicy is %v, which only initContainers may have", *policy)
	}
}

func TestSidecarHasNeitherTLSNorMetrics(t *testing.T) {
	for key, value := range map[string]any{"tls": map[string]any{"secretName": "x"}, "metrics": map[string]any{"enabled": true}} {
		if _, err := renderAgent(t, map[string]any{key: value}); err == nil || !strings.Contains(err.Error(), "not for a sidecar") {
			t.Errorf("with %s: got %v, want it refused", key, err)
		}
	}
}

func TestSidecarsConfigurationIsAccepted(t *testing.T) {
	_, config := installAgent(t, map[string]any{})
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(config.Data["config.yaml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	if output, err := program(t, nil, "check", "--config", path); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

// The agent of the compose file shares the sidecar's network: to the sidecar, it is on
// this machine.
func TestComposeFileOfTheSidecar(t *testing.T) {
	project := loadCompose(t, "../compose-sidecar.yaml", "agent", "mock", "sidecar")
	if got := project.Services["agent"].NetworkMode; got != "service:sidecar" {
		t.Errorf("the agent's network: got %q, want the sidecar's", got)
	}
	sidecar := project.Services["sidecar"]
	if len(sidecar.Ports) > 0 {
		t.Errorf("the sidecar can be reached from outside: %v", sidecar.Ports)
	}
	var environ []string
	for name, value := range sidecar.Environment {
		environ = append(environ, name+"="+*value)
	}
	environ = slices.DeleteFunc(environ, func(variable string) bool { return strings.HasPrefix(variable, "SSL_CERT_FILE=") })
	if output, err := program(t, environ, "check"); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}
