package secretfile_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"middletier/internal/secretfile"
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
		{"no-break space behind", secret + "\u00a0", ""},
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
	if got, err := secretfile.Read("/dev/zero"); err == nil || !strings.Contains(err.Error(), "/dev/zero: is larger than 1 MiB") {
		t.Errorf("without an end: got %d bytes, %v", len(got), err)
	}
}
