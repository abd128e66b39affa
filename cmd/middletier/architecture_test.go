package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const architecturePage = "docs/architecture.md"

// The part of the page that is written from the imports.
const (
	importsBegin = "<!-- Written by make generate from the imports; do not edit. -->\n\n"
	importsEnd   = "\n<!-- End of what make generate writes. -->\n"
)

// sourcePackage is what the files of a package, without its tests, say.
type sourcePackage struct {
	imports    map[string]bool
	goroutines bool // it starts some
}

// ours returns the imports that are packages of this module, by their names here.
func (p sourcePackage) ours() (names []string) {
	for _, path := range slices.Sorted(maps.Keys(p.imports)) {
		if strings.HasPrefix(path, "middletier/") {
			names = append(names, packageName(path))
		}
	}
	return names
}

// packageName is how the page names a package: cmd/middletier, and the others by
// their paths below internal.
func packageName(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, "middletier/"), "internal/")
}

// sourcePackages reads all packages of the module, for every platform.
func sourcePackages(t *testing.T) map[string]sourcePackage {
	t.Helper()
	packages := map[string]sourcePackage{}
	const root = "../.."
	for _, below := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, below), func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && d.Name() == "testdata":
				return fs.SkipDir
			case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
				return nil
			}
			folder, err := filepath.Rel(root, filepath.Dir(name))
			if err != nil {
				return err
			}
			key := packageName("middletier/" + filepath.ToSlash(folder))
			p, known := packages[key]
			if !known {
				p.imports = map[string]bool{}
			}
			if err := p.read(name); err != nil {
				return err
			}
			packages[key] = p
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return packages
}

// read adds what a file says.
func (p *sourcePackage) read(name string) error {
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	for _, spec := range file.Imports {
		p.imports[strings.Trim(spec.Path.Value, `"`)] = true
	}
	for node := range ast.Preorder(file) {
		switch n := node.(type) {
		case *ast.GoStmt:
			p.goroutines = true
		case *ast.CallExpr: // of sync.WaitGroup or errgroup.Group
			if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Go" {
				p.goroutines = true
			}
		}
	}
	return nil
}

// arrow is an import: from imports to.
type arrow struct{ from, to string }

func (a arrow) String() string { return nodeName(a.from) + " --> " + nodeName(a.to) }

// nodeName is the name of a package as Mermaid's node.
func nodeName(name string) string { return strings.NewReplacer("/", "_", "-", "_").Replace(name) }

func arrowsOf(packages map[string]sourcePackage) (arrows []arrow) {
	for _, from := range slices.Sorted(maps.Keys(packages)) {
		for _, to := range packages[from].ours() {
			arrows = append(arrows, arrow{from, to})
		}
	}
	return arrows
}

// programPackages are the command's package and what it imports, directly or not. The
// others are for tests.
func programPackages(packages map[string]sourcePackage) map[string]bool {
	found := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if found[name] {
			return
		}
		found[name] = true
		for _, next := range packages[name].ours() {
			visit(next)
		}
	}
	visit("cmd/middletier")
	return found
}

// flowchart draws the imports.
func flowchart(packages map[string]sourcePackage) string {
	var b strings.Builder
	b.WriteString("```mermaid\nflowchart TD\n")
	program := programPackages(packages)
	names := slices.Sorted(maps.Keys(packages))
	for _, name := range names {
		if program[name] {
			fmt.Fprintf(&b, "    %s[\"%s\"]\n", nodeName(name), name)
		}
	}
	b.WriteString("    subgraph kits [\"for tests only\"]\n")
	for _, name := range names {
		if !program[name] {
			fmt.Fprintf(&b, "        %s[\"%s\"]\n", nodeName(name), name)
		}
	}
	b.WriteString("    end\n")
	for _, a := range arrowsOf(packages) {
		fmt.Fprintf(&b, "    %s\n", a)
	}
	b.WriteString("```\n")
	return b.String()
}

// drawnArrow is an arrow in a flowchart.
var drawnArrow = regexp.MustCompile(`(?m)^ +(\S+) --> (\S+)$`)

func readArchitecture(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", architecturePage))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The picture of the imports shows those of the code, neither more nor less.
func TestArchitectureIsCurrent(t *testing.T) {
	before, rest, begun := strings.Cut(readArchitecture(t), importsBegin)
	drawn, after, ended := strings.Cut(rest, importsEnd)
	if !begun || !ended {
		t.Fatal(architecturePage + " has no place for the picture of the imports")
	}
	packages := sourcePackages(t)
	if !*update {
		for _, complaint := range compareArrows(drawn, arrowsOf(packages)) {
			t.Errorf("%s: %s, or run make generate", architecturePage, complaint)
		}
	}
	checkGenerated(t, architecturePage, []byte(before+importsBegin+flowchart(packages)+importsEnd+after))
}

// compareArrows says which arrows a picture lacks, and which it has too many.
func compareArrows(drawn string, arrows []arrow) (complaints []string) {
	shown := map[string]bool{}
	for _, found := range drawnArrow.FindAllStringSubmatch(drawn, -1) {
		shown[found[1]+" --> "+found[2]] = true
	}
	for _, a := range arrows {
		if !shown[a.String()] {
			complaints = append(complaints, fmt.Sprintf("add the arrow %q: %s imports %s", a, a.from, a.to))
		}
		delete(shown, a.String())
	}
	for _, a := range slices.Sorted(maps.Keys(shown)) {
		complaints = append(complaints, fmt.Sprintf("remove the arrow %q: there is no such import", a))
	}
	return complaints
}

func TestArchitectureNamesMissingAndSuperfluousArrows(t *testing.T) {
	drawn := "flowchart TD\n    api --> obo\n    obo --> api\n"
	got := compareArrows(drawn, []arrow{{"api", "obo"}, {"api", "testkit/tokens"}})
	want := []string{
		`add the arrow "api --> testkit_tokens": api imports testkit/tokens`,
		`remove the arrow "obo --> api": there is no such import`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// importRule is a row of the page: what may be imported only by these packages.
type importRule struct {
	what string
	by   []string
}

// isForeign reports whether the rule is about a module of others.
func (r importRule) isForeign() bool {
	host, _, _ := strings.Cut(r.what, "/")
	return strings.Contains(host, ".")
}

// covers reports whether the rule is about an import.
func (r importRule) covers(imported string) bool {
	what := r.what
	if !r.isForeign() {
		what = "middletier/internal/" + what
	}
	return imported == what || strings.HasPrefix(imported, strings.TrimSuffix(what, "/")+"/")
}

// inQuotes is a word in backquotes.
var inQuotes = regexp.MustCompile("`([^`]+)`")

func quoted(text string) (words []string) {
	for _, found := range inQuotes.FindAllStringSubmatch(text, -1) {
		words = append(words, found[1])
	}
	return words
}

// tableAfter returns the cells of the rows of the table that follows a heading.
func tableAfter(t *testing.T, page, heading string) (rows [][]string) {
	t.Helper()
	_, section, found := strings.Cut(page, "\n"+heading+"\n")
	if !found {
		t.Fatalf("%s has no heading %q", architecturePage, heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "| `") {
			rows = append(rows, strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|"))
		}
	}
	if len(rows) == 0 {
		t.Fatalf("%s has no table below %q", architecturePage, heading)
	}
	return rows
}

const rulesHeading = "## Who may import whom"

// Packages for tests alone may import what they need.
func TestArchitectureRulesHold(t *testing.T) {
	page := readArchitecture(t)
	packages := sourcePackages(t)
	program := programPackages(packages)
	for _, row := range tableAfter(t, page, rulesHeading) {
		by := quoted(row[1])
		for _, what := range quoted(row[0]) {
			for _, complaint := range (importRule{what, by}).check(packages, program) {
				t.Errorf("%s: %s", architecturePage, complaint)
			}
		}
	}
	_, sentence, found := strings.Cut(page, "\nThese packages import no other package of the module:")
	if !found {
		t.Fatal(architecturePage + " does not say which packages import no other")
	}
	sentence, _, _ = strings.Cut(sentence, "\n\n")
	for _, name := range quoted(sentence) {
		for _, imported := range packages[name].ours() {
			t.Errorf("%s: %s imports %s and must import no package of the module: remove the import, or %s from the sentence",
				architecturePage, name, imported, name)
		}
	}
}

// check says which packages break the rule, and which are allowed an import that they
// do not have.
func (r importRule) check(packages map[string]sourcePackage, program map[string]bool) (complaints []string) {
	if _, known := packages[r.what]; !known && !r.isForeign() {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		does := slices.ContainsFunc(slices.Collect(maps.Keys(packages[name].imports)), r.covers)
		allowed := slices.Contains(r.by, name)
		switch {
		case does && !allowed && program[name]:
			complaints = append(complaints, fmt.Sprintf("%s imports %s, which only %s may: remove the import, or change the rule",
				name, r.what, cmp.Or(strings.Join(r.by, ", "), "tests")))
		case allowed && !does:
			complaints = append(complaints, fmt.Sprintf("%s may import %s and does not: remove %s from the rule", name, r.what, name))
		}
	}
	return complaints
}

func TestArchitectureRuleNamesWhoBreaksIt(t *testing.T) {
	imports := func(paths ...string) sourcePackage {
		p := sourcePackage{imports: map[string]bool{}}
		for _, path := range paths {
			p.imports[path] = true
		}
		return p
	}
	packages := map[string]sourcePackage{
		"cmd/middletier": imports("middletier/internal/obo"),
		"api":            imports("github.com/labstack/echo/v4"),
		"obo":            imports("middletier/internal/api"),
		"kit":            imports("github.com/labstack/echo/v4"),
	}
	program := map[string]bool{"cmd/middletier": true, "api": true, "obo": true}
	for _, row := range []struct {
		rule importRule
		want []string
	}{
		{importRule{"github.com/labstack/echo", []string{"api"}}, nil},
		{importRule{"github.com/labstack/echo", nil}, []string{
			"api imports github.com/labstack/echo, which only tests may: remove the import, or change the rule",
		}},
		{importRule{"redistier", []string{"obo"}}, nil}, // there is no such package
		{importRule{"api", []string{"cmd/middletier"}}, []string{
			"cmd/middletier may import api and does not: remove cmd/middletier from the rule",
			"obo imports api, which only cmd/middletier may: remove the import, or change the rule",
		}},
	} {
		if got := row.rule.check(packages, program); !slices.Equal(got, row.want) {
			t.Errorf("%v: got %q, want %q", row.rule, got, row.want)
		}
	}
}

// The table of goroutines has every package that starts some.
func TestArchitectureNamesOwnersOfGoroutines(t *testing.T) {
	packages := sourcePackages(t)
	program := programPackages(packages)
	listed := map[string]bool{}
	for _, row := range tableAfter(t, readArchitecture(t), "## Goroutines") {
		for _, name := range quoted(row[0]) {
			listed[name] = true
		}
	}
	for name, p := range packages {
		switch {
		case program[name] && p.goroutines && !listed[name]:
			t.Errorf("%s: %s starts goroutines: add them to the table", architecturePage, name)
		case listed[name] && !p.goroutines:
			t.Errorf("%s: %s starts no goroutines: remove it from the table", architecturePage, name)
		}
	}
}

// The README lists the folders of all packages.
func TestReadmeListsEveryPackage(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range sourcePackages(t) {
		folder := name
		if !strings.HasPrefix(name, "cmd/") {
			folder = "internal/" + name
		}
		listed := false
		for ; folder != "internal" && folder != "."; folder = path.Dir(folder) {
			listed = listed || strings.Contains(string(text), "\n"+folder+"/ ")
		}
		if !listed {
			t.Errorf("README.md does not list the folder of %s", name)
		}
	}
}
