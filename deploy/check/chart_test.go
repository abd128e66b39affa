package check

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	network "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

const chartPath = "../helm/middletier"

// release is what the chart makes of values: its objects, by their names. A kind
// that is not asked for is nil.
type release struct {
	deployment *apps.Deployment
	accounts   map[string]*core.ServiceAccount
	services   map[string]*core.Service
	configs    map[string]*core.ConfigMap
	budget     *policy.PodDisruptionBudget
	scaler     *autoscaling.HorizontalPodAutoscaler
	policy     *network.NetworkPolicy
	monitor    *monitoring.ServiceMonitor
	rule       *monitoring.PrometheusRule
}

// container is the one of the Deployment.
func (r *release) container() core.Container {
	return r.deployment.Spec.Template.Spec.Containers[0]
}

// valuesOf reads a file of values; "" is the chart's own, and of a page it is the
// values that it begins with.
func valuesOf(t *testing.T, file string) map[string]any {
	t.Helper()
	values := map[string]any{}
	if file == "" {
		return values
	}
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(file, ".md") {
		_, text, _ = bytes.Cut(text, []byte("```yaml\n"))
		text, _, _ = bytes.Cut(text, []byte("```"))
	}
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		t.Fatal(err)
	}
	return values
}

// render returns the chart's files, as `helm install mt` would send them.
func render(t *testing.T, values map[string]any) (map[string]string, error) {
	t.Helper()
	chart, err := loader.Load(chartPath)
	if err != nil {
		t.Fatal(err)
	}
	all, err := chartutil.ToRenderValues(chart, values, chartutil.ReleaseOptions{Name: "mt", Namespace: "apis", IsInstall: true}, nil)
	if err != nil {
		return nil, err
	}
	return engine.Render(chart, all)
}

// install renders the chart and reads each object strictly, into Kubernetes' own
// types: a field that is unknown or given twice is an error.
func install(t *testing.T, file string) *release {
	t.Helper()
	files, err := render(t, valuesOf(t, file))
	if err != nil {
		t.Fatal(err)
	}
	r := &release{accounts: map[string]*core.ServiceAccount{}, services: map[string]*core.Service{}, configs: map[string]*core.ConfigMap{}}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if !strings.HasSuffix(path, ".yaml") {
			continue
		}
		for _, text := range strings.Split(files[path], "\n---\n") {
			var kind meta.TypeMeta
			if err := yaml.Unmarshal([]byte(text), &kind); err != nil {
				t.Fatalf("%s: %v\n%s", path, err, text)
			}
			r.add(t, kind, text)
		}
	}
	return r
}

func (r *release) add(t *testing.T, kind meta.TypeMeta, text string) {
	t.Helper()
	into := func(object meta.Object) {
		t.Helper()
		if err := yaml.UnmarshalStrict([]byte(text), object); err != nil {
			t.Errorf("%s: %v\n%s", kind.Kind, err, text)
		}
		if name := object.GetName(); name != "mt-middletier" && !strings.HasPrefix(name, "mt-middletier-") {
			t.Errorf("%s: its name is %q", kind.Kind, name)
		}
	}
	switch kind.APIVersion + " " + kind.Kind {
	case " ":
	case "apps/v1 Deployment":
		r.deployment = &apps.Deployment{}
		into(r.deployment)
	case "v1 ServiceAccount":
		account := &core.ServiceAccount{}
		into(account)
		r.accounts[account.Name] = account
	case "v1 Service":
		service := &core.Service{}
		into(service)
		r.services[service.Name] = service
	case "v1 ConfigMap":
		config := &core.ConfigMap{}
		into(config)
		r.configs[config.Name] = config
	case "policy/v1 PodDisruptionBudget":
		r.budget = &policy.PodDisruptionBudget{}
		into(r.budget)
	case "autoscaling/v2 HorizontalPodAutoscaler":
		r.scaler = &autoscaling.HorizontalPodAutoscaler{}
		into(r.scaler)
	case "networking.k8s.io/v1 NetworkPolicy":
		r.policy = &network.NetworkPolicy{}
		into(r.policy)
	case "monitoring.coreos.com/v1 ServiceMonitor":
		r.monitor = &monitoring.ServiceMonitor{}
		into(r.monitor)
	case "monitoring.coreos.com/v1 PrometheusRule":
		r.rule = &monitoring.PrometheusRule{}
		into(r.rule)
	default:
		t.Errorf("nobody checks a %s %s", kind.APIVersion, kind.Kind)
	}
}

// valueSets are those that the chart is tried with.
var valueSets = []string{"", "full.yaml", "small.yaml", "../../../docs/deployment.md"}

func TestChartIsLinted(t *testing.T) {
	for _, file := range valueSets {
		for _, message := range lint.All(chartPath, valuesOf(t, file), "apis", true).Messages {
			if message.Severity >= support.WarningSev {
				t.Errorf("with %q: %s", file, message)
			}
		}
	}
}
