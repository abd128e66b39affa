package config

import (
	"cmp"
	"slices"
	"strings"
)

// Mistake is one mistake in the configuration.
type Mistake struct {
	Key     string // azureAd.tenentId; empty if the mistake is in the file as a whole
	Where   string // config.yaml:12, or environment variable AzureAd__TenantId, or empty
	Problem string // unknown key; did you mean "tenantId"?
}

func (m Mistake) String() string {
	parts := []string{m.Where, m.Key, m.Problem}
	parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" })
	return strings.Join(parts, ": ")
}

// Mistakes is a list of mistakes as one error.
type Mistakes []Mistake

// Error returns one line per mistake.
func (ms Mistakes) Error() string {
	lines := make([]string, len(ms))
	for i, m := range ms {
		lines[i] = m.String()
	}
	return strings.Join(lines, "\n")
}

// place is where a value was written: a variable, or a line of a file. The zero place
// is unknown.
type place struct {
	variable     string
	source       int  // the index of the file
	line, column int  // column is known for syntax mistakes only
	file         bool // somewhere in the file, when the line is unknown
}

// rank orders places: the files, the environment, then the rest.
func (p place) rank() int {
	switch {
	case p.line > 0 || p.file:
		return 0
	case p.variable != "":
		return 1
	}
	return 2
}

// sortable is a mistake with its place, by which it is sorted.
type sortable struct {
	Mistake
	at          place
	unsupported bool // it is right, but this program cannot do it
}

func sorted(found []sortable) Mistakes {
	found = slices.Clone(found)
	slices.SortStableFunc(found, func(a, b sortable) int {
		return cmp.Or(
			cmp.Compare(a.at.rank(), b.at.rank()),
			cmp.Compare(a.at.source, b.at.source),
			cmp.Compare(a.at.line, b.at.line),
			cmp.Compare(a.at.variable, b.at.variable),
		)
	})
	seen := map[Mistake]bool{}
	var all Mistakes
	for _, f := range found {
		if !seen[f.Mistake] {
			seen[f.Mistake] = true
			all = append(all, f.Mistake)
		}
	}
	return all
}
