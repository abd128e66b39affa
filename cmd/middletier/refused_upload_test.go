package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"middletier/internal/config"
)

// uploads is a service that refuses uploads, and one API that does.
type uploads struct {
	*world
	token string
	rows  []uploadRow
}

// uploadRow is one way to be refused.
type uploadRow struct {
	name, path, token string
	size              int64
	status            int
}

// tooLarge is what this service does not accept.
const tooLarge = 50 << 20

// newUploads starts the service over TLS, in front of an API that answers 413
// without reading.
func newUploads(t *testing.T, sizes ...int64) *uploads {
	t.Helper()
	w := newWorld(t, func(f *file) {
		f.Server.TLS = writePair(t, t.TempDir(), "server")
		f.Server.MaxBodySize = config.Size(tooLarge)
	})
	w.api.handle(func(rw http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(rw).EnableFullDuplex()
		rw.Header().Set("Connection", "close")
		rw.WriteHeader(413)
		_, _ = io.WriteString(rw, "too much")
	})
	u := &uploads{world: w, token: w.alice()}
	for _, size := range sizes {
		u.rows = append(u.rows,
			uploadRow{"a bad token", "/api/todo/items", "none", size, 401},
			uploadRow{"the API's own answer", "/api/todo/items", u.token, size, 413})
	}
	return u
}

// head is what goes before the body of row.
func (u *uploads) head(row uploadRow) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", row.path, row.token, row.size)
}

// send uploads as Go's client does.
func (u *uploads) send(client *http.Client, row uploadRow) (status int, err error) {
	req, err := http.NewRequest("POST", u.url+row.path, zeros(row.size))
	if err != nil {
		return 0, err
	}
	req.ContentLength = row.size
	req.Header.Set("Authorization", "Bearer "+row.token)
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// sendAllFirst uploads as .NET's HttpClient does: where sending fails before the
// answer was read, that is what it reports.
func (u *uploads) sendAllFirst(row uploadRow) (status int, err error) {
	conn, err := tls.Dial("tcp", strings.TrimPrefix(u.url, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, u.head(row)); err != nil {
		return 0, err
	}
	if _, err := io.Copy(conn, zeros(row.size)); err != nil {
		return 0, fmt.Errorf("sending: %w", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// run has each of the ways to send refused so often.
func (u *uploads) run(t *testing.T, times int) {
	for _, row := range u.rows {
		for name, send := range map[string]func(uploadRow) (int, error){
			"Go, HTTP/1.1":   func(row uploadRow) (int, error) { return u.send(trustingClient(t, false), row) },
			"Go, HTTP/2":     func(row uploadRow) (int, error) { return u.send(trustingClient(t, true), row) },
			"all sent first": u.sendAllFirst,
		} {
			t.Run(fmt.Sprintf("%s, %d bytes, %s", name, row.size, row.name), func(t *testing.T) {
				var failed []error
				for range times {
					if status, err := send(row); err != nil || status != row.status {
						failed = append(failed, fmt.Errorf("got %d, %w", status, err))
					}
				}
				if failed != nil {
					t.Errorf("%d of %d did not see %d: %v", len(failed), times, row.status, errors.Join(failed[:min(3, len(failed))]...))
				}
			})
		}
	}
}

// A caller that sends all before it reads, and one that reads at once, see why their
// upload is refused: the rest of it is read, and thrown away.
func TestRefusalsReachUploads(t *testing.T) {
	u := newUploads(t, 200<<10, 5<<20)
	u.rows = append(u.rows, uploadRow{"too large", "/api/todo/items", u.token, tooLarge + 1, 413})
	u.run(t, 2)
}
