//go:build slow

package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"testing"

	"golang.org/x/sync/errgroup"

	"middletier/internal/config"
	"middletier/internal/testkit/tooltest"
)

// How large uploads are, how often each is refused, and how many of them come at once:
// no more than are sent, on a busy machine, in the 4 s in which the rest is read.
var uploadSizes = []struct {
	size          int64
	times, atOnce int
}{
	{200 << 10, 100, 10},
	{5 << 20, 100, 4},
	{45 << 20, 10, 1},
}

// refusal is one reason why uploads are not taken.
type refusal struct {
	*uploads
	uploadRow
}

// newRefusals starts services over TLS that refuse uploads of any size, each in front
// of an API that answers before it reads, by HTTP/1.1 or HTTP/2.
func newRefusals(t *testing.T) []refusal {
	t.Helper()
	service := func(http2 bool, limit config.Size, handler http.HandlerFunc) *uploads {
		w := newWorld(t, inFrontOf(newAPI(t, http2, handler)), func(f *file) {
			f.Server.TLS, f.Server.H2C = writePair(t, t.TempDir(), "server"), false
			f.Server.MaxBodySize = limit
		})
		return &uploads{world: w, token: w.alice()}
	}
	early := func(rw http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 1 {
			_ = http.NewResponseController(rw).EnableFullDuplex() // else net/http reads first
			rw.Header().Set("Connection", "close")
		}
		rw.WriteHeader(409)
		_, _ = io.WriteString(rw, "not now")
	}
	http1, http2 := service(false, 64<<20, early), service(true, 64<<20, early)
	small := service(false, 64<<10, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	const path = "/api/todo/items"
	return []refusal{
		{http1, uploadRow{name: "a bad token", path: path, token: "none", status: 401}},
		{small, uploadRow{name: "too large", path: path, token: small.token, status: 413}},
		{small, uploadRow{name: "too large, unsized", path: path, token: small.token, status: 413, unsized: true}},
		{http1, uploadRow{name: "the API's own answer by HTTP/1.1", path: path, token: http1.token, status: 409}},
		{http2, uploadRow{name: "the API's own answer by HTTP/2", path: path, token: http2.token, status: 409}},
	}
}

// The caller of a refused upload sees the status every time, whoever refuses it and
// however it is sent.
func TestSlowRefusalsReachUploads(t *testing.T) {
	for _, r := range newRefusals(t) {
		for name, send := range map[string]func(*http.Client, uploadRow) (int, error){
			"Go, HTTP/1.1":             r.send,
			"Go, HTTP/2":               r.send,
			"all sent first, HTTP/1.1": func(_ *http.Client, row uploadRow) (int, error) { return r.sendAllFirst(row) },
			"all sent first, HTTP/2":   func(_ *http.Client, row uploadRow) (int, error) { return r.uploadFrames(row) },
		} {
			for _, s := range uploadSizes {
				row := r.uploadRow
				row.size = s.size
				t.Run(fmt.Sprintf("%s/%s/%d bytes", row.name, name, row.size), func(t *testing.T) {
					client := trustingClient(t, name == "Go, HTTP/2")
					lost := make([]error, s.times)
					var group errgroup.Group
					group.SetLimit(s.atOnce)
					for i := range lost {
						group.Go(func() error {
							if status, err := send(client, row); err != nil || status != row.status {
								lost[i] = fmt.Errorf("upload %d: got %d, %v, want %d", i, status, err, row.status)
							}
							return nil
						})
					}
					_ = group.Wait()
					if err := errors.Join(lost...); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}

// So do callers in Node.
func TestSlowRefusalsReachUploadsFromNode(t *testing.T) {
	node := tooltest.Find(t, "node", "nodejs")
	for _, r := range newRefusals(t) {
		if r.unsized {
			continue // its client says how much comes
		}
		for _, client := range []string{"https", "http2", "fetch"} {
			for _, s := range uploadSizes {
				t.Run(fmt.Sprintf("%s/%s/%d bytes", r.name, client, s.size), func(t *testing.T) {
					command := exec.CommandContext(t.Context(), node, "../../clients/javascript/uploads.mjs",
						client, r.url+r.path, r.uploadRow.token, strconv.Itoa(r.status), strconv.FormatInt(s.size, 10), strconv.Itoa(s.times))
					command.Env = append(command.Environ(), "NODE_EXTRA_CA_CERTS="+r.file.Server.TLS.CertFile)
					if out, err := command.CombinedOutput(); err != nil {
						t.Errorf("%v\n%s", err, out)
					}
				})
			}
		}
	}
}
