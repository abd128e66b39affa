package check

import (
	"encoding/json"
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

const operations = "../../docs/operations.md"

// metricRow is a row of the table of metrics: a name, and its labels.
var metricRow = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|([^|]*)\\|")

// documented returns the labels of every metric of docs/operations.md, by the name
// of its series. Prometheus adds some of its own.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "## Metrics")
	table, _, _ = strings.Cut(table, "\n## ")
	metrics := map[string][]string{"up": {"job"}}
	for _, row := range metricRow.FindAllStringSubmatch(table, -1) {
		names := []string{row[1]}
		if strings.HasSuffix(row[1], "_duration_seconds") {
			names = []string{row[1] + "_bucket", row[1] + "_count", row[1] + "_sum"}
		}
		for _, name := range names {
			metrics[name] = append(strings.Fields(strings.NewReplacer("`", "", ",", "").Replace(row[2])), "namespace", "job", "instance", "le")
		}
	}
	if len(metrics) < 12 {
		t.Fatalf("the table has only %d metrics", len(metrics))
	}
	return metrics
}

// checkQuery reports metrics and labels in a query that /metrics does not have.
func checkQuery(t *testing.T, where, query string) {
	t.Helper()
	// Grafana puts a duration for its variable.
	query = strings.ReplaceAll(query, "$__rate_interval", "5m")
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		t.Errorf("%s: %v in %s", where, err, query)
		return
	}
	metrics := documented(t)
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		known, ok := metrics[selector.Name]
		if !ok {
			t.Errorf("%s: no metric %s", where, selector.Name)
		}
		var used []string
		for _, matcher := range selector.LabelMatchers {
			used = append(used, matcher.Name)
		}
		for _, above := range path {
			if aggregate, ok := above.(*parser.AggregateExpr); ok {
				used = append(used, aggregate.Grouping...)
			}
		}
		for _, label := range used {
			if label != model.MetricNameLabel && !slices.Contains(known, label) {
				t.Errorf("%s: %s has no label %s", where, selector.Name, label)
			}
		}
		return nil
	})
}

func TestAlertsAreGoodRules(t *testing.T) {
	file, err := os.ReadFile("../prometheus/middletier.yaml")
	if err != nil {
		t.Fatal(err)
	}
	groups, errs := rulefmt.Parse(file, false, model.LegacyValidation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if errs != nil {
		t.Fatal(errs)
	}
	text, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range groups.Groups[0].Rules {
		checkQuery(t, rule.Alert, rule.Expr)
		if want := "docs/operations.md#" + strings.ToLower(rule.Alert); rule.Annotations["runbook"] != want ||
			!strings.Contains(string(text), "\n### "+rule.Alert+"\n") {
			t.Errorf("%s: its runbook is %q, want %q and a heading there", rule.Alert, rule.Annotations["runbook"], want)
		}
		if rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" || rule.For == 0 {
			t.Errorf("%s lacks its severity, its summary or its time", rule.Alert)
		}
	}

	// The chart makes a PrometheusRule of the same.
	var source, made any
	if err := yaml.Unmarshal(file, &source); err != nil {
		t.Fatal(err)
	}
	spec, err := yaml.Marshal(install(t, "full.yaml").rule.Spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(spec, &made); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(source, made) {
		t.Errorf("the PrometheusRule is\n%s", spec)
	}
}

func TestDashboardShowsWhatThereIs(t *testing.T) {
	file, err := os.ReadFile("../grafana/middletier.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			ID          int
			Type, Title string
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct{ Expr, RefID string }
		}
	}
	if err := json.Unmarshal(file, &dashboard); err != nil {
		t.Fatal(err)
	}
	ids, queries, shown := map[int]bool{}, 0, ""
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] || panel.GridPos.X+panel.GridPos.W > 24 || panel.GridPos.W == 0 {
			t.Errorf("%s: id %d, place %+v", panel.Title, panel.ID, panel.GridPos)
		}
		ids[panel.ID] = true
		for _, target := range panel.Targets {
			queries++
			shown += target.Expr
			checkQuery(t, panel.Title, target.Expr)
		}
		if panel.Type != "row" && len(panel.Targets) == 0 {
			t.Errorf("%s shows nothing", panel.Title)
		}
	}
	if queries < 15 {
		t.Errorf("only %d queries", queries)
	}
	for metric := range documented(t) {
		name := strings.NewReplacer("_bucket", "", "_count", "", "_sum", "").Replace(metric)
		if name != "up" && name != "middletier_build_info" && !strings.Contains(shown, name) {
			t.Errorf("no panel shows %s", name)
		}
	}
	got := install(t, "full.yaml").configs["mt-middletier-dashboard"].Data["middletier.json"]
	if strings.TrimSpace(got) != strings.TrimSpace(string(file)) {
		t.Error("the chart's dashboard is another")
	}
}
