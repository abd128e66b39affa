package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"middletier/internal/mockidp"
)

// gate holds requests to the token endpoint up until it opens.
type gate struct {
	arrived chan struct{} // a request at the closed gate
	opened  chan struct{}
	open    func()
}

func (w *world) newGate() *gate {
	g := &gate{arrived: make(chan struct{}, 100), opened: make(chan struct{})}
	g.open = sync.OnceFunc(func() { close(g.opened) })
	d := detour(func(r *http.Request, platform http.RoundTripper) (*http.Response, error) {
		select {
		case <-g.opened:
		default:
			g.arrived <- struct{}{}
		}
		select {
		case <-g.opened:
			return platform.RoundTrip(r)
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	})
	w.detour.Store(&d)
	w.t.Cleanup(g.open)
	return g
}

// crowd makes n calls at once with one token, by turns of each service, and
// returns the answers.
func (w *world) crowd(n int, token string, urls ...string) []*reply {
	w.t.Helper()
	replies := make([]*reply, n)
	var wg sync.WaitGroup
	for i := range replies {
		req, err := http.NewRequest("GET", urls[i%len(urls)]+"/api/todo/items", nil)
		if err != nil {
			w.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		wg.Go(func() { replies[i] = w.do(req) })
	}
	wg.Wait()
	return replies
}

// awaitCrowd waits until n requests of this process wait for a token.
func awaitCrowd(t *testing.T, n int) {
	t.Helper()
	stacks, waiting := make([]byte, 8<<20), 0
	eventually(t, func() bool {
		begun := time.Now()
		all := stacks[:runtime.Stack(stacks, true)]
		// While stacks are written nothing else runs: a crowd that is looked at all the
		// time does not gather.
		time.Sleep(10 * time.Since(begun))
		waiting = bytes.Count(all, []byte("[select]:\nmiddletier/internal/obo.(*Cache).fetch("))
		return waiting == n
	}, func() string { return fmt.Sprintf("%d requests wait for a token, want %d", waiting, n) })
}

// unhurried gives an exchange the time that a test may need to gather a crowd, or
// a busy machine to make it.
func unhurried(f *file) { f.AzureAd.Timeout, f.Server.RequestTimeout = time.Minute, time.Minute }

// The caller who began the exchange leaves before it ends.
func TestExchangeOutlivesTheCallerWhoBeganIt(t *testing.T) {
	w := newWorld(t, unhurried)
	g := w.newGate()
	alice := w.alice()
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", w.url+"/api/todo/items", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+alice)
	left := make(chan error)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		left <- err
	}()
	<-g.arrived // the first one's
	answers := make(chan []*reply)
	go func() { answers <- w.crowd(50, alice, w.url) }()
	awaitCrowd(t, 51)
	leave()
	if err := <-left; err == nil {
		t.Error("the first caller is answered, want it to have left")
	}
	awaitCrowd(t, 50)
	g.open()
	for _, r := range <-answers {
		if r.StatusCode != 200 {
			t.Fatalf("got %d %s, want 200", r.StatusCode, r.body)
		}
	}
	if got := w.exchanges(); got != 1 {
		t.Errorf("got %d exchanges, want 1", got)
	}
}

// After refresh_in, requests use the cached token while one exchange on behalf of
// the user fetches another. Here it does not end before they are answered.
func TestNoRequestWaitsForARenewal(t *testing.T) {
	w := newWorld(t, unhurried)
	w.idp.AddFault(mockidp.Fault{
		Flow: "on_behalf_of", Times: 1,
		Body: `{"token_type":"Bearer","expires_in":3600,"refresh_in":1,"access_token":"the-first"}`,
	})
	alice := w.alice()
	sent := func() string {
		t.Helper()
		if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != 200 {
			t.Fatalf("got %d %s, want 200", r.StatusCode, r.body)
		}
		return strings.TrimPrefix(w.api.last(t).Header.Get("Authorization"), "Bearer ")
	}
	if got := sent(); got != "the-first" {
		t.Fatalf("the API got %q, want the provider's token", got)
	}
	g := w.newGate()
	eventually(t, func() bool {
		if got := sent(); got != "the-first" {
			t.Fatalf("the API got %q while the renewal is under way, want the held token", got)
		}
		return len(g.arrived) > 0
	}, func() string { return "no renewal" })
	for range 50 {
		if got := sent(); got != "the-first" {
			t.Fatalf("the API got %q while the renewal is under way, want the held token", got)
		}
	}
	if got := len(g.arrived); got != 1 {
		t.Errorf("%d renewals at once, want 1", got)
	}
	g.open()
	eventually(t, func() bool { return sent() != "the-first" }, func() string { return "the renewed token is not used" })
	var flows []string
	for _, r := range w.idp.Requests() {
		if r.Method == http.MethodPost {
			flows = append(flows, r.Form.Get("grant_type")+" "+r.Form.Get("requested_token_use"))
		}
	}
	if onBehalfOf := "urn:ietf:params:oauth:grant-type:jwt-bearer on_behalf_of"; !slices.Equal(flows, []string{onBehalfOf, onBehalfOf}) {
		t.Errorf("token requests: got %q, want two on behalf of the user", flows)
	}
}
