package main

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestHelpAndVersionAreAskedForInEverySpelling(t *testing.T) {
	for line, want := range map[string]string{
		"help": "Usage: middletier <command>", "--help": "Usage: middletier <command>", "-h": "Usage: middletier <command>",
		"help serve": "Usage: middletier serve", "serve help": "Usage: middletier serve", "serve --help": "Usage: middletier serve",
		"call help": "Usage: middletier call", "help call": "Usage: middletier call", "mock --help": "--ca-out",
		"version": "middletier dev, commit", "--version": "middletier dev, commit", "version --help": "Usage: middletier version",
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), strings.Fields(line), streams{nil, &stdout, &stderr}); code != 0 ||
			!strings.Contains(stdout.String(), want) || stderr.Len() > 0 {
			t.Errorf("%s: got %d\n%s%s, want 0 and %q", line, code, &stdout, &stderr, want)
		}
	}
}

func TestUnknownWordsNameTheNearest(t *testing.T) {
	for line, want := range map[string]string{
		"serv":                  `unknown command "serv"; did you mean "serve"?`,
		"start":                 `unknown command "start"; did you mean "`,
		"help serv":             `unknown command "serv"; did you mean "serve"?`,
		"serve --confg x":       `unknown flag --confg; did you mean --config?`,
		"serve --konfiguration": `unknown flag --konfiguration; did you mean --config?`,
		"check --onlin":         `unknown flag --onlin; did you mean --online?`,
		"call todo / --meth":    `unknown flag --meth; did you mean --method?`,
		"demo --ports 1":        `unknown flag --ports; did you mean --port?`,
		"mock --ca-file x":      `unknown flag --ca-file; did you mean --`,
		"version --verbose":     `unknown flag --verbose; did you mean --version?`,
		"--verison":             `unknown flag --verison; did you mean --version?`,
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(line), streams{nil, &stdout, &stderr})
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		if code != 2 || stdout.Len() > 0 || len(lines) != 2 || !strings.HasPrefix(lines[0], "middletier: "+want) ||
			!strings.Contains(lines[1], "--help") {
			t.Errorf("%s: got %d\n%s%s, want 2, a line that begins with %q, and where the help is", line, code, &stdout, &stderr, want)
		}
	}
}

func TestCallAddsHeaders(t *testing.T) {
	h := http.Header{"Content-Type": {"text/plain"}}
	if err := addHeaders(h, []string{"content-type: application/xml", "X-A: 1", "x-a:2, 3 ", "X-Empty:"}); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(h), "map[Content-Type:[application/xml] X-A:[1 2, 3] X-Empty:[]]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
