package downstream

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"slices"
	"testing"
	"testing/synctest"
)

// slowWriter is a caller that reads informational responses slowly.
type slowWriter struct {
	http.ResponseWriter
	began chan struct{} // gets a value when one is being written …
	read  chan struct{} // … and has a value when it has been read
	wrote []string
}

func (w *slowWriter) WriteHeader(status int) {
	w.began <- struct{}{}
	<-w.read
	w.wrote = append(w.wrote, fmt.Sprint(status, w.Header()))
}

// A caller that reads slowly gets the informational response that is being written, and then the
// newest one, unless the final response has come. Its own headers are as before.
func TestNewestInformationalResponseWaits(t *testing.T) {
	early := http.StatusEarlyHints
	for name, row := range map[string]struct {
		statuses []int
		paused   bool // before the next one comes, the last is being written
		final    bool // the final response comes at once
		later    bool // another comes while the second one is being written
		idle     bool // another comes when the first one is written, and none waits
		want     []string
	}{
		"waiting":                {[]int{early, 102, early}, true, false, false, false, []string{"103 map[Link:[0]]", "103 map[Link:[2]]"}},
		"waiting for the second": {[]int{early, 102}, true, false, true, false, []string{"103 map[Link:[0]]", "102 map[Link:[1]]", "103 map[Link:[later]]"}},
		"all at once":            {[]int{early, 102, early}, false, false, false, false, []string{"103 map[Link:[0]]", "103 map[Link:[2]]"}},
		"the final one has come": {[]int{early, early}, true, true, false, false, []string{"103 map[Link:[0]]"}},
		"one and the final one":  {[]int{early}, false, true, false, false, []string{"103 map[Link:[0]]"}},
		"after a pause":          {[]int{early}, true, false, false, true, []string{"103 map[Link:[0]]", "103 map[Link:[idle]]"}},
		"100 and 101":            {[]int{100, early, 101}, true, false, false, false, []string{"103 map[Link:[1]]"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				caller := &slowWriter{httptest.NewRecorder(), make(chan struct{}), make(chan struct{}), nil}
				caller.Header().Set("X-Request-Id", "id")
				w := responseWriter{ResponseWriter: caller, call: &call{in: httptest.NewRequest("GET", "/", nil)}, client: &Client{}}
				pass := func(status int, link string) {
					if err := w.passInformational(status, textproto.MIMEHeader{"Link": {link}}); err != nil {
						t.Fatal(err)
					}
					if row.paused {
						synctest.Wait()
					}
				}
				for i, status := range row.statuses {
					pass(status, fmt.Sprint(i))
				}
				if row.final {
					w.mu.Lock()
					w.final = true // as endInformational begins
					w.mu.Unlock()
				}
				for i := range row.want {
					if i == 1 && row.idle {
						synctest.Wait()
						pass(early, "idle")
					}
					<-caller.began
					if i == 1 && row.later {
						pass(early, "later")
					}
					caller.read <- struct{}{}
				}
				synctest.Wait()
				w.endInformational()
				if !slices.Equal(caller.wrote, row.want) {
					t.Errorf("got %q, want %q", caller.wrote, row.want)
				}
				if got := fmt.Sprint(caller.Header()); got != "map[X-Request-Id:[id]]" {
					t.Errorf("the caller's headers are %s afterwards", got)
				}
			})
		})
	}
}
