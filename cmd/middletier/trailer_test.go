package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Trailers of a request over HTTP/2 reach an API over HTTP/2, and the answer's
// trailers reach the caller, whether or not the length of the request's body is
// known.
func TestTrailersOverHTTP2(t *testing.T) {
	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Answer")
		_, _ = fmt.Fprintf(w, "%d %s %v %s", r.ContentLength, body, err, r.Trailer.Get("X-Sum"))
		w.Header().Set("X-Answer", "the end")
	}))
	api.Config.Protocols = &h2c
	api.Start()
	t.Cleanup(api.Close)
	w := newWorld(t, func(f *file) {
		f.Server.H2C = true
		d := f.DownstreamAPIs["todo"]
		d.BaseURL = "h2c://" + api.Listener.Addr().String()
		f.DownstreamAPIs["todo"] = d
	})
	transport := &http.Transport{Protocols: &h2c}
	t.Cleanup(transport.CloseIdleConnections)
	for _, row := range []struct {
		length int64
		want   string
	}{{4, "4 body <nil> 17"}, {-1, "-1 body <nil> 17"}} {
		r, err := http.NewRequest("POST", w.url+"/api/todo/items", io.MultiReader(strings.NewReader("body")))
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength, r.Trailer = row.length, http.Header{"X-Sum": {"17"}}
		r.Header.Set("Authorization", "Bearer "+w.alice())
		resp, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || string(body) != row.want || resp.Trailer.Get("X-Answer") != "the end" {
			t.Errorf("length %d: got %d %q %v, trailers %v, want %q", row.length, resp.StatusCode, body, err, resp.Trailer, row.want)
		}
	}
}
