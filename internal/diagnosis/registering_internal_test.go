package diagnosis

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// serviceRow is a row of the table of numbers that this service logs: its numbers.
var serviceRow = regexp.MustCompile(`(?m)^\| ([0-9]+(?:, [0-9]+)*) \|`)

// docs/registering.md leads from a number to a step: from each one that the log has
// advice on, and from no other.
func TestRegisteringPageHasEveryNumberWithAdvice(t *testing.T) {
	text, err := os.ReadFile("../../docs/registering.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tables, found := strings.Cut(string(text), "\n## From an error to the step\n")
	logged, _, divided := strings.Cut(tables, "\nClients and their users see these")
	if !found || !divided {
		t.Fatal("docs/registering.md has no table of the numbers that the service logs")
	}
	listed := map[int]bool{}
	for _, row := range serviceRow.FindAllStringSubmatch(logged, -1) {
		for digits := range strings.SplitSeq(row[1], ", ") {
			number, err := strconv.Atoi(digits)
			if err != nil {
				t.Fatal(err)
			}
			listed[number] = true
			if advice[number] == "" {
				t.Errorf("AADSTS%d is in docs/registering.md, but the log has no advice on it", number)
			}
		}
	}
	for number := range advice {
		if !listed[number] {
			t.Errorf("AADSTS%d has advice in the log, but no step in docs/registering.md", number)
		}
	}
}
