package door

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/labstack/echo/v4"

	"middletier/internal/telemetry"
)

// discarded is an answer that nobody reads.
type discarded struct{ header http.Header }

func (d discarded) Header() http.Header         { return d.header }
func (d discarded) WriteHeader(int)             {}
func (d discarded) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkAnswer measures what a Door adds to each request, with its log line and the
// router, and without net/http.
func BenchmarkAnswer(b *testing.B) {
	d := newDoor(b)
	d.config.Log, _ = telemetry.NewLog("info", "json", io.Discard)
	e := d.NewEcho()
	body := []byte("{}\n")
	e.RouteNotFound("/*", func(c echo.Context) error { return Respond(c, http.StatusOK, "application/json", body) })
	r := httptest.NewRequest(http.MethodGet, "http://localhost/path", http.NoBody)
	r.ContentLength = 0
	for name, value := range map[string]string{"User-Agent": "benchmark", "Accept": "application/json", "Accept-Encoding": "gzip"} {
		r.Header.Set(name, value)
	}
	w := discarded{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		e.ServeHTTP(w, r)
	}
}
