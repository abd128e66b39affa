package config

import (
	"cmp"
	"slices"
	"strings"
)

// Closest returns names in the order of how likely each was meant by name, the
// likeliest first.
func Closest(name string, names []string) []string {
	lower := strings.ToLower(name)
	names = slices.Sorted(slices.Values(names))
	slices.SortStableFunc(names, func(a, b string) int {
		return cmp.Compare(distance(lower, strings.ToLower(a)), distance(lower, strings.ToLower(b)))
	})
	return names
}
