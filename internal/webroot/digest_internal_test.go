package webroot

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// openIn opens a file of a new folder, with its content.
func openIn(t *testing.T, content string) (f *file, path string) {
	t.Helper()
	folder := t.TempDir()
	path = filepath.Join(folder, "data.txt")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	if f, err = open(root, "data.txt"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	return f, path
}

// A file that is written to after it was opened is sent as it is then: its tag and its size are
// those of the new content.
func TestTagIsOfTheVersionThatIsSent(t *testing.T) {
	t.Parallel()
	f, path := openIn(t, "old")
	if err := os.WriteFile(path, []byte("the new content"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := (&digests{known: map[string]digest{}}).tag(f)
	other, _ := openIn(t, "the new content")
	want, otherErr := (&digests{known: map[string]digest{}}).tag(other)
	if err != nil || otherErr != nil || got != want || f.info.Size() != other.info.Size() {
		t.Errorf("got %s of %d bytes, %v; want %s of %d, %v", got, f.info.Size(), err, want, other.info.Size(), otherErr)
	}
}

// A large file is not read for its tag. Without a time that tells its versions apart, it has none.
func TestTagOfALargeFileIsOfItsTime(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		modified time.Time
		want     string
	}{
		{time.Unix(1_800_000_000, 0), `"18fae27693b40000-4000001"`},
		{time.Unix(1, 0), ""},
	} {
		f, path := openIn(t, "")
		if err := os.Truncate(path, maxDigested+1); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, row.modified, row.modified); err != nil {
			t.Fatal(err)
		}
		var err error
		if f.info, err = f.Stat(); err != nil {
			t.Fatal(err)
		}
		if got, err := (&digests{known: map[string]digest{}}).tag(f); err != nil || got != row.want {
			t.Errorf("of %v: got %s, %v; want %s", row.modified, got, err, row.want)
		}
	}
}
