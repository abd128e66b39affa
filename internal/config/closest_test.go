package config_test

import (
	"slices"
	"testing"

	"middletier/internal/config"
)

func TestClosestNamesComeFirst(t *testing.T) {
	for _, row := range []struct {
		name string
		want []string
	}{
		{"tdo", []string{"todo", "Tools", "graph", "orders"}},
		{"GRAF", []string{"graph", "todo", "Tools", "orders"}},
	} {
		if got := config.Closest(row.name, []string{"orders", "graph", "Tools", "todo"}); !slices.Equal(got, row.want) {
			t.Errorf("Closest(%q): got %q, want %q", row.name, got, row.want)
		}
	}
}
