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

// Where the URL of the provider could end the policy of a page, nobody may frame the page.
func TestProviderThatIsNoSource(t *testing.T) {
	for authority, want := range map[string]string{
		"https://login.example/tenant": "https://login.example", "https://login.example:8443/tenant": "https://login.example:8443",
		"https://a;b.example/tenant": "'none'", "https://a,b.example/": "'none'", "https://'a'/": "'none'", "%": "'none'",
	} {
		if got := New(Config{Authority: authority}).providerOrigin(); got != want {
			t.Errorf("of %s: got %s, want %s", authority, got, want)
		}
	}
}
