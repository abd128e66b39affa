// Testwatch runs a "go test -json" command, which are its arguments, and prints what
// goes on: each package when it ends, with its seconds; where one takes long, how far it
// is; with -v each test when it ends, and what it logs. Of tests that fail it prints
// everything. It ends as go test does.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// pulse is how often the packages are named that are still running.
const pulse = 15 * time.Second

func main() {
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stderr = os.Stderr
	output, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		for reader := bufio.NewReader(output); ; {
			line, err := reader.ReadString('\n')
			if line != "" {
				lines <- line
			}
			if err != nil {
				return
			}
		}
	}()
	tick := time.NewTicker(pulse)
	newWatch(os.Stdout, slices.Contains(os.Args[1:], "-v")).follow(lines, tick.C)
	if err := cmd.Wait(); err != nil {
		fmt.Println("FAIL:", err)
		os.Exit(1)
	}
}

// event is what go test -json says (go doc test2json).
type event struct {
	Time                          time.Time
	Action, Package, Test, Output string
	Elapsed                       float64 // in seconds
}

// watch is what is known of the packages under test.
type watch struct {
	out     io.Writer
	each    bool // tests are named
	running map[string]*progress
}

// progress is how far a package is.
type progress struct {
	began time.Time
	tests int               // that ended, without subtests
	now   string            // the test that began last
	said  map[string]string // by test; that of subtests is their test's; "" is the package itself
}

func newWatch(out io.Writer, each bool) *watch {
	return &watch{out, each, map[string]*progress{}}
}

// follow prints what the lines say until they end, and at each pulse what runs.
func (w *watch) follow(lines <-chan string, pulse <-chan time.Time) {
	began := time.Now()
	for {
		select {
		case line, more := <-lines:
			if !more {
				return
			}
			var e event
			if json.Unmarshal([]byte(line), &e) != nil {
				fmt.Fprint(w.out, line) // of the go command itself
				continue
			}
			w.see(e)
		case now := <-pulse:
			if len(w.running) == 0 {
				fmt.Fprintf(w.out, "...   %6.1fs building\n", now.Sub(began).Seconds())
			}
			for name, p := range w.running {
				fmt.Fprintf(w.out, "...   %6.1fs %s: %d tests, now %s\n", now.Sub(p.began).Seconds(), name, p.tests, p.now)
			}
		}
	}
}

func (w *watch) see(e event) {
	if e.Action == "build-output" {
		fmt.Fprint(w.out, e.Output)
	}
	if e.Package == "" {
		return
	}
	p := w.running[e.Package]
	if p == nil {
		p = &progress{began: e.Time, said: map[string]string{}}
		w.running[e.Package] = p
	}
	test, sub, _ := strings.Cut(e.Test, "/")
	switch e.Action {
	case "run":
		p.now = test
	case "output":
		if !strings.HasPrefix(e.Output, "=== ") {
			p.said[test] += e.Output
		}
	case "pass", "fail", "skip":
		switch {
		case test == "":
			w.end(e, p)
		case sub == "":
			p.tests++
			w.endTest(e, p)
		}
	}
}

// endTest prints a test's output where it fails, and where tests are named.
func (w *watch) endTest(e event, p *progress) {
	if w.each {
		fmt.Fprintf(w.out, "%-5s %6.1fs %s %s\n", e.Action, e.Elapsed, e.Package, e.Test)
	}
	if w.each || e.Action == "fail" {
		fmt.Fprint(w.out, p.said[e.Test])
	}
	delete(p.said, e.Test)
}

// end prints a package's end. Where it fails, everything is printed that was not
// yet: a panic is said by the test that was running, which has no end.
func (w *watch) end(e event, p *progress) {
	delete(w.running, e.Package)
	if e.Action == "fail" {
		for _, said := range p.said {
			fmt.Fprint(w.out, said)
		}
	}
	if p.tests == 0 && e.Action == "skip" {
		return // it has no tests
	}
	mark := map[string]string{"pass": "ok", "fail": "FAIL", "skip": "skip"}[e.Action]
	fmt.Fprintf(w.out, "%-5s %6.1fs %s (%d tests)\n", mark, e.Elapsed, e.Package, p.tests)
}
