package check

import (
	"os"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"sigs.k8s.io/yaml"
)

// Each alert is given series as Prometheus would have scraped them every 30 s, in
// promtool's notation: 0+60x240 begins at 0 and grows by 60, 240 times. It fires
// where its expression has been true for its time at the end of two hours.
func TestAlertsFire(t *testing.T) {
	const (
		server      = `http_server_request_duration_seconds_count{namespace="apis", job="mt", http_route="/api/{name}/{path…}", http_response_status_code=`
		tokens      = `middletier_token_requests_total{namespace="apis", job="mt", flow="on_behalf_of", `
		exchanges   = `middletier_token_exchange_duration_seconds_count{namespace="apis", job="mt", flow="on_behalf_of", outcome=`
		validations = `middletier_token_validations_total{namespace="apis", job="mt", result=`
	)
	file, err := os.ReadFile("../prometheus/middletier.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var groups rulefmt.RuleGroups
	if err := yaml.Unmarshal(file, &groups); err != nil {
		t.Fatal(err)
	}
	rules := map[string]rulefmt.Rule{}
	for _, rule := range groups.Groups[0].Rules {
		rules[rule.Alert] = rule
	}
	of := func(name string) string { return name + `{namespace="apis", job="mt", instance="a"} ` }
	for _, row := range []struct {
		name, alert string
		series      []string
		fires       bool
	}{
		{"nothing is called", "MiddletierErrors", nil, false},
		{"all goes well", "MiddletierErrors", []string{server + `"200"} 0+60x240`}, false},
		{"a few of many", "MiddletierErrors", []string{server + `"200"} 0+60x240`, server + `"502", error_type="downstream-unreachable"} 0+1x240`}, false},
		{"a fifth", "MiddletierErrors", []string{server + `"200"} 0+48x240`, server + `"502", error_type="downstream-unreachable"} 0+12x240`}, true},
		{"a fifth breaks off", "MiddletierErrors", []string{server + `"200"} 0+48x240`, server + `"200", error_type="downstream-broke-off"} 0+12x240`}, true},
		{"an API that answers 404 only", "MiddletierErrors", []string{server + `"404"} 0+60x240`}, false},
		{"once, long ago", "MiddletierMisconfigured", []string{tokens + `source="identity_provider", outcome="misconfigured"} 0 1x239`}, false},
		{"again and again", "MiddletierMisconfigured", []string{tokens + `source="identity_provider", outcome="misconfigured"} 0+1x240`}, true},
		{"the provider does not answer", "MiddletierProviderUnavailable", []string{exchanges + `"ok"} 0+60x120 7200x120`, exchanges + `"unavailable"} 0x120 0+60x120`}, true},
		{"users must act", "MiddletierProviderUnavailable", []string{exchanges + `"ok"} 0+1x240`, exchanges + `"interaction_required"} 0+60x240`}, false},
		{"a process of an hour", "MiddletierSigningKeysNotRefreshed", []string{of("middletier_signing_keys_age_seconds") + `_x120 0+30x119`, `middletier_signing_key_refreshes_total{namespace="apis", job="mt", instance="a", outcome="ok"} _x120 2x119`}, false},
		{"hourly", "MiddletierSigningKeysNotRefreshed", []string{of("middletier_signing_keys_age_seconds") + `0+30x119 0+30x120`, `middletier_signing_key_refreshes_total{namespace="apis", job="mt", instance="a", outcome="ok"} 2x119 4x120`}, false},
		{"four hours old", "MiddletierSigningKeysNotRefreshed", []string{of("middletier_signing_keys_age_seconds") + `7200+30x240`, `middletier_signing_key_refreshes_total{namespace="apis", job="mt", instance="a", outcome="ok"} 2x240`}, true},
		{"never had", "MiddletierSigningKeysNotRefreshed", []string{`middletier_signing_key_refreshes_total{namespace="apis", job="mt", instance="a", outcome="ok"} 0x240`, `middletier_signing_key_refreshes_total{namespace="apis", job="mt", instance="a", outcome="failed"} 0+6x240`}, true},
		{"most are expired", "MiddletierTokensRefused", []string{validations + `"accepted"} 0+1x240`, validations + `"expired"} 0+9x240`}, true},
		{"there are no keys to check with", "MiddletierTokensRefused", []string{validations + `"accepted"} 0+1x240`, validations + `"keys_unavailable"} 0+9x240`}, false},
		{"in a week", "MiddletierCredentialExpires", []string{of("middletier_credential_expiry_timestamp_seconds") + `604800x240`}, true},
		{"in a year", "MiddletierCredentialExpires", []string{of("middletier_credential_expiry_timestamp_seconds") + `31536000x240`}, false},
		{"there is none", "MiddletierRedisFails", []string{of("middletier_redis_errors_total") + `0x240`}, false},
		{"is well", "MiddletierRedisFails", []string{of("middletier_redis_up") + `1x240`, of("middletier_redis_errors_total") + `3x240`}, false},
		// A Redis that is left alone fails no operation any more.
		{"is down", "MiddletierRedisFails", []string{of("middletier_redis_up") + `1x120 0x119`, of("middletier_redis_errors_total") + `0x120 5x119`}, true},
		{"is slow", "MiddletierRedisFails", []string{of("middletier_redis_up") + `1x240`, of("middletier_redis_errors_total") + `0+30x240`}, true},
		{"all that comes goes", "MiddletierCacheTooSmall", []string{tokens + `source="identity_provider", outcome="ok"} 0+60x240`, of("middletier_cache_evictions_total") + `0+60x240`}, true},
		{"a few go", "MiddletierCacheTooSmall", []string{tokens + `source="identity_provider", outcome="ok"} 0+60x240`, of("middletier_cache_evictions_total") + `0+6x240`}, false},
		// What Redis brings is put into memory as well.
		{"a few go of what Redis brings", "MiddletierCacheTooSmall", []string{tokens + `source="identity_provider", outcome="ok"} 0+1x240`, tokens + `source="redis", outcome="ok"} 0+60x240`, of("middletier_cache_evictions_total") + `0+6x240`}, false},
		{"one is left", "MiddletierDown", []string{`up{job="mt-middletier-metrics", instance="a"} 0x240`, `up{job="mt-middletier-metrics", instance="b"} 1x240`}, false},
		{"none is left", "MiddletierDown", []string{`up{job="mt-middletier-metrics", instance="a"} 0x240`, `up{job="mt-middletier-metrics", instance="b"} 0x240`}, true},
	} {
		if got := fires(t, rules[row.alert], row.series); got != row.fires {
			t.Errorf("%s: %s: fires is %v, want %v", row.alert, row.name, got, row.fires)
		}
	}
}

// fires reports whether an alert is firing after two hours of series.
func fires(t *testing.T, rule rulefmt.Rule, descriptions []string) bool {
	t.Helper()
	var held []storage.Series
	for _, description := range descriptions {
		metric, values, err := parser.NewParser(parser.Options{}).ParseSeriesDesc(description)
		if err != nil {
			t.Fatalf("%v in %s", err, description)
		}
		series := promql.Series{Metric: metric}
		for i, value := range values {
			if !value.Omitted {
				series.Floats = append(series.Floats, promql.FPoint{T: int64(i) * 30_000, F: value.Value})
			}
		}
		held = append(held, promql.NewStorageSeries(series))
	}
	find := func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
		found := &seriesSet{SeriesSet: storage.EmptySeriesSet()}
		for _, series := range held {
			if matches(series.Labels(), matchers) {
				found.all = append(found.all, series)
			}
		}
		return found
	}
	queryable := &storage.MockQueryable{MockQuerier: &storage.MockQuerier{SelectMockFunction: find}}
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1 << 20, Timeout: time.Minute})
	defer engine.Close()
	end := time.Unix(0, 0).Add(2 * time.Hour)
	for at := end.Add(-time.Duration(rule.For)); !at.After(end); at = at.Add(time.Minute) {
		query, err := engine.NewInstantQuery(t.Context(), queryable, nil, rule.Expr, at)
		if err != nil {
			t.Fatal(err)
		}
		found, err := query.Exec(t.Context()).Vector()
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 0 {
			return false
		}
	}
	return true
}

func matches(metric labels.Labels, matchers []*labels.Matcher) bool {
	for _, m := range matchers {
		if !m.Matches(metric.Get(m.Name)) {
			return false
		}
	}
	return true
}

// seriesSet goes through series that were found.
type seriesSet struct {
	storage.SeriesSet // empty: there are neither errors nor warnings
	all               []storage.Series
	next              int
}

func (s *seriesSet) Next() bool { s.next++; return s.next <= len(s.all) }

func (s *seriesSet) At() storage.Series { return s.all[s.next-1] }
