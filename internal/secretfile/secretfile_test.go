package secretfile_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"middletier/internal/secretfile"
	"middletier/internal/testkit/mounttest"
	"middletier/internal/testkit/tooltest"
)

// inUTF16 is text as Windows writes it, with a byte order mark or without.
func inUTF16(text string, mark, bigEndian bool) string {
	units := utf16.Encode([]rune(text))
	if mark {
		units = append([]uint16{0xfeff}, units...)
	}
	var b strings.Builder
	for _, u := range units {
		high, low := byte(u>>8), byte(u)
		if bigEndian {
			high, low = low, high
		}
		b.Write([]byte{low, high})
	}
	return b.String()
}

func TestSecretsAreReadHoweverTheirFilesWereMade(t *testing.T) {
	const secret = "s3cret~Q of ours"
	for _, row := range []struct{ name, text, problem string }{
		{"as it is", secret, ""},
		{"line end of Windows", secret + "\r\n", ""},
		{"byte order mark", "\ufeff" + secret + "\r\n", ""},
		{"blanks around", " \t" + secret + "  \n", ""},
		{"empty lines around", "\r\n\n" + secret + "\n\n", ""},
		{"no-break space at the end", secret + "\u00a0", ""},
		{"nothing", "", "is empty"},
		{"nothing but a mark", "\ufeff\r\n", "is empty"},
		{"two lines", secret + "\n" + secret, "holds 2 lines"},
		{"UTF-16 with a mark", inUTF16(secret+"\r\n", true, false), "is in UTF-16: save it as UTF-8"},
		{"UTF-16 with a mark, big endian", inUTF16(secret, true, true), "is in UTF-16"},
		{"UTF-16 without a mark", inUTF16(secret, false, false), "is in UTF-16"},
		{"UTF-16 without a mark, big endian", inUTF16(secret, false, true), "is in UTF-16"},
		{"another encoding", secret + "\xfc", "is not text in UTF-8"},
		{"a control character", secret + "\x00" + secret, "is not printable text: see its character 17"},
		{"a character that has no width", "\u200b" + secret, "is not printable text: see its character 1"},
	} {
		got, err := secretfile.Secret([]byte(row.text))
		if row.problem == "" && (err != nil || got != secret) {
			t.Errorf("%s: got %q, %v, want the secret", row.name, got, err)
		}
		if row.problem != "" && (err == nil || !strings.HasPrefix(err.Error(), row.problem) || strings.Contains(err.Error(), "s3cret")) {
			t.Errorf("%s: got %q, %v, want %q", row.name, got, err, row.problem)
		}
	}
}

func TestBase64IsReadInEverySpelling(t *testing.T) {
	for _, text := range []string{"+/8AAA==", "-_8AAA==", "+/8AAA", "\ufeff+/8\r\nAAA==\r\n"} {
		if got, err := secretfile.Base64(text); err != nil || string(got) != "\xfb\xff\x00\x00" {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{"": "is empty", "a%b": "is not base64", inUTF16("AAAA", true, false): "is in UTF-16"} {
		if got, err := secretfile.Base64(text); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestReadIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := secretfile.Read(path); err != nil || len(got) != 1<<20 {
		t.Errorf("1 MiB: got %d bytes, %v", len(got), err)
	}
	if err := os.Truncate(path, 1<<20+1); err != nil {
		t.Fatal(err)
	}
	if got, err := secretfile.Read(path); err == nil || !strings.Contains(err.Error(), path+": is larger than 1 MiB") {
		t.Errorf("one byte more: got %d bytes, %v", len(got), err)
	}
}

func TestOnlyRegularFilesAreRead(t *testing.T) {
	folder := t.TempDir()
	pipe := filepath.Join(folder, "pipe")
	if err := exec.Command(tooltest.Find(t, "mkfifo", "coreutils"), pipe).Run(); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(folder, "link")
	if err := os.Symlink(pipe, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, link, "/dev/zero"} {
		ended := make(chan error, 1)
		go func() {
			_, err := secretfile.Read(path)
			ended <- err
		}()
		select {
		case err := <-ended:
			if err == nil || !strings.Contains(err.Error(), path+": is not a regular file") {
				t.Errorf("%s: got %v, want that it is not a regular file", path, err)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s: is waited for", path)
		}
	}
	if _, err := secretfile.Read(folder); err == nil || !strings.Contains(err.Error(), folder+": is a directory") {
		t.Errorf("a folder: got %v, want that it is a directory", err)
	}
}

// Kubernetes mounts a secret as a link to a file in a folder that is a link itself.
func TestLinksAreFollowed(t *testing.T) {
	m := mounttest.New(t, "secret")
	if got, err := secretfile.Read(m.Path()); err != nil || string(got) != "secret" {
		t.Errorf("got %q, %v, want the secret", got, err)
	}
}
