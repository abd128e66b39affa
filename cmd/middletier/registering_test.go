package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const registeringPage = "../../docs/registering.md"

// fakeAz stands for the Azure CLI and uuidgen: it writes down its arguments, each
// followed by a zero byte, and one more after the last.
const fakeAz = `set -eu
az() {
    printf '%s\0' "$@" >>calls
    printf '\0' >>calls
    case " $* " in *" --query "*) echo 22222222-2222-4222-8222-222222222222 ;; esac
}
uuidgen() { echo 33333333-3333-4333-8333-333333333333; }
`

// jsonFlags are the options of az whose value is JSON here.
var jsonFlags = []string{"--body", "--parameters", "--app-roles", "--optional-claims"}

// The commands of the page run one after another, no variable of theirs is unset or
// empty, and what they send is JSON.
func TestRegisteringCommands(t *testing.T) {
	text, err := os.ReadFile(registeringPage)
	if err != nil {
		t.Fatal(err)
	}
	requireTools(t, "openssl")
	dir, script := t.TempDir(), fakeAz
	for _, block := range fenced.FindAllStringSubmatch(string(text), -1) {
		if block[1] == "sh" {
			script += block[2]
		}
	}
	if output, err := runScript(t, dir, script); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	written, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	for call := range strings.SplitSeq(strings.TrimSuffix(string(written), "\x00\x00"), "\x00\x00") {
		args := strings.Split(call, "\x00")
		for i, arg := range args {
			if arg == "" || i > 0 && slices.Contains(jsonFlags, args[i-1]) && !json.Valid([]byte(arg)) {
				t.Errorf("az %q: argument %d is empty or not JSON", args, i)
			}
			if slices.Contains(jsonFlags, arg) {
				sent++
			}
		}
	}
	if sent < 9 {
		t.Errorf("got %d arguments of JSON, want 9 or more: does the page still have its commands?", sent)
	}
}

func TestRegisteringConfiguration(t *testing.T) {
	text, err := os.ReadFile(registeringPage)
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	for _, block := range fenced.FindAllStringSubmatch(string(text), -1) {
		if block[1] != "yaml" {
			continue
		}
		blocks++
		var stdout, stderr bytes.Buffer
		check := []string{"check", "--config", writeConfig(t, block[2])}
		code := run(t.Context(), check, streams{nil, &stdout, &stderr})
		// The files of the page's credentials are not here.
		warnings := regexp.MustCompile(`(?m)^.*/run/secrets/.* serve does not start without it\n`).ReplaceAllString(stderr.String(), "")
		if code != 0 || warnings != "" {
			t.Errorf("check: exit code %d, want 0 and no warning:\n%s%s", code, block[2], warnings)
		}
	}
	if blocks == 0 {
		t.Error("the page has no configuration")
	}
}
