package check

import (
	"maps"
	"slices"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

// Whatever the values, the Pod is one that Kubernetes' "restricted" Pod Security
// Standard admits, and it cannot write to its root.
func TestPodIsRestricted(t *testing.T) {
	for _, file := range valueSets {
		r := install(t, file)
		pod, c := r.deployment.Spec.Template.Spec, r.container()
		if s := pod.SecurityContext; !*s.RunAsNonRoot || *s.RunAsUser != 65532 || s.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
			t.Errorf("with %q the Pod's context is %+v", file, s)
		}
		s := c.SecurityContext
		if *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) ||
			s.Capabilities.Add != nil || s.Privileged != nil {
			t.Errorf("with %q the container's context is %+v", file, s)
		}
		if pod.HostNetwork || pod.HostPID || pod.HostIPC || *pod.AutomountServiceAccountToken {
			t.Errorf("with %q the Pod shares more than it needs: %+v", file, pod)
		}
		for _, mount := range c.VolumeMounts {
			if !mount.ReadOnly {
				t.Errorf("with %q %s can be written to", file, mount.MountPath)
			}
		}
		for _, volume := range pod.Volumes {
			if volume.HostPath != nil || volume.Secret != nil && *volume.Secret.DefaultMode != 0o440 {
				t.Errorf("with %q: volume %+v", file, volume)
			}
		}
	}
}

// Every object finds the Pods, and every probe and service a port of theirs.
func TestPartsFindEachOther(t *testing.T) {
	for _, file := range valueSets {
		r := install(t, file)
		labels := r.deployment.Spec.Template.Labels
		selectors := []map[string]string{r.deployment.Spec.Selector.MatchLabels, r.budget.Spec.Selector.MatchLabels}
		if r.policy != nil {
			selectors = append(selectors, r.policy.Spec.PodSelector.MatchLabels)
		}
		for _, spread := range r.deployment.Spec.Template.Spec.TopologySpreadConstraints {
			selectors = append(selectors, spread.LabelSelector.MatchLabels)
		}
		c, ports := r.container(), map[string]bool{}
		for _, port := range c.Ports {
			ports[port.Name] = true
		}
		targets := []intstr.IntOrString{c.LivenessProbe.HTTPGet.Port, c.ReadinessProbe.HTTPGet.Port}
		for _, service := range r.services {
			selectors = append(selectors, service.Spec.Selector)
			for _, port := range service.Spec.Ports {
				targets = append(targets, port.TargetPort)
			}
		}
		for _, selector := range selectors {
			for name, value := range selector {
				if labels[name] != value {
					t.Errorf("with %q a selector wants %s=%s, the Pods have %v", file, name, value, labels)
				}
			}
			if len(selector) < 2 {
				t.Errorf("with %q a selector is %v: it finds others' Pods", file, selector)
			}
		}
		for _, target := range targets {
			if !ports[target.StrVal] {
				t.Errorf("with %q no port is %s", file, target.String())
			}
		}
		if r.accounts[r.deployment.Spec.Template.Spec.ServiceAccountName] == nil {
			t.Errorf("with %q there is no service account %q", file, r.deployment.Spec.Template.Spec.ServiceAccountName)
		}
		if r.scaler != nil && r.scaler.Spec.ScaleTargetRef.Name != r.deployment.Name {
			t.Errorf("with %q the scaler scales %s", file, r.scaler.Spec.ScaleTargetRef.Name)
		}
		if (r.scaler == nil) == (r.deployment.Spec.Replicas == nil) {
			t.Errorf("with %q either the Deployment or the scaler must say how many replicas there are", file)
		}
	}
}

func TestAdminListenerIsOpenForMonitoringOnly(t *testing.T) {
	r := install(t, "")
	if config := r.configs["mt-middletier"].Data["config.yaml"]; !strings.Contains(config, "adminAddress: 127.0.0.1:8081") ||
		len(r.container().Ports) != 1 {
		t.Errorf("by default it is not on loopback:\n%s", config)
	}
	r = install(t, "full.yaml")
	open := false
	for _, rule := range r.policy.Spec.Ingress {
		for _, port := range rule.Ports {
			if port.Port.StrVal == "admin" {
				open = true
				if len(rule.From) != 1 || rule.From[0].NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"] != "monitoring" {
					t.Errorf("the admin listener is open to %+v", rule.From)
				}
			}
		}
	}
	if !open {
		t.Error("nobody reaches the admin listener")
	}
	service := r.services["mt-middletier-metrics"]
	for name, value := range r.monitor.Spec.Selector.MatchLabels {
		if service.Labels[name] != value {
			t.Errorf("the ServiceMonitor wants %s=%s of the service, which has %v", name, value, service.Labels)
		}
	}
	if r.monitor.Spec.Endpoints[0].Port != service.Spec.Ports[0].Name || service.Spec.ClusterIP != "None" {
		t.Errorf("the ServiceMonitor asks port %s of %+v", r.monitor.Spec.Endpoints[0].Port, service.Spec)
	}
	values := valuesOf(t, "full.yaml")
	values["metrics"].(map[string]any)["from"] = []any{} // to a NetworkPolicy: everyone
	if _, err := render(t, values); err == nil || !strings.Contains(err.Error(), "metrics.from") {
		t.Errorf("the admin listener is open to everyone: got %v", err)
	}
	values = valuesOf(t, "full.yaml")
	values["metrics"].(map[string]any)["enabled"] = false
	if _, err := render(t, values); err == nil || !strings.Contains(err.Error(), "metrics.enabled") {
		t.Errorf("a ServiceMonitor of a listener on loopback: got %v", err)
	}
}

func TestPodOutlivesItsRequests(t *testing.T) {
	for file, want := range map[string]struct {
		grace  int64
		config string
	}{"": {20, "shutdownGrace: 15s"}, "full.yaml": {45, "shutdownGrace: 40s"}} {
		r := install(t, file)
		if got := *r.deployment.Spec.Template.Spec.TerminationGracePeriodSeconds; got != want.grace ||
			!strings.Contains(r.configs["mt-middletier"].Data["config.yaml"], want.config) {
			t.Errorf("with %q the Pod has %d s, want %d and %s", file, got, want.grace, want.config)
		}
		if rolling := r.deployment.Spec.Strategy.RollingUpdate; rolling.MaxUnavailable.IntVal != 0 {
			t.Errorf("with %q: %+v", file, rolling)
		}
	}
}

// The Go runtime keeps below nine tenths of the memory that the Pod may take. A
// limit of 0 would have it collect without end.
func TestMemoryLimit(t *testing.T) {
	for memory, want := range map[string]string{"512Mi": "460MiB", "1.5Gi": "1382MiB", "2Gi": "1843MiB", "1G": ""} {
		values := valuesOf(t, "full.yaml")
		values["resources"] = map[string]any{"limits": map[string]any{"memory": memory}}
		files, err := render(t, values)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(files["middletier/templates/deployment.yaml"], "GOMEMLIMIT, value: \"")
		if got, _, _ := strings.Cut(rest, "\""); got != want {
			t.Errorf("with %s: GOMEMLIMIT is %q, want %q", memory, got, want)
		}
	}
}

// A replica that is not ready does not keep its node from being emptied.
func TestBudgetLetsUnreadyPodsGo(t *testing.T) {
	if got := install(t, "").budget.Spec; got.MaxUnavailable.IntVal != 1 || got.UnhealthyPodEvictionPolicy == nil ||
		*got.UnhealthyPodEvictionPolicy != policy.AlwaysAllow {
		t.Errorf("got %+v", got)
	}
}

func TestNewConfigurationRestartsThePods(t *testing.T) {
	sum := func(change func(config map[string]any)) string {
		values := valuesOf(t, "full.yaml")
		change(values["config"].(map[string]any))
		files, err := render(t, values)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(files["middletier/templates/deployment.yaml"], "checksum/config: ")
		return rest[:64]
	}
	same, other := sum(func(map[string]any) {}), sum(func(c map[string]any) { c["logging"] = map[string]any{"level": "debug"} })
	if same == other || same != sum(func(map[string]any) {}) {
		t.Errorf("got %s and %s", same, other)
	}
}

func TestWorkloadIdentity(t *testing.T) {
	r := install(t, "full.yaml")
	if r.accounts["mt-middletier"].Annotations["azure.workload.identity/client-id"] != "33333333-3333-4333-8333-333333333333" ||
		r.deployment.Spec.Template.Labels["azure.workload.identity/use"] != "true" {
		t.Errorf("got %v and %v", r.accounts["mt-middletier"].Annotations, r.deployment.Spec.Template.Labels)
	}
	if r := install(t, "small.yaml"); r.deployment.Spec.Template.Labels["azure.workload.identity/use"] != "" {
		t.Error("it is on though it is not wanted")
	}
}

// Secrets are mounted or taken from a Secret; values that hold one are refused.
func TestValuesHoldNoSecret(t *testing.T) {
	for _, row := range []string{
		`config: {azureAd: {clientCredentials: [{sourceType: ClientSecret, clientSecret: x}]}}`,
		`config: {azureAd: {ClientCredentials: [{sourceType: ClientSecret, ClientSecret: x}]}}`,
		`config: {azureAd: {clientCredentials: [{sourceType: Path, certificatePassword: x}]}}`,
		`config: {azureAd: {clientCredentials: [{sourceType: Base64Encoded, base64EncodedValue: x}]}}`,
		`config: {tokenCache: {redis: {encryptionKeys: [x]}}}`,
		`config: {tokenCache: {redis: {url: "redis://:password@redis"}}}`,
		`config: {tokenCache: {redis: {url: "redis://redis?db=1&password=x"}}}`,
		`env: [{name: AzureAd__ClientCredentials__0__ClientSecret, value: x}]`,
		`env: [{name: TOKENCACHE__REDIS__ENCRYPTIONKEYS__0, value: x}]`,
		`env: [{name: TokenCache__Redis__Url, value: "redis://:password@redis"}]`,
		`config: {server: {address: ":9"}}`,
		`replicas: many`,
		`replica: 3`,
	} {
		values := map[string]any{}
		if err := yaml.Unmarshal([]byte(row), &values); err != nil {
			t.Fatal(err)
		}
		if _, err := render(t, values); err == nil || !strings.Contains(err.Error(), "values don't meet the specifications") {
			t.Errorf("%s: got %v, want it refused", row, err)
		}
	}
	r := install(t, "full.yaml")
	env := map[string]core.EnvVar{}
	for _, e := range r.container().Env {
		env[e.Name] = e
	}
	if key := env["TokenCache__Redis__EncryptionKeys__0"]; key.ValueFrom == nil || key.ValueFrom.SecretKeyRef.Name != "middletier-redis" {
		t.Errorf("the key is taken from %+v", key)
	}
	mounts := map[string]bool{}
	for _, m := range r.container().VolumeMounts {
		mounts[m.MountPath] = true
	}
	for _, want := range []string{"/etc/middletier", "/run/secrets/client", "/run/secrets/redis", "/run/tls", "/run/ca"} {
		if !mounts[want] {
			t.Errorf("%s is not mounted, only %v", want, slices.Collect(maps.Keys(mounts)))
		}
	}
}
