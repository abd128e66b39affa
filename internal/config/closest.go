package config

import (
	"cmp"
	"slices"
	"strings"
)

// Closest returns names ordered by similarity to name, the most similar first.
func Closest(name string, names []string) []string {
	lower := strings.ToLower(name)
	names = slices.Sorted(slices.Values(names))
	slices.SortStableFunc(names, func(a, b string) int {
		return cmp.Compare(distance(lower, strings.ToLower(a)), distance(lower, strings.ToLower(b)))
	})
	return names
}
