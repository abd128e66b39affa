package main

import (
	"strings"
	"testing"
	"time"
)

// follow returns what is printed of events.
func follow(each bool, events ...string) string {
	var out strings.Builder
	lines := make(chan string, len(events))
	for _, e := range events {
		lines <- e + "\n"
	}
	close(lines)
	newWatch(&out, each).follow(lines, nil)
	return out.String()
}

func TestPackagesAreNamedAsTheyEnd(t *testing.T) {
	got := follow(false,
		`{"Action":"start","Package":"a"}`,
		`{"Action":"run","Package":"a","Test":"TestOne"}`,
		`{"Action":"output","Package":"a","Test":"TestOne","Output":"of no interest\n"}`,
		`{"Action":"pass","Package":"a","Test":"TestOne/sub","Elapsed":1}`,
		`{"Action":"pass","Package":"a","Test":"TestOne","Elapsed":1}`,
		`{"Action":"output","Package":"a","Output":"PASS\n"}`,
		`{"Action":"pass","Package":"a","Elapsed":12.34}`,
		`{"Action":"start","Package":"none"}`,
		`{"Action":"skip","Package":"none"}`)
	if want := "ok      12.3s a (1 tests)\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEverythingIsPrintedOfWhatFails(t *testing.T) {
	got := follow(false,
		`{"Action":"output","Package":"a","Test":"TestGood","Output":"of no interest\n"}`,
		`{"Action":"pass","Package":"a","Test":"TestGood"}`,
		`{"Action":"output","Package":"a","Test":"TestBad/sub","Output":"got 1, want 2\n"}`,
		`{"Action":"fail","Package":"a","Test":"TestBad/sub"}`,
		`{"Action":"fail","Package":"a","Test":"TestBad"}`,
		`{"Action":"output","Package":"a","Test":"TestPanics","Output":"panic: why\n"}`,
		`{"Action":"fail","Package":"a","Elapsed":1}`,
		`{"Action":"build-output","ImportPath":"b","Output":"b.go:1: no such thing\n"}`,
		`what the go command says itself`,
		`{"Action":"fail","Package":"b"}`)
	want := "got 1, want 2\npanic: why\nFAIL     1.0s a (2 tests)\nb.go:1: no such thing\nwhat the go command says itself\nFAIL     0.0s b (0 tests)\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTestsAreNamedWhereAsked(t *testing.T) {
	got := follow(true,
		`{"Action":"output","Package":"a","Test":"TestSlow","Output":"    1000 in 5 s\n"}`,
		`{"Action":"pass","Package":"a","Test":"TestSlow","Elapsed":5}`)
	if want := "pass     5.0s a TestSlow\n    1000 in 5 s\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What takes long says how far it is.
func TestPulse(t *testing.T) {
	var out strings.Builder
	lines, pulse := make(chan string), make(chan time.Time)
	done := make(chan struct{})
	go func() {
		defer close(done)
		newWatch(&out, false).follow(lines, pulse)
	}()
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	lines <- `{"Time":"2026-01-01T00:00:00Z","Action":"start","Package":"a"}`
	lines <- `{"Action":"run","Package":"a","Test":"TestLong/sub"}`
	pulse <- began.Add(30 * time.Second)
	close(lines)
	<-done
	if want := "...     30.0s a: 0 tests, now TestLong\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
