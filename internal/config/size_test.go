package config_test

import (
	"testing"

	"middletier/internal/config"
)

func TestSizeText(t *testing.T) {
	tests := map[config.Size]string{
		0: "0", 1: "1", 1000: "1000", 1024: "1KiB", 1025: "1025", 64 << 10: "64KiB",
		10 << 20: "10MiB", 1536 << 20: "1536MiB", 1 << 30: "1GiB", 2048 << 30: "2048GiB",
	}
	for size, want := range tests {
		if got := size.String(); got != want {
			t.Errorf("%d: got %s, want %s", int64(size), got, want)
		}
		got, mistakes := load(t, "server: {maxBodySize: "+want+"}")
		if mistakes != "" || got.Server.MaxBody != size {
			t.Errorf("%s: got %d, %s; want %d", want, int64(got.Server.MaxBody), mistakes, int64(size))
		}
	}
}
