package config

import (
	"cmp"
	"slices"
	"strings"
)

// Closest returns names ordered by similarity to name, the most similar first.
func Closest(name string, names []string) []string {
	names = slices.Sorted(slices.Values(names))
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(Distance(name, a), Distance(name, b)) })
	return names
}

// Distance returns the edit distance of two names in lower case: letters to insert, delete
// or replace.
func Distance(a, b string) int {
	from, to := []rune(strings.ToLower(a)), []rune(strings.ToLower(b))
	row := make([]int, len(to)+1)
	for j := range row {
		row[j] = j
	}
	for i, r := range from {
		diagonal := row[0]
		row[0] = i + 1
		for j, s := range to {
			replace := diagonal
			if r != s {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, diagonal+1)
		}
	}
	return row[len(to)]
}
