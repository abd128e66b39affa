package main

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// serveStreams answers as a server of revision 2025-11-25 does, and is silent for so long
// before an answer to slow begins, and in the middle of every stream.
func serveStreams(silence time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		late := strings.Contains(string(body), "slow")
		if late {
			time.Sleep(silence)
		}
		w.Header().Set("Mcp-Session-Id", "session-1")
		if r.Method == http.MethodDelete || len(body) == 0 && r.Method == http.MethodPost {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "id: 1\ndata: "+r.Method+" "+r.Header.Get("Last-Event-ID")+r.Header.Get("Mcp-Session-Id")+"\n\n")
		_ = http.NewResponseController(w).Flush()
		if !late {
			time.Sleep(silence)
		}
		_, _ = io.WriteString(w, "id: 2\ndata: end\n\n")
	}
}

// wantStreams reads the streams of a server that is silent longer than a request may take.
func (w *world) wantStreams(t *testing.T) {
	t.Helper()
	for name, row := range map[string]struct{ method, message, first string }{
		"an answer":           {"POST", callOfTool("list"), "POST session-1"},
		"an answer that late": {"POST", callOfTool("slow"), "POST session-1"},
		"the server's own":    {"GET", "", "GET 7session-1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := http.NewRequest(row.method, w.url+"/api/todo/mcp", strings.NewReader(row.message))
			if err != nil {
				t.Fatal(err)
			}
			r.Header = http.Header{
				"Authorization": {"Bearer " + w.bob()}, "Mcp-Session-Id": {"session-1"},
				"Accept": {"application/json, text/event-stream"}, "Content-Type": {"application/json"},
			}
			if row.method == "GET" {
				r.Body, r.ContentLength = nil, 0
				r.Header.Set("Accept", "text/event-stream")
				r.Header.Set("Last-Event-ID", "7")
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			events := bufio.NewReader(resp.Body)
			_, _ = events.ReadString('\n')
			first, _ := events.ReadString('\n')
			rest, err := io.ReadAll(events)
			_ = resp.Body.Close()
			if resp.StatusCode != 200 || first != "data: "+row.first+"\n" || !strings.Contains(string(rest), "data: end") || err != nil ||
				resp.Header.Get("Mcp-Session-Id") != "session-1" {
				t.Errorf("got %d %v %q %q, %v", resp.StatusCode, resp.Header, first, rest, err)
			}
		})
	}
}

// Answers and the server's own stream have no deadline, however long they are silent.
func TestMCPStreamsOutliveRequests(t *testing.T) {
	const limit = time.Second
	w := newWorld(t, withMCP, func(f *file) {
		f.Server.RequestTimeout = limit
		d := f.DownstreamAPIs["todo"]
		d.Timeout = limit
		f.DownstreamAPIs["todo"] = d
	})
	w.api.handle(serveStreams(3 * limit / 2))
	for end := time.Now().Add(time.Minute); ; { // a token that takes longer is another matter
		if r := w.send("DELETE", w.url+"/api/todo/mcp", w.bob(), nil, "Mcp-Session-Id: session-1"); r.StatusCode == 204 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("DELETE: got %d %s", r.StatusCode, r.body)
		}
	}
	w.wantStreams(t)
}
