package main

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Requests whose end is ambiguous. Every request that reaches the API has one clear
// beginning and end, and a smuggled second request is treated as a request of its
// own: without a token it is refused.
func TestRequestsWhoseEndIsInDoubt(t *testing.T) {
	w := newWorld(t)
	alice := w.alice()
	arrived := make(chan string, 10) // bodies, by path
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if len(r.TransferEncoding) > 0 && r.ContentLength >= 0 || len(r.Header["Content-Length"]) > 1 || r.Header.Get("Authorization") == "" {
			t.Errorf("the API got %v with %v, length %d", r.Header, r.TransferEncoding, r.ContentLength)
		}
		arrived <- r.URL.Path + " " + string(body)
	})
	const (
		smuggled = "GET /api/todo/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
		last     = "GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	)
	for _, row := range []struct {
		name, headers, body string
		status              int
		arrives             string // at the API; "": nothing
	}{
		{"a length", "Content-Length: 4\r\n", "body", 200, "/items body"},
		{"chunks", "Transfer-Encoding: chunked\r\n", "4\r\nbody\r\n0\r\n\r\n", 200, "/items body"},
		{"a length twice, the same", "Content-Length: 4\r\nContent-Length: 4\r\n", "body", 200, "/items body"},
		{"length and chunks: chunks (RFC 9112, section 6.3)", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "4\r\nbody\r\n0\r\n\r\n" + smuggled, 200, "/items body"},
		{"length and no chunks", "Content-Length: 60\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n" + smuggled, 200, "/items "},
		{"line feeds only", "Content-Length: 4\n", "body", 200, "/items body"},
		{"a folded header", "X-Folded: a\r\n Content-Length: 60\r\nContent-Length: 4\r\n", "body" + smuggled, 200, "/items body"},

		{"lengths that differ", "Content-Length: 4\r\nContent-Length: 60\r\n", "body" + smuggled, 400, ""},
		{"lengths in one line", "Content-Length: 4, 60\r\n", "body" + smuggled, 400, ""},
		{"a length with a sign", "Content-Length: +4\r\n", "body" + smuggled, 400, ""},
		{"a negative length", "Content-Length: -4\r\n", "body" + smuggled, 400, ""},
		{"a length in hex", "Content-Length: 0x4\r\n", "body" + smuggled, 400, ""},
		{"a space after the name", "Content-Length : 4\r\n", "body" + smuggled, 400, ""},
		{"a folded first header", "", "", 400, ""},
		{"another coding", "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n" + smuggled, 501, ""},
		{"two codings", "Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n" + smuggled, 501, ""},
		{"chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n" + smuggled, 501, ""},
		{"a coding after a tab", "Transfer-Encoding:\tchunked, identity\r\n", "0\r\n\r\n" + smuggled, 501, ""},
		{"two hosts", "Host: y\r\n", "", 400, ""},
		{"a host that is none", "", "", 400, ""},
		{"a NUL", "X-Nul: a\x00b\r\n", "", 400, ""},
		{"a bare CR", "X-Cr: a\rContent-Length: 60\r\n", "", 400, ""},
		{"no name", ": x\r\n", "", 400, ""},
		{"a name of other letters", "X-\xc3\xa4: x\r\n", "", 400, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			conn := w.dial(t, 15*time.Second)
			defer conn.Close()
			head := "POST /api/todo/items HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + alice + "\r\n"
			switch row.name {
			case "a folded first header":
				head = "POST /api/todo/items HTTP/1.1\r\n Host: x\r\nHost: x\r\nAuthorization: Bearer " + alice + "\r\n"
			case "a host that is none":
				head = strings.Replace(head, "Host: x", "Host: x/y", 1)
			}
			if _, err := io.WriteString(conn, head+row.headers+"\r\n"+row.body+last); err != nil {
				t.Fatal(err)
			}
			var statuses []int
			for reader := bufio.NewReader(conn); ; {
				resp, err := http.ReadResponse(reader, nil)
				if err != nil {
					break // the end of the connection
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				statuses = append(statuses, resp.StatusCode)
			}
			if len(statuses) == 0 || statuses[0] != row.status {
				t.Errorf("got %v, want %d first", statuses, row.status)
			}
			for _, status := range statuses[min(1, len(statuses)):] {
				if status != 401 && status != 400 && status != 404 {
					t.Errorf("what followed was answered %d", status)
				}
			}
			got := ""
			for len(arrived) > 0 {
				got += <-arrived
			}
			if got != row.arrives {
				t.Errorf("the API got %q, want %q", got, row.arrives)
			}
		})
	}
}
