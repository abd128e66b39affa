package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fenced is a block of code in Markdown: its language and its text.
var fenced = regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$")

// documentTime is more than all commands of a document need.
const documentTime = time.Minute

// runDocument runs the sh blocks of a document in one shell, in a directory of
// their own where its yaml blocks are files of these names, and compares each
// one's output with the text block that follows it. ports are those the document
// names, for which free ones are put.
func runDocument(t *testing.T, path string, ports, files []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	document := withFreePorts(t, string(text), ports)
	dir := t.TempDir()
	const mark = "== end of block ==\n"
	script, want := "set -eu\n", []string{}
	for _, block := range fenced.FindAllStringSubmatch(document, -1) {
		switch language, text := block[1], block[2]; language {
		case "sh":
			script += text + "printf '%s' '" + mark + "'\n"
			want = append(want, "")
		case "text":
			want[len(want)-1] = text
		case "yaml":
			if err := os.WriteFile(filepath.Join(dir, files[0]), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			files = files[1:]
		}
	}
	output, err := runScript(t, dir, script)
	got := strings.Split(output, mark)
	if err != nil || len(got) != len(want)+1 {
		t.Fatalf("block %d: %v\n%s", len(got), err, output)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("block %d prints\n%sand the document says\n%s", i+1, got[i], want[i])
		}
	}
}

// runScript runs a script in dir, where middletier is this program. Whatever it
// leaves running ends with it.
func runScript(t *testing.T, dir, script string) (output string, err error) {
	t.Helper()
	requireTools(t, "bash", "curl")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	program := fmt.Sprintf("#!/bin/sh\n%s=middletier exec '%s' \"$@\"\n", roleVariable, self)
	if err := os.WriteFile(filepath.Join(bin, "middletier"), []byte(program), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), documentTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n"+script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	killGroup(cmd)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// requireTools ends the test where a program is missing that it runs.
func requireTools(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%s is needed: apt-get install %s", name, name)
		}
	}
}

// withFreePorts puts free ports for those that a text names.
func withFreePorts(t *testing.T, text string, ports []string) string {
	t.Helper()
	var pairs []string
	for i, free := range freePorts(t, len(ports)) {
		pairs = append(pairs, ":"+ports[i], ":"+free)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// freePorts returns different ports on which nobody listens on loopback. They are below those
// that systems give to outgoing connections: one of another test must not take a port while
// its server restarts.
func freePorts(t testing.TB, n int) (ports []string) {
	t.Helper()
	for range 100 * n {
		port := strconv.Itoa(10_000 + rand.IntN(22_000))
		listener, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			continue // in use
		}
		defer listener.Close() // not before the last is chosen
		if ports = append(ports, port); len(ports) == n {
			return ports
		}
	}
	t.Fatal("no port is free")
	return nil
}

func TestIntegrationTestingDocument(t *testing.T) {
	runDocument(t, "../../docs/integration-testing.md", []string{"9443", "9444", "8080", "8081"}, []string{"test.yaml"})
}

func TestSignInDocument(t *testing.T) {
	runDocument(t, "../../docs/sign-in.md", []string{"9443"}, nil)
}

// quotedText is a string in a command.
var quotedText = regexp.MustCompile(`'[^']*'|"[^"]*"`)

// runPrinted runs the curl commands that the program prints, and returns what
// they print.
func (p *process) runPrinted(t *testing.T) (outputs []string) {
	t.Helper()
	for line := range strings.Lines(p.stdout.String()) {
		if strings.HasPrefix(line, "# ") && strings.ContainsAny(line, `'"`) {
			t.Errorf("%s: zsh takes the quote in a pasted comment for the beginning of a string", line)
		}
		if !strings.HasPrefix(line, "curl ") {
			continue
		}
		if unquoted := quotedText.ReplaceAllString(line, ""); strings.ContainsAny(unquoted, "?*[") {
			t.Errorf("%s: zsh refuses what it takes for a pattern that no file matches", line)
		}
		output, err := runScript(t, t.TempDir(), line)
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		outputs = append(outputs, output)
	}
	return outputs
}

// relativeLink is a link in Markdown, or an image: its path and its anchor.
var relativeLink = regexp.MustCompile(`\]\(([^():#\s]*)(?:#([^()\s]*))?\)`)

// heading is a heading of a document, from which its anchor is made.
var heading = regexp.MustCompile(`(?m)^#+ (.*)$`)

// notInAnchor is what an anchor leaves out.
var notInAnchor = regexp.MustCompile(`[^\p{L}\p{N}\- _]`)

// anchors returns the anchors of a document, as GitHub makes them. Comments in blocks
// of code are no headings.
func anchors(t *testing.T, path string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, title := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(string(text), ""), -1) {
		found[strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(title[1]), ""), " ", "-")] = true
	}
	return found
}

func TestLinksInDocumentsLeadSomewhere(t *testing.T) {
	t.Parallel()
	links := 0
	for _, pattern := range []string{"*.md", "docs/*.md", "clients/*.md"} {
		documents, err := filepath.Glob(filepath.Join("../..", pattern))
		if err != nil || len(documents) == 0 {
			t.Fatalf("%s: got %q, %v; want documents", pattern, documents, err)
		}
		for _, document := range documents {
			text, err := os.ReadFile(document)
			if err != nil {
				t.Fatal(err)
			}
			for _, link := range relativeLink.FindAllStringSubmatch(fenced.ReplaceAllString(string(text), ""), -1) {
				links++
				target := filepath.Join(filepath.Dir(document), link[1])
				if link[1] == "" {
					target = document
				}
				if _, err := os.Stat(target); err != nil {
					t.Errorf("%s: the link %s leads to no file", document, link[0])
				} else if link[2] != "" && !anchors(t, target)[link[2]] {
					t.Errorf("%s: the link %s leads to no heading", document, link[0])
				}
			}
		}
	}
	if links < 40 {
		t.Errorf("got %d links, want 40 or more", links)
	}
}
