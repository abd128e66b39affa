package session

import (
	"testing"
	"time"
)

// A sign-in may take ten minutes, and the clock of the replica that it began at may be a minute
// ahead.
func TestLifeOfASignIn(t *testing.T) {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for age, want := range map[time.Duration]bool{
		-time.Minute - 1: true, -time.Minute: false, 0: false, 10*time.Minute - 1: false, 10 * time.Minute: true,
	} {
		if got := (attempt{Began: began.Unix()}).isOver(began.Add(age)); got != want {
			t.Errorf("isOver after %v: got %t, want %t", age, got, want)
		}
	}
}
