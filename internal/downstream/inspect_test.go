package downstream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"middletier/internal/downstream"
)

// A body that must be inspected is sent as it was read, however it came, and can be sent
// again.
func TestInspectedBodies(t *testing.T) {
	var tokens []string
	api := &recorder{next: func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer token-1" {
			w.WriteHeader(401)
		}
	}}
	e := startWith(t, api)
	var inspected []string
	e.inspect = func(body []byte) error {
		inspected = append(inspected, string(body))
		return nil
	}
	e.token = func(_ context.Context, rejected downstream.Rejection) (string, error) {
		tokens = append(tokens, rejected.Token)
		return fmt.Sprintf("token-%d", len(tokens)), nil
	}
	most := strings.Repeat("x", downstream.InspectLimit)
	for name, row := range map[string]struct{ request, body string }{
		"of known length":   {"Content-Length: 4\r\n\r\nbody", "body"},
		"in pieces":         {"Transfer-Encoding: chunked\r\n\r\n1\r\nb\r\n3;x=y\r\nody\r\n0\r\n\r\n", "body"},
		"none":              {"Content-Length: 0\r\n\r\n", ""},
		"the largest":       {fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(most), most), most},
		"largest in pieces": {fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(most), most), most},
	} {
		tokens, inspected = nil, nil
		before := len(api.all())
		answer := e.raw("POST /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" + row.request)
		sent := api.all()[before:]
		if answer.status != 200 || !reflect.DeepEqual(inspected, []string{row.body}) || !reflect.DeepEqual(tokens, []string{"", "token-1"}) {
			t.Errorf("%s: got %d %s, inspected %d bodies, tokens %q", name, answer.status, answer.body, len(inspected), tokens)
		}
		if len(sent) != 2 {
			t.Errorf("%s: the API got %d requests", name, len(sent))
		}
		for _, request := range sent {
			if request.body != row.body || request.length != int64(len(row.body)) {
				t.Errorf("%s: the API got %d bytes of %d", name, len(request.body), request.length)
			}
		}
	}
}

// What is refused goes nowhere, and no token is fetched for it.
func TestInspectionRefuses(t *testing.T) {
	refusal := errors.New("not this one")
	api := &recorder{}
	e := startWith(t, api)
	e.token = func(context.Context, downstream.Rejection) (string, error) {
		t.Error("a token was fetched")
		return "token-1", nil
	}
	e.inspect = func([]byte) error { return refusal }
	for _, request := range []string{
		"Content-Length: 4\r\n\r\nbody", "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", "Content-Length: 0\r\n\r\n",
	} {
		if e.raw("POST /x HTTP/1.1\r\nHost: h\r\n" + request); !errors.Is(e.result(), refusal) {
			t.Errorf("%q: Forward returned another error", request)
		}
	}
	e.inspect = func(body []byte) error {
		t.Errorf("%d bytes were inspected", len(body))
		return nil
	}
	more := strings.Repeat("x", downstream.InspectLimit+1)
	for name, request := range map[string]string{
		"too large":           fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(more), more),
		"too large in pieces": fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(more), more),
		"announced only":      fmt.Sprintf("Content-Length: %d\r\n\r\n", len(more)),
	} {
		e.raw("POST /x HTTP/1.1\r\nHost: h\r\n" + request)
		var tooLarge *http.MaxBytesError
		if err := e.result(); !errors.As(err, &tooLarge) {
			t.Errorf("%s: Forward returned %v", name, err)
		}
	}
	conn := e.dial("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo")
	_ = conn.CloseWrite()
	if err := e.result(); !errors.Is(err, downstream.ErrBody) && !errors.Is(err, context.Canceled) {
		t.Errorf("a body that ends early: Forward returned %v", err)
	}
	_ = conn.Close()
	if sent := api.all(); len(sent) > 0 {
		t.Errorf("the API got %+v", sent)
	}
}

// A caller that holds its body back does not hold the call.
func TestInspectionWaitsForTheBodyNoLongerThanForTheRequest(t *testing.T) {
	e := start(t, serve(t, &recorder{}), func(c *downstream.Config) { c.RequestTimeout = 50 * time.Millisecond })
	e.inspect = func([]byte) error { return nil }
	conn := e.dial("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo")
	if err := e.result(); !errors.Is(err, downstream.ErrBody) {
		t.Errorf("Forward returned %v", err)
	}
	_ = conn.Close()
}

func TestTrailersOfAnInspectedBody(t *testing.T) {
	got := make(chan http.Header, 1)
	e := startWith(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the trailers come at its end
		got <- r.Trailer
	}))
	e.inspect = func([]byte) error { return nil }
	e.raw("POST /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTrailer: X-Sum, Authorization\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"1\r\nx\r\n0\r\nX-Sum: 1\r\nAuthorization: Bearer x\r\n\r\n")
	if want := (http.Header{"X-Sum": {"1"}}); !reflect.DeepEqual(<-got, want) {
		t.Errorf("trailers differ from %v", want)
	}
}
