package downstream_test

import (
	"fmt"
	"sync"
	"testing"

	"middletier/internal/testkit/wiretest"

	"golang.org/x/net/http2"
)

// The same before anything is connected: the requests begin together, and each dials. The
// API says correctly what it has processed, and closes the connection at once: TCP may
// then lose responses that it has sent.
func TestBlamedRequestHarmsNoOtherAtTheStart(t *testing.T) {
	const others, rounds = 8, 10
	for _, code := range []http2.ErrCode{http2.ErrCodeProtocol, http2.ErrCodeCompression, http2.ErrCodeEnhanceYourCalm} {
		t.Run(code.String(), func(t *testing.T) {
			for range rounds {
				server := wiretest.ServeFrames(t, func(c *wiretest.Conn, s *wiretest.Stream) bool {
					if s.What() == "POST /blamed" {
						_ = c.WriteGoAway(c.Processed, code, nil)
						return false
					}
					if s.Ended {
						c.Reply(s)
					}
					return true
				})
				e := startHTTP2(t, server)
				var group sync.WaitGroup
				group.Go(func() {
					if got := e.do("POST", "/blamed", "body"); got.status != 599 {
						t.Errorf("the blamed one: got %d %s, want an error", got.status, got.body)
					}
				})
				for i := range others {
					group.Go(func() {
						if got := e.do("GET", fmt.Sprintf("/other/%d", i), ""); got.status != 200 {
							t.Errorf("GET: got %d %s", got.status, got.body)
						}
					})
				}
				group.Wait()
			}
		})
	}
}

// An idempotent request is sent again if its connection ended before the response, even
// if the API says that it may have processed it. It is not after a stream reset.
func TestLostConnectionHarmsNoRequestThatMayBeSentTwice(t *testing.T) {
	for name, end := range map[string]func(c *wiretest.Conn, s *wiretest.Stream) (goesOn bool){
		"closed": func(*wiretest.Conn, *wiretest.Stream) bool { return false },
		"GOAWAY": func(c *wiretest.Conn, s *wiretest.Stream) bool {
			_ = c.WriteGoAway(s.ID, http2.ErrCodeNo, nil)
			return false
		},
		"PROTOCOL_ERROR": func(c *wiretest.Conn, s *wiretest.Stream) bool {
			_ = c.WriteGoAway(s.ID, http2.ErrCodeProtocol, nil)
			return false
		},
		"INTERNAL_ERROR": func(c *wiretest.Conn, s *wiretest.Stream) bool {
			_ = c.WriteRSTStream(s.ID, http2.ErrCodeInternal)
			return true
		},
	} {
		for _, method := range []string{"GET", "PUT", "POST"} {
			t.Run(name+" "+method, func(t *testing.T) {
				server := wiretest.ServeFrames(t, func(c *wiretest.Conn, s *wiretest.Stream) bool {
					switch {
					case !s.Ended:
					case c.Number == 1 && s.What() != "GET /first":
						return end(c, s)
					default:
						c.Reply(s)
					}
					return true
				})
				e := startHTTP2(t, server)
				e.do("GET", "/first", "")
				status, arrived := 200, 2
				if method == "POST" || name == "INTERNAL_ERROR" {
					status, arrived = 599, 1
				}
				if got := e.do(method, "/x", "body"); got.status != status {
					t.Errorf("got %d %s, want %d", got.status, got.body, status)
				}
				if n := server.Count(method + " /x"); n != arrived {
					t.Errorf("the API got it %d times, want %d: %q", n, arrived, server.Requests())
				}
			})
		}
	}
}
