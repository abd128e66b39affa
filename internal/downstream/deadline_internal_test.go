package downstream

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// While a token is fetched, no reading of the body gives the API's timeout its time back, and a stream
// stays without a deadline.
func TestDeadlineWhileATokenIsFetched(t *testing.T) {
	const total, api = 60 * time.Second, 10 * time.Second
	for name, row := range map[string]struct {
		stream bool
		ends   time.Duration // 0: never
	}{"a response": {false, total}, "a stream": {true, 0}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d deadline
				begin, ended := time.Now(), time.Duration(0)
				d.start(total, api, func() {
					d.ifPassed(func(cause error) {
						if ended = time.Since(begin); !errors.Is(cause, errTimeout) {
							t.Errorf("ended with %v", cause)
						}
					})
				})
				d.awaitResponse(row.stream)
				d.responded(row.stream)
				d.awaitBody(true) // of what is read in vain
				d.awaitBody(false)
				time.Sleep(2 * total)
				if d.stop(); ended != row.ends {
					t.Errorf("ended after %v, want %v", ended, row.ends)
				}
			})
		})
	}
}
