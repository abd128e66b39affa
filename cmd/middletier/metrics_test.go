package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"middletier/internal/credential"
	"middletier/internal/mockidp"
	"middletier/internal/telemetry"
	"middletier/internal/testkit/redistest"
)

// promised are the metrics of the contract, by the name that is scraped.
var promised = []string{
	"http_server_request_duration_seconds_bucket", "http_client_request_duration_seconds_bucket",
	"middletier_token_requests_total", "middletier_token_exchange_duration_seconds_bucket",
	"middletier_token_validations_total", "middletier_cache_entries", "middletier_cache_bytes",
	"middletier_cache_evictions_total", "middletier_signing_key_refreshes_total",
	"middletier_credential_expiry_timestamp_seconds", "middletier_redis_errors_total",
}

// metricRow is a row of the table of metrics in docs/operations.md.
var metricRow = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|")

// documentedMetrics are those of the table, by the name that is scraped.
func documentedMetrics(t *testing.T) (names []string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "## Metrics")
	table, _, _ = strings.Cut(table, "\n## ")
	for _, row := range metricRow.FindAllStringSubmatch(table, -1) {
		name := row[1]
		if strings.HasSuffix(name, "_duration_seconds") {
			name += "_bucket"
		}
		names = append(names, name)
	}
	if len(names) < len(promised) {
		t.Fatalf("the table has only %q", names)
	}
	return names
}

// scrape returns what Prometheus would receive.
func (p *program) scrape(t *testing.T) string {
	t.Helper()
	recorder := httptest.NewRecorder()
	p.api.Admin(new(slog.LevelVar)).ServeHTTP(recorder, httptest.NewRequest("GET", "/metrics", nil))
	if recorder.Code != 200 {
		t.Fatalf("got %d %s", recorder.Code, recorder.Body)
	}
	return recorder.Body.String()
}

// After one call of each kind every promised metric can be scraped, and its
// labels tell the kinds apart.
func TestPromisedMetricsAreScraped(t *testing.T) {
	redis := redistest.Start(t)
	certificate, path := newCertificate(t)
	directory := testDirectory()
	directory.Apps[0].Secrets, directory.Apps[0].Certificates = nil, certificate
	w := newStoppedWorldOf(t, directory, withRedis(redis), func(f *file) {
		f.TokenCache.Redis.Timeout = 5 * time.Second // the machine may be busy
		f.AzureAd.ClientCredentials = []credential.Config{{SourceType: "Path", CertificateDiskPath: path}}
	})
	one := w.startReady()
	lines := telemetry.NewLogQueue(w.file.Logging.Format, io.Discard) // as the program has it in a process of its own
	defer lines.Close()
	if err := lines.Register(one.telemetry.Meter()); err != nil {
		t.Fatal(err)
	}
	alice := w.alice()
	w.call("GET", "/api/todo/items", alice, "")
	w.call("GET", "/api/todo/items", alice, "")
	w.call("GET", "/app/todo/items", w.daemon(), "")
	w.call("GET", "/api/todo/items", "not.a.token", "")
	w.call("GET", "/api/todo/items", "", "")
	w.call("GET", "/api/todo/items", w.daemon(), "")
	w.call("GET", "/api/mystery-"+alice, alice, "")
	w.call("INVENTED", "/nowhere/"+alice, "", "")
	w.idp.AddFault(mockidp.Fault{Flow: "on_behalf_of", Times: 1, Error: "interaction_required"})
	bob := w.bob()
	w.call("GET", "/api/todo/items", bob, "")
	w.call("GET", "/api/todo/items", bob, "")
	w.api.handle(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(503) })
	w.call("GET", "/api/todo/items", alice, "")
	w.api.handle(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	w.call("DELETE", "/api/todo/items/1", alice, "")

	eventually(t, func() bool { return entries(redis) >= 2 }, func() string { return "the tokens are not in Redis" })
	two := w.startReady()
	w.call("GET", "/api/todo/items", alice, "") // at another replica

	sessions := newStoppedSessionWorld(t)
	three := sessions.startReady()
	sessions.signIn("alice")
	sessions.newPage().send("GET", "/signin-oidc?state="+alice, "")

	port := w.api.URL[strings.LastIndex(w.api.URL, ":")+1:]
	scraped := one.scrape(t) + two.scrape(t) + three.scrape(t)
	for _, name := range append(documentedMetrics(t), promised...) {
		if !regexp.MustCompile(`(?m)^` + name + `[ {]`).MatchString(scraped) {
			t.Errorf("%s is missing", name)
		}
	}
	const server = `http_server_request_duration_seconds_count`
	const client = `http_client_request_duration_seconds_count`
	for _, series := range []string{
		server + `{http_request_method="GET",http_response_status_code="200",http_route="/api/{name}/{path…}",middletier_api="todo",url_scheme="http"} 2`,
		server + `{http_request_method="GET",http_response_status_code="200",http_route="/app/{name}/{path…}",middletier_api="todo",url_scheme="http"} 1`,
		server + `{error_type="invalid-token",http_request_method="GET",http_response_status_code="401",http_route="/api/{name}/{path…}",url_scheme="http"} 1`,
		server + `{error_type="unknown-api",http_request_method="GET",http_response_status_code="404",http_route="/api/{name}/{path…}",url_scheme="http"} 1`,
		server + `{error_type="not-found",http_request_method="_OTHER",http_response_status_code="404",http_route="none",url_scheme="http"} 1`,
		server + `{error_type="503",http_request_method="GET",http_response_status_code="503",http_route="/api/{name}/{path…}",middletier_api="todo",url_scheme="http"} 1`,
		server + `{error_type="downstream-unreachable",http_request_method="DELETE",http_response_status_code="502",http_route="/api/{name}/{path…}",middletier_api="todo",url_scheme="http"} 1`,
		client + `{error_type="unreachable",http_request_method="DELETE",middletier_api="todo",server_address="127.0.0.1",server_port="` + port + `"} `,
		client + `{http_request_method="GET",http_response_status_code="200",middletier_api="todo",server_address="127.0.0.1",server_port="` + port + `"} `,
		client + `{http_request_method="POST",http_response_status_code="200",server_address="127.0.0.1",server_port="`,
		`middletier_token_requests_total{flow="on_behalf_of",outcome="ok",source="identity_provider"} 1`,
		`middletier_token_requests_total{flow="on_behalf_of",outcome="ok",source="memory"} `,
		`middletier_token_requests_total{flow="on_behalf_of",outcome="ok",source="redis"} 1`,
		`middletier_token_requests_total{flow="client_credentials",outcome="ok",source="identity_provider"} 1`,
		`middletier_token_requests_total{flow="on_behalf_of",outcome="interaction_required",source="identity_provider"} 1`,
		`middletier_token_requests_total{flow="on_behalf_of",outcome="interaction_required",source="memory"} 1`,
		`middletier_token_exchange_duration_seconds_count{flow="on_behalf_of",outcome="interaction_required"} 1`,
		`middletier_token_exchange_duration_seconds_count{flow="client_credentials",outcome="ok"} 1`,
		`middletier_token_validations_total{result="accepted"} `,
		`middletier_token_validations_total{result="malformed"} 1`,
		`middletier_session_sign_ins_total{outcome="no_attempt"} 1`,
		`middletier_session_sign_ins_total{outcome="ok"} 1`,
		`middletier_signing_key_refreshes_total{outcome="ok"} `,
		`middletier_signing_key_refreshes_total{outcome="failed"} 0`,
		`middletier_cache_entries 3`, // two tokens and a refusal
		`middletier_redis_errors_total 0`,
		`middletier_redis_up 1`,
		`middletier_token_exchanges_in_flight 0`,
		`middletier_log_lines_dropped_total 0`,
		`middletier_build_info{`,
	} {
		if !strings.Contains(scraped, "\n"+series) {
			t.Errorf("%s is missing", series)
		}
	}
	for _, unbounded := range []string{
		"INVENTED", "nowhere", "items", "mystery", alice[len(alice)-20:], "aaaaaaaa-0000-4000-8000-000000000001", demoTenant,
	} {
		if strings.Contains(scraped, unbounded) {
			t.Errorf("a label holds %q", unbounded)
		}
	}
	if t.Failed() {
		t.Log(scraped)
	}
}

func TestMetricsWithoutWhatTheyMeasure(t *testing.T) {
	w := newStoppedWorld(t)
	scraped := w.start().scrape(t)
	for _, name := range []string{"middletier_credential_expiry_timestamp_seconds", "middletier_redis_up"} { // a secret has no expiry
		if strings.Contains(scraped, "\n"+name) {
			t.Errorf("got\n%swithout %s", scraped, name)
		}
	}
	if r := w.call("GET", "/metrics", "", ""); r.StatusCode != 404 {
		t.Errorf("on the public listener: got %d, want 404", r.StatusCode)
	}
}
