package demo

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

const (
	// maxStreams limits the pages that are open at once.
	maxStreams = 32
	// heartbeat is how often a stream without flows sends a comment, so that the end of a
	// page is noticed.
	heartbeat = 15 * time.Second
)

// stream answers GET /demo/flow with the flows as server-sent events (HTML, section 9.2),
// the remembered ones first. A flow is sent again when it changes.
func (r *Recorder) stream(w http.ResponseWriter, req *http.Request) {
	if r.streams.Add(1) > maxStreams {
		r.streams.Add(-1)
		http.Error(w, "Too many pages are open.", http.StatusServiceUnavailable)
		return
	}
	defer r.streams.Add(-1)
	w.Header().Set("Content-Type", "text/event-stream")
	controller := http.NewResponseController(w)
	// A browser that reconnects says what it has. If the demo was restarted meanwhile, that
	// is of another run.
	// A page that opens a stream anew says so in the query.
	version := 0
	if run, last, _ := cutEventID(cmp.Or(req.Header.Get("Last-Event-ID"), req.URL.Query().Get("after"))); run == r.run {
		version = last
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	_, err := fmt.Fprintf(w, "retry: 1000\nevent: run\ndata: %q\n\n", r.run)
	for err == nil {
		flows, now, changed := r.since(version)
		version = now
		if err = r.writeFlows(w, flows); err == nil {
			err = controller.Flush()
		}
		if err != nil {
			return // the page was closed
		}
		select {
		case <-changed:
		case <-beat.C:
			_, err = fmt.Fprint(w, ":\n\n")
		case <-req.Context().Done():
			return
		}
	}
}

func (r *Recorder) writeFlows(w http.ResponseWriter, flows []Flow) error {
	var text bytes.Buffer
	for _, flow := range flows {
		data, err := json.Marshal(flow)
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "id: %s-%d\ndata: %s\n\n", r.run, flow.version, data)
	}
	_, err := w.Write(text.Bytes())
	return err
}

// cutEventID reads the ID of an event: the run of the demo, and the version.
func cutEventID(id string) (run string, version int, err error) {
	for i := len(id) - 1; i >= 0; i-- {
		if id[i] == '-' {
			version, err = strconv.Atoi(id[i+1:])
			return id[:i], version, err
		}
	}
	return "", 0, strconv.ErrSyntax
}
