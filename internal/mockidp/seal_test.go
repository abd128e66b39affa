package mockidp

import (
	"strings"
	"testing"
)

// Only the platform that sealed a record reads it, and only as what it is.
func TestSealedRecords(t *testing.T) {
	ours, _ := newSealer(newSealingKey())
	other, _ := newSealer(newSealingKey())
	text := ours.seal("refresh token", refreshRecord{ClientID: "web"})
	var record refreshRecord
	if err := ours.open("refresh token", text, &record); err != nil || record.ClientID != "web" {
		t.Fatalf("got %v, %v", record, err)
	}
	if strings.Contains(text, "web") || text == ours.seal("refresh token", record) {
		t.Errorf("got %q: readable, or the same twice", text)
	}
	changed := "A" + text[1:]
	if changed == text {
		changed = "B" + text[1:]
	}
	for name, open := range map[string]error{
		"another kind":     ours.open("code", text, &record),
		"another platform": other.open("refresh token", text, &record),
		"changed":          ours.open("refresh token", changed, &record),
		"cut off":          ours.open("refresh token", text[:20], &record),
		"empty":            ours.open("refresh token", "", &record),
		"with a line":      ours.open("refresh token", text[:30]+"\n"+text[30:], &record),
		"with padding":     ours.open("refresh token", text+"=", &record),
	} {
		if open == nil {
			t.Errorf("%s: opened", name)
		}
	}
}
