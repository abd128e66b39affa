package api

import (
	"cmp"
	"flag"
	"fmt"
	"html"
	"log/slog"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"middletier/internal/door"
	"middletier/internal/problem"
)

// kindsInCode are the problem types that the package's code can produce.
func kindsInCode(t *testing.T) []string {
	var files []string
	for _, folder := range []string{"api", "door", "problem", "sidecar"} {
		found, err := filepath.Glob("../" + folder + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	var kinds []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		code, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		pattern := regexp.MustCompile(`(?:Problem\{\s*Kind: |p\.Kind, p\.Detail = |problem\.New\(|= New\(|retrySoon\()"([a-z-]+)"`)
		for _, match := range pattern.FindAllStringSubmatch(string(code), -1) {
			kinds = append(kinds, match[1])
		}
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// newExplainer returns a Server that explains errors as one in use would.
func newExplainer(t *testing.T) *Server {
	return New(Config{
		MaxBodySize: 1, MaxHeaderSize: 64 << 10, Log: slog.New(slog.DiscardHandler), Telemetry: newTelemetry(t),
		ClientID: "22222222-2222-4222-8222-222222222222", IDURI: "api://22222222-2222-4222-8222-222222222222",
		Authority: "https://login.microsoftonline.com/11111111-1111-4111-8111-111111111111",
	})
}

func TestEveryProblemTypeIsExplained(t *testing.T) {
	s := newExplainer(t)
	kinds := kindsInCode(t)
	if len(kinds) != len(problem.Types) {
		t.Errorf("the code produces %d types, %d are explained", len(kinds), len(problem.Types))
	}
	for _, kind := range kinds {
		known, ok := problem.Types[kind]
		if !ok || known.Title == "" || !strings.HasSuffix(known.Meaning, ".") ||
			!regexp.MustCompile(`^(The client|The user|The operators|Nobody) .*\.$`).MatchString(known.Action) {
			t.Errorf("%s: %+v, want a meaning, and who must act first", kind, known)
		}
		if kind == "client-closed-request" {
			continue
		}
		if p := problem.For(known.Example, problem.Requester{}); p.Kind != kind || p.Detail == "" {
			t.Errorf("%s: the example is answered %+v", kind, p)
			continue
		}
		example := s.door.Explain(kind, "https://api.example").Example
		if known.Status == 401 && example.Headers["WWW-Authenticate"] == "" || (known.Status == 503 || known.Status == 429) &&
			example.Headers["Retry-After"] == "" {
			t.Errorf("%s: the example's headers are %v", kind, example.Headers)
		}
		r := httptest.NewRequest("GET", "https://api.example/problems/"+kind, nil)
		r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		for _, want := range []string{
			known.Title, known.Meaning, known.Action, example.String(), "https://api.example/problems/" + kind, `<a href="./">`,
		} {
			if !strings.Contains(html.UnescapeString(w.Body.String()), want) {
				t.Errorf("%s: %q is not on the page\n%s", kind, want, w.Body)
			}
		}
	}
}

// The example of a page without a session shows what the page acts on, as an answer in use has it.
func TestExampleOfASessionHasALoginURL(t *testing.T) {
	s := newExplainer(t)
	for base, want := range map[string]string{
		"https://app.example":           "/bff/login?returnUrl=%2Fitems",
		"https://app.example/some/base": "/some/base/bff/login?returnUrl=%2Fsome%2Fbase%2Fitems",
	} {
		doc := s.door.Explain("session-required", base).Example.Document
		if doc.LoginURL != want || doc.Instance != "/bff/api/todo/items" {
			t.Errorf("%s: got loginUrl %q for %s, want %q", base, doc.LoginURL, doc.Instance, want)
		}
	}
	for kind := range problem.Types {
		if example := s.door.Explain(kind, "https://app.example").Example; kind != "session-required" && example != nil && example.Document.LoginURL != "" {
			t.Errorf("%s: got loginUrl %q on /api, want none", kind, example.Document.LoginURL)
		}
	}
}

var update = flag.Bool("update", false, "write docs/errors.md")

func TestErrorsPageIsCurrent(t *testing.T) {
	const path = "../../docs/errors.md"
	want := errorsPage(t)
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("docs/errors.md is not what the code says: run make generate (%v)", err)
	}
}

// errorsPage writes the page of all problem types, the lowest status first.
func errorsPage(t *testing.T) string {
	s := newExplainer(t)
	names := slices.SortedFunc(maps.Keys(problem.Types), func(a, b string) int {
		return cmp.Or(cmp.Compare(problem.Types[a].Status, problem.Types[b].Status), cmp.Compare(a, b))
	})
	var page strings.Builder
	page.WriteString(`# Errors

<!-- Written by make generate from internal/problem; do not edit. -->

Every error of the service is a problem document (RFC 9457). An API's own answers are forwarded unchanged, including its errors:
only problems have a ` + "`type` below `/problems/`" + `. Branch on the last part of ` + "`type`" + `; ` + "`detail`" + ` is for people. ` + "`requestId`" + ` is
the answer's ` + "`X-Request-ID`" + ` and identifies the line in the log. The service itself explains each type at ` + "`/problems/{type}`" + `.

Calls by gRPC and gRPC-Web (` + "`Content-Type: application/grpc…`" + `) get no document. The answer is 200 with the table's
` + "`grpc-status`" + `, the detail as ` + "`grpc-message`" + `, and the problem's own headers, such as ` + "`WWW-Authenticate`, `Retry-After` and `X-Request-ID`" + `.
All of them are headers; most libraries show the headers of such an answer as trailers. Pages of other origins that use
gRPC-Web can read them if ` + "`server.cors.exposedHeaders` lists `Grpc-Status` and `Grpc-Message`" + `. The log has the type, and 200 as the status.

| status | type | | gRPC |
|---|---|---|---|
`)
	for _, name := range names {
		kind := problem.Types[name]
		code := door.GRPCStatus(kind.Status)
		fmt.Fprintf(&page, "| %d | [`%s`](#%s) | %s | %d %s |\n", kind.Status, name, name, kind.Title, code, codes.Code(code))
	}
	for _, name := range names {
		e := s.door.Explain(name, "https://api.contoso.example")
		fmt.Fprintf(&page, "\n## %s\n\n%s\n\nWho must act: %s\n", name, e.Meaning, e.Action)
		if e.Example != nil {
			fmt.Fprintf(&page, "\n```http\n%s```\n", e.Example)
		}
	}
	return page.String()
}
