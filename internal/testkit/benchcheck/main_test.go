package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// output is what a benchmark prints: three rounds beside a peer.
const output = `goos: linux
BenchmarkPath/server=pooled/round=0-2    100  7 ns/op  1.000 x-pooled
BenchmarkPath/server=ours/round=0-2      100  9 ns/op  1.500 x-pooled  88 allocs/op
BenchmarkPath/server=ours/round=1-2      100  9 ns/op  1.100 x-pooled  88 allocs/op
BenchmarkPath/server=ours/round=2-2      100  9 ns/op  1.200 x-pooled  88 allocs/op
PASS
ok  	middletier/cmd/middletier	1.0s
`

var testRows = []row{
	{name: "CPU", benchmark: "Path/server=ours", unit: "x-pooled", goal: 1.15},
	{name: "allocations", benchmark: "Path/server=ours", unit: "allocs/op", goal: 90},
}

func read(t *testing.T, text string) samples {
	t.Helper()
	s := samples{}
	if err := s.read(strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMedianIsOverRounds(t *testing.T) {
	s := read(t, output)
	if got, err := s.median("Path/server=ours", "x-pooled"); got != 1.2 || err != nil {
		t.Errorf("three rounds: got %v, %v, want 1.2", got, err)
	}
	s = read(t, output+"BenchmarkPath/server=ours/round=3  100  9 ns/op  1.3 x-pooled\n") // with GOMAXPROCS=1
	if got, err := s.median("Path/server=ours", "x-pooled"); got != 1.25 || err != nil {
		t.Errorf("four rounds: got %v, %v, want 1.25", got, err)
	}
	if _, err := s.median("Path/server=ours", "x-other"); err == nil {
		t.Error("a unit that was not measured has a median")
	}
}

func TestOutputOfAFailureIsRefused(t *testing.T) {
	for _, line := range []string{"--- FAIL: BenchmarkPath", "FAIL", "panic: why"} {
		if err := (samples{}).read(strings.NewReader(output + line + "\n")); err == nil {
			t.Errorf("%q is accepted", line)
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, r := range []struct {
		row          row
		median, page float64
		want         string
		fails        bool
	}{
		{row{goal: 1.2}, 1.1, 1.1, "ok, goal met", false},
		{row{goal: 1.2}, 1.2, 1.1, "ok, goal met", false},
		{row{goal: 1.2}, 1.3, 1.5, "ok, goal missed", false},
		{row{goal: 1.2}, 1.21, 1.0, "a tenth worse than the page, goal missed", false},
		{row{}, 1.11, 1.0, "a tenth worse than the page", false},
		{row{}, 1.25, 1.0, "a tenth worse than the page", false},
		{row{}, 1.26, 1.0, "MORE THAN A QUARTER WORSE", true},
		{row{goal: 2}, 1.26, 1.0, "MORE THAN A QUARTER WORSE, goal met", true},
		{row{goal: 100, machine: true}, 90, 20, "depends on the machine, goal met", false},
	} {
		if got, fails := r.row.verdict(r.median, r.page); got != r.want || fails != r.fails {
			t.Errorf("%+v: %v beside %v: got %q, %v, want %q, %v", r.row, r.median, r.page, got, fails, r.want, r.fails)
		}
	}
}

func TestCompare(t *testing.T) {
	for _, r := range []struct {
		name string
		page map[string]float64
		want string // in the error; "" for none
	}{
		{"the same", map[string]float64{"CPU": 1.2, "allocations": 88}, ""},
		{"a tenth worse", map[string]float64{"CPU": 1.05, "allocations": 88}, ""},
		{"too bad", map[string]float64{"CPU": 0.9, "allocations": 88}, "CPU: 1.20 is more than a quarter worse than 0.90"},
		{"a row is missing on the page", map[string]float64{"CPU": 1.2}, `has no row "allocations"`},
		{"a row too many", map[string]float64{"CPU": 1.2, "allocations": 88, "old": 1}, `has a row "old" that no benchmark measures`},
	} {
		err := compare(io.Discard, testRows, read(t, output), r.page)
		if (err == nil) != (r.want == "") || err != nil && !strings.Contains(err.Error(), r.want) {
			t.Errorf("%s: got %v, want %q", r.name, err, r.want)
		}
	}
	page := map[string]float64{"CPU": 1.2, "allocations": 88}
	err := compare(io.Discard, testRows, read(t, strings.ReplaceAll(output, "allocs/op", "B/op")), page)
	if err == nil || !strings.Contains(err.Error(), "Path/server=ours was not measured in allocs/op") {
		t.Errorf("not measured: got %v", err)
	}
	var out strings.Builder
	_ = compare(&out, testRows, read(t, output), page)
	want := "ROW          MEDIAN  GOAL    PAGE  VERDICT\n" +
		"CPU          1.20    ≤ 1.15  1.20  ok, goal missed\n" +
		"allocations  88      ≤ 90    88    ok, goal met\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestPageIsReadAsItIsWritten(t *testing.T) {
	page := "# Before\n" + tableBegin + tableHead + "| CPU | 3 | |\n" + tableEnd + "after\n"
	medians := map[string]float64{"CPU": 1.2, "allocations": 88}
	written, err := writePage(page, testRows, medians)
	if err != nil {
		t.Fatal(err)
	}
	want := "# Before\n" + tableBegin + tableHead + "| CPU | 1.20 | ≤ 1.15 |\n| allocations | 88 | ≤ 90 |\n" + tableEnd + "after\n"
	if written != want {
		t.Errorf("got\n%swant\n%s", written, want)
	}
	got, err := readPage(written)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(medians) {
		t.Errorf("got %v, %v, want %v", got, err, medians)
	}
}

func TestPageThatCannotBeReadIsRefused(t *testing.T) {
	if _, err := readPage("# No table\n"); !errors.Is(err, errNoTable) {
		t.Errorf("without a table: got %v", err)
	}
	for _, lines := range []string{"| CPU | | |\n", "| CPU | - | |\n", "| CPU | 1.2 |\n", "| CPU | 1 | |\n| CPU | 2 | |\n"} {
		if got, err := readPage(tableBegin + tableHead + lines + tableEnd); err == nil {
			t.Errorf("%q: got %v", lines, got)
		}
	}
}

// growthOutput is what BenchmarkGrowth prints.
var growthOutput = func() string {
	var b strings.Builder
	for i, g := range grown {
		fmt.Fprintf(&b, "BenchmarkGrowth/users=%d/round=0-2 100 9 ns/op %d000 cpu-ns/op %d.5 x-pooled %d resident-MB\n", g.users, 50+i, i+1, 100*(i+1))
	}
	return b.String()
}()

func TestPlotShowsEveryFigure(t *testing.T) {
	plot, err := drawGrowth(read(t, growthOutput))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"<title", "<desc", "; 1,000,000: CPU 4.50 of pooled, 53 µs, memory 400 MB",
		">1.50<", ">4.50<", ">100<", ">400<", "prefers-color-scheme: dark",
	} {
		if !strings.Contains(plot, want) {
			t.Errorf("the plot has no %q", want)
		}
	}
	for decoder := xml.NewDecoder(strings.NewReader(plot)); ; {
		if _, err := decoder.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("the plot is no XML: %v", err)
		}
	}
	if _, err := drawGrowth(read(t, strings.ReplaceAll(growthOutput, "users=1000/", "users=1001/"))); err == nil {
		t.Error("a plot without 1,000 users is drawn")
	}
}

func TestCeilingOfScale(t *testing.T) {
	for most, want := range map[float64]float64{0.7: 1, 1: 1, 1.4: 2, 4.5: 5, 6: 10, 1807: 2000} {
		if got := ceiling([]float64{0.1, most}); got != want {
			t.Errorf("%v: got %v, want %v", most, got, want)
		}
	}
}

// In a folder of its own, an update makes the page what was measured. What is missing is refused.
func TestUpdateWritesPageAndPlot(t *testing.T) {
	t.Chdir(t.TempDir())
	var all strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&all, "Benchmark%s-2 1 1.5 %s\n", r.benchmark, r.unit)
	}
	for _, g := range grown {
		fmt.Fprintf(&all, "BenchmarkGrowth/users=%d-2 1 70000 cpu-ns/op\n", g.users)
	}
	err := errors.Join(
		os.Mkdir("docs", 0o755),
		os.WriteFile(pagePath, []byte(tableBegin+tableHead+tableEnd), 0o644),
		os.WriteFile("all.out", []byte(all.String()), 0o644),
		os.WriteFile("part.out", []byte(output), 0o644),
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := run(io.Discard, []string{"all.out"}, false); err == nil {
		t.Error("a page without rows is accepted")
	}
	if err := run(io.Discard, []string{"part.out"}, true); err == nil {
		t.Error("an update without measurements is accepted")
	}
	if err := run(io.Discard, []string{"all.out"}, true); err != nil {
		t.Fatal(err)
	}
	if err := run(io.Discard, []string{"all.out"}, false); err != nil {
		t.Errorf("after the update: %v", err)
	}
	if _, err := os.Stat(plotPath); err != nil {
		t.Error(err)
	}
}

// The page has every row with its goal, and shows the plot.
func TestPageHasEveryRow(t *testing.T) {
	const root = "../../.."
	text, err := os.ReadFile(filepath.Join(root, pagePath))
	if err != nil {
		t.Fatal(err)
	}
	figures, err := readPage(string(text))
	if err != nil {
		t.Fatal(err)
	}
	same, err := writePage(string(text), rows, figures)
	if err != nil {
		t.Fatal(err)
	}
	if same != string(text) {
		t.Errorf("%s has other rows or goals than benchcheck: run make bench, then benchcheck -update", pagePath)
	}
	if !strings.Contains(string(text), "("+filepath.Base(plotPath)+")") {
		t.Errorf("%s does not show %s", pagePath, plotPath)
	}
	if _, err := os.Stat(filepath.Join(root, plotPath)); err != nil {
		t.Error(err)
	}
}
