package validate

import (
	"crypto/fips140"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// Each byte of a token counts, of short and of long ones.
func TestTagsOfDifferentTokensDiffer(t *testing.T) {
	for name, tags := range map[string]tagger{"GMAC": newTagger(), "SHA-256": {}} {
		seen := map[tokenTag]string{}
		add := func(what, token string) {
			t.Helper()
			tag := tags.of(token)
			if other, ok := seen[tag]; ok {
				t.Errorf("%s: %s has the tag of %s", name, what, other)
			}
			if seen[tag] = what; tags.of(token) != tag {
				t.Errorf("%s: %s has two tags", name, what)
			}
		}
		for _, size := range []int{1, 16, 17, 1400, 5000, MaxTokenSize - 1} {
			token := strings.Repeat("\x00", size)
			add("zeros", token) // which GHASH pads with zeros
			for i := 0; i < size; i += max(1, size/500) {
				add("a changed byte", token[:i]+"\x01"+token[i+1:])
			}
			add("a changed last byte", token[:size-1]+"\x80")
			add("a byte more", token+"\x02")
		}
	}
}

// What one validator's tags are says nothing of another's.
func TestEachValidatorHasItsOwnTags(t *testing.T) {
	a, b := New(Config{}), New(Config{})
	if a.tags.of("token") == b.tags.of("token") {
		t.Error("two validators give a token the same tag")
	}
}

func TestTagsAreComputedAtOnce(t *testing.T) {
	tags := newTagger()
	var group sync.WaitGroup
	for i := range 8 {
		token := strings.Repeat(fmt.Sprint(i), 1000+1000*i)
		want := tags.of(token)
		group.Go(func() {
			for range 500 {
				if got := tags.of(token); got != want {
					t.Errorf("got tag %x, want %x", got, want)
					return
				}
			}
		})
	}
	group.Wait()
}

func TestTagAllocatesNothing(t *testing.T) {
	tags, token := newTagger(), strings.Repeat("x", 1400)
	tags.of(token)
	if n := testing.AllocsPerRun(1000, func() { tags.of(token) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// With GODEBUG=fips140=only, GCM with our own nonce is refused, and tokens are recognised all
// the same.
func TestTokensAreRecognisedWhereGMACIsRefused(t *testing.T) {
	if fips140.Enforced() {
		if newTagger().gmac != nil {
			t.Error("GMAC is used")
		}
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []string{t.Name(), "TestTamperedTokenIsNotRecognised"} {
		cmd := exec.Command(self, "-test.run", "^"+test+"$", "-test.v")
		cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+test) {
			t.Errorf("%s: %v\n%s", test, err, out)
		}
	}
}
