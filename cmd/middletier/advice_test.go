package main

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/mockidp"
	"middletier/internal/obo"
)

// The log says once what to mend, beside the provider's own words in the line of
// each request.
func TestRefusalOfThisServiceIsLoggedWithAdvice(t *testing.T) {
	w := newWorld(t)
	w.idp.AddFault(mockidp.Fault{Flow: "on_behalf_of", Error: "invalid_client", Status: 401, ErrorCodes: []int{7000222}, Description: "AADSTS7000222: of a secret."})
	w.idp.AddFault(mockidp.Fault{Flow: "client_credentials", Error: "invalid_client", Status: 401, ErrorCodes: []int{7000222}})
	for _, call := range []struct{ path, token string }{{"/api/todo/items", w.alice()}, {"/api/todo/items", w.bob()}, {"/app/todo/items", w.daemon()}} {
		if r := w.call("GET", call.path, call.token, ""); r.kind() != "misconfigured" {
			t.Fatalf("%s: got %d %s, want misconfigured", call.path, r.StatusCode, r.body)
		}
	}
	log := w.log.String()
	const advice = `"level":"ERROR","msg":"the identity provider refuses this service","advice":"the client secret has expired","error":"invalid_client AADSTS7000222","scopes":"api://todo/.default"`
	if strings.Count(log, advice) != 1 || strings.Count(log, `"advice"`) != 1 {
		t.Errorf("got\n%s\nwant once %s", log, advice)
	}
}

func TestAdviceIsRepeatedAfterAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &syncBuffer{}
		a := &adviser{log: slog.New(slog.NewTextHandler(log, nil)), told: map[given]time.Time{}}
		refusal := func(code string, number int, scope string) error {
			return &obo.Error{Kind: obo.Misconfigured, Status: 400, Code: code, Codes: []int{number}, Scopes: []string{scope}, Err: errors.New("what the provider said")}
		}
		for _, row := range []struct {
			name  string
			wait  time.Duration
			err   error
			lines int // so far
		}{
			{"a good exchange", 0, nil, 0},
			{"of the user", 0, &obo.Error{Kind: obo.InteractionRequired, Code: "invalid_grant", Codes: []int{700024}}, 0},
			{"without advice", 0, refusal("something_new", 1, "api://a/.default"), 0},
			{"the first", 0, refusal("invalid_resource", 500011, "api://a/.default"), 1},
			{"again", 59 * time.Minute, refusal("invalid_resource", 500011, "api://a/.default"), 1},
			{"of another API", 0, refusal("invalid_resource", 500011, "api://b/.default"), 2},
			{"by its code alone", 0, refusal("invalid_client", 1, "api://a/.default"), 3},
			{"the next hour", time.Minute, refusal("invalid_resource", 500011, "api://a/.default"), 4},
		} {
			time.Sleep(row.wait)
			a.exchanged(row.err)
			if got := strings.Count(log.String(), "advice="); got != row.lines {
				t.Errorf("%s: got %d lines, want %d:\n%s", row.name, got, row.lines, log)
			}
		}
	})
}

// There is advice on every refusal that only the operators can do something about.
func TestThereIsAdviceOnEveryRefusalOfTheOperators(t *testing.T) {
	for _, number := range []int{
		50013, 50020, 50027, 50105, 65005, 70002, 70011, 70021, 28002, 90002, 90009, 90072, 240002, 500011, 500131, 501051, 650052, 650056, 650057,
		700016, 700022, 700023, 700024, 700027, 700030, 700211, 700212, 700213, 700229, 900382, 900432, 1000502,
		7000112, 7000114, 7000214, 7000215, 7000218, 7000222, 7000274, 7000277, 7002137, 7002138, 9001023, 9010010,
	} {
		if numberAdvice([]int{number}) == "" {
			t.Errorf("AADSTS%d: no advice", number)
		}
	}
	if codeAdvice(&obo.Error{Code: "invalid_grant", Suberror: "client_mismatch"}) == "" {
		t.Error("client_mismatch: no advice")
	}
}
