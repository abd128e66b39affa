//go:build slow

package main

import (
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"middletier/internal/config"
)

// bodyVariable says how many bytes a large body has: 512 MiB without it. "make
// bench" sends 10 GiB.
const bodyVariable = "MIDDLETIER_TEST_BODY"

// A large body is streamed in each direction: client, service and API together
// allocate only a small part of its size.
func TestSlowLargeBodiesTakeNoMemory(t *testing.T) {
	size := int64(512 << 20)
	if text := os.Getenv(bodyVariable); text != "" {
		var err error
		if size, err = strconv.ParseInt(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", bodyVariable, err)
		}
	}
	w := newWorld(t, func(f *file) {
		f.Server.MaxBodySize, f.Server.RequestTimeout = config.Size(size), time.Hour
	})
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if n != size || err != nil {
			t.Errorf("the API got %d bytes, %v; want %d", n, err, size)
		}
		_, _ = io.Copy(rw, zeros(size))
	})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n, err := io.Copy(io.Discard, w.post(zeros(size)).Body)
	runtime.ReadMemStats(&after)
	if n != size || err != nil {
		t.Errorf("got %d bytes, %v; want %d", n, err, size)
	}
	allocated := after.TotalAlloc - before.TotalAlloc
	if allocated > 32<<20 {
		t.Errorf("%d MiB were allocated, want at most 32", allocated>>20)
	}
	t.Logf("%d MiB each way, %d KiB allocated", size>>20, allocated>>10)
}
