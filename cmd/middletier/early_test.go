package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"middletier/internal/testkit/certtest"

	"golang.org/x/sync/errgroup"
)

// The service trusts the certificate that all servers of httptest have.
func init() {
	if os.Getenv(roleVariable) != "" {
		return // this process is the service itself
	}
	http.DefaultTransport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: certtest.Loopback().Pool()}
}

// newAPI starts an API that speaks HTTP/2 over TLS, or HTTP/1.1.
func newAPI(t *testing.T, http2 bool, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	api := httptest.NewUnstartedServer(handler)
	api.EnableHTTP2 = http2
	if http2 {
		api.StartTLS()
	} else {
		api.Start()
	}
	t.Cleanup(api.Close)
	return api
}

// inFrontOf puts the service, which speaks HTTP/2 without TLS too, in front of an
// API.
func inFrontOf(api *httptest.Server) func(*file) {
	return func(f *file) {
		f.Server.H2C = true
		d := f.DownstreamAPIs["todo"]
		d.BaseURL = api.URL + "/"
		f.DownstreamAPIs["todo"] = d
	}
}

// protocolClients returns a client for each of the protocols, without TLS.
func protocolClients(t *testing.T) map[string]*http.Client {
	clients := map[string]*http.Client{}
	for _, name := range []string{"HTTP/1.1", "HTTP/2.0"} {
		protocols := &http.Protocols{}
		protocols.SetHTTP1(name == "HTTP/1.1")
		protocols.SetUnencryptedHTTP2(name == "HTTP/2.0")
		transport := &http.Transport{Protocols: protocols}
		t.Cleanup(transport.CloseIdleConnections)
		clients[name] = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	}
	return clients
}

// An API may end its answer while the caller's body is still open, such as a gRPC
// server that has received enough. The end of the answer and its trailers arrive at
// once.
func TestAnswerEndsBeforeTheUpload(t *testing.T) { answerEndsBeforeTheUpload(t, 20) }

// answerEndsBeforeTheUpload makes so many calls by each protocol.
func answerEndsBeforeTheUpload(t *testing.T, calls int) {
	const atOnce = 20
	for _, apiProtocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		api := newAPI(t, apiProtocol == "HTTP/2.0", func(rw http.ResponseWriter, r *http.Request) {
			stream := http.NewResponseController(rw)
			_ = stream.EnableFullDuplex() // HTTP/2 needs none
			if _, err := io.ReadFull(r.Body, make([]byte, 5)); err != nil || r.Proto != apiProtocol {
				t.Errorf("the API got %v by %s, want %s", err, r.Proto, apiProtocol)
			}
			if r.ProtoMajor == 1 {
				rw.Header().Set("Connection", "close") // else net/http takes the body's rest for a request
			}
			rw.Header().Set("Trailer", "Grpc-Status")
			if r.URL.Path == "/unauthorized" {
				rw.WriteHeader(401)
			}
			_, _ = io.WriteString(rw, "enough")
			_ = stream.Flush() // else it would have a length, and HTTP/1.1 no trailers with that
			rw.Header().Set("Grpc-Status", "0")
		})
		w := newWorld(t, inFrontOf(api))
		alice := w.alice()
		for protocol, client := range protocolClients(t) {
			for path, want := range map[string]int{"/items": 200, "/unauthorized": 502} {
				t.Run(protocol+" to "+apiProtocol+path, func(t *testing.T) {
					var group errgroup.Group
					group.SetLimit(atOnce)
					for range calls {
						group.Go(func() error {
							body, sender := io.Pipe()
							req, err := http.NewRequest("POST", w.url+"/api/todo"+path, body)
							if err != nil {
								return err
							}
							req.Header.Set("Authorization", "Bearer "+alice)
							go func() { _, _ = io.WriteString(sender, "first") }()
							resp, err := client.Do(req)
							if err != nil {
								return err
							}
							answer, err := io.ReadAll(resp.Body)
							_ = sender.Close() // now Close does not wait for it
							_ = resp.Body.Close()
							if err != nil || resp.StatusCode != want || resp.Proto != protocol {
								return fmt.Errorf("got %d by %s, %v, want %d", resp.StatusCode, resp.Proto, err, want)
							}
							if want == 200 && (string(answer) != "enough" || resp.Trailer.Get("Grpc-Status") != "0") {
								return fmt.Errorf("got %q with trailers %v", answer, resp.Trailer)
							}
							return nil
						})
					}
					if err := group.Wait(); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}
