package door

import (
	"strings"
	"testing"
)

func TestMistakesInAllowedHosts(t *testing.T) {
	list := []string{
		"api.example", "*.example", "*", "localhost", "::1", "[::1]", "192.0.2.7", "a_b.example.",
		"", " ", "api.example:443", "[::1]:80", "https://api.example", "api.example/x", "*api.example", "a.*.example", "*.", "*.*.example",
		"bücher.example", "a b", "a..b", ".a", "[::1", "fe80::1%eth0", "a;b",
	}
	var mistakes []string
	NewAllowedHosts(list, func(key, _ string) { mistakes = append(mistakes, key) })
	want := "[8] [9] [10] [11] [12] [13] [14] [15] [16] [17] [18] [19] [20] [21] [22] [23] [24]"
	if got := strings.Join(mistakes, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
