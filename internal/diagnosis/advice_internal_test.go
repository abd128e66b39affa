package diagnosis

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/obo"
)

func TestAdviceIsRepeatedAfterAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &strings.Builder{}
		a := NewAdviser(slog.New(slog.NewTextHandler(log, nil)))
		refusal := func(code string, number int, scope string) error {
			return &obo.Error{
				Kind: obo.Misconfigured, Status: 400, Code: code, Codes: []int{number},
				Scopes: []string{scope}, Err: errors.New("what the provider said"),
			}
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
			a.Exchanged(row.err)
			if got := strings.Count(log.String(), "advice="); got != row.lines {
				t.Errorf("%s: got %d lines, want %d:\n%s", row.name, got, row.lines, log)
			}
		}
	})
}

// There is advice on every refusal that only the operators can do something about.
func TestThereIsAdviceOnEveryRefusalOfTheOperators(t *testing.T) {
	for _, number := range []int{
		50013, 50020, 50027, 50105, 65005, 70002, 70011, 70021, 28002, 90002, 90009, 90072, 240002, 500011, 500131, 501051, 650052, 650056,
		650057, 700016, 700022, 700023, 700024, 700027, 700030, 700211, 700212, 700213, 700229, 900382, 900432, 1000502,
		7000112, 7000114, 7000214, 7000215, 7000218, 7000222, 7000229, 7000274, 7000277, 7002137, 7002138, 9001023, 9010010,
	} {
		if numberAdvice(&obo.Error{Codes: []int{number}}) == "" {
			t.Errorf("AADSTS%d: no advice", number)
		}
	}
	if codeAdvice(&obo.Error{Code: "invalid_grant", Suberror: "client_mismatch"}) == "" {
		t.Error("client_mismatch: no advice")
	}
}
