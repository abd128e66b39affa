package downstream_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"middletier/internal/downstream"
	"middletier/internal/testkit/wiretest"
)

const trailerNames = "X-Sum, X-Later, X-Never, Authorization, Cookie, Te, X-Forwarded-For, X_forwarded_for, X-Ms-Client-Principal, X-Request-Id, Content-Type, X-Hop, X-Dropped, X-Set"

// Trailers that a request announces are filtered like its headers.
func TestTrailersOfARequest(t *testing.T) {
	got := make(chan *http.Request, 1)
	e := start(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		got <- r
	})), func(c *downstream.Config) {
		c.DropRequest, c.SetRequest = []string{"x-dropped"}, map[string]string{"X-Set": "ours"}
	})
	var trailers strings.Builder
	for name := range strings.SplitSeq(trailerNames+", X-Unannounced", ", ") {
		if name != "X-Never" {
			trailers.WriteString(name + ": of the trailer\r\n")
		}
	}
	answer := e.raw("POST /x HTTP/1.1\r\nHost: h\r\nConnection: close, x-hop\r\nTE: trailers\r\nTrailer: " + trailerNames +
		"\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"4\r\nbody\r\n0\r\n" + trailers.String() + "\r\n")
	if answer.status != 200 {
		t.Fatalf("got %d %s", answer.status, answer.body)
	}
	want := http.Header{"X-Sum": {"of the trailer"}, "X-Later": {"of the trailer"}, "X-Never": nil}
	if r := <-got; !reflect.DeepEqual(r.Trailer, want) || r.Header.Get("Authorization") != "Bearer token-1" {
		t.Errorf("got trailers %v and headers %v, want %v", r.Trailer, r.Header, want)
	}
}

// Trailers of a response are filtered like its headers, announced or not.
func TestTrailersOfAResponse(t *testing.T) {
	for name, announce := range map[string]string{
		"announced": "Trailer: X-Sum, X-Later, Set-Cookie, X-Request-Id, X-Dropped\r\n", "in part": "Trailer: X-Sum\r\n", "not announced": "",
	} {
		t.Run(name, func(t *testing.T) {
			url := wiretest.ServeRequests(t, func(conn net.Conn, _ *http.Request) {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+announce+"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n"+
					"X-Sum: 1\r\nX-Later: 2\r\nX-Later: 3\r\nSet-Cookie: a=b\r\nAccess-Control-Allow-Origin: *\r\nX-Request-Id: theirs\r\nX-Dropped: 1\r\nConnection: close\r\nKeep-Alive: 1\r\nProxy-Authenticate: Basic\r\nContent-Type: text/evil\r\n\r\n")
			})
			e := start(t, url, func(c *downstream.Config) { c.DropResponse = []string{"x-dropped"} })
			conn := e.dial("GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
			reader := bufio.NewReader(conn)
			resp, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || string(body) != "body" {
				t.Errorf("got %q %v", body, err)
			}
			if want := (http.Header{"X-Sum": {"1"}, "X-Later": {"2", "3"}}); !reflect.DeepEqual(resp.Trailer, want) {
				t.Errorf("trailers: got %v, want %v", resp.Trailer, want)
			}
		})
	}
}
