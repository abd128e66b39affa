package sidecar

import (
	"slices"
	"strings"
	"testing"
)

func TestPathsAreSplit(t *testing.T) {
	for _, row := range []struct {
		path string
		want string // joined by blanks; "-": no route
	}{
		{"/Validate", "Validate"},
		{"/Validate/", "Validate"},
		{"/%56alidate", "Validate"},
		{"/a/./b", "a b"},
		{"/a/../b", "b"},
		{"/../../b", "b"},
		{"/x/%2e%2E/b", "b"},
		{"/a/b%2Fc", "a b%2Fc"},
		{"/a/b%2fc", "a b%2Fc"},
		{"/a/b%252Fc", "a b%2Fc"},
		{"/a/gr%61ph", "a graph"},
		{"/a/b/..", "a"},
		{"/", "-"},
		{"", "-"},
		{"//", "-"},
		{"//Validate", "-"},
		{"/Validate//", "-"},
		{"/a//b", "-"},
		{"Validate", "-"},
		{"*", "-"},
		{"/%zz", "-"},
		{"/" + strings.Repeat("a", maxPath), "-"},
	} {
		got, ok := splitPath(nil, row.path)
		want := strings.Fields(row.want)
		if row.want == "-" {
			want = nil
		}
		if ok != (row.want != "-") || !slices.Equal(got, want) {
			t.Errorf("%.40q: got %q, %v, want %q", row.path, got, ok, row.want)
		}
	}
}
