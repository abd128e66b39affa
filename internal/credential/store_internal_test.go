package credential

import (
	"testing"
	"time"
)

// A file that was written a moment ago may not be complete. One of a machine whose clock is
// ahead is read all the same.
func TestFilesThatAreJustWrittenAreLeftAlone(t *testing.T) {
	now := time.Now()
	for ago, want := range map[time.Duration]bool{
		0: false, settleTime - 1: false, settleTime: true, time.Hour: true, -1: true, -time.Hour: true,
	} {
		if got := isSettled(now.Add(-ago), now); got != want {
			t.Errorf("written %v ago: got %v, want %v", ago, got, want)
		}
	}
}
