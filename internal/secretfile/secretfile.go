// Package secretfile reads the small files that people hand to a service:
// secrets, tokens, certificates and keys, whichever system wrote them.
//
// Editors and shells leave traces: a byte order mark, Windows line ends, an empty line,
// UTF-16. Content with one possible meaning is read. Anything else is refused, and the
// error says what to change. No error quotes the content.
package secretfile

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// maxSize is far above any certificate chain or token; a larger file is a wrong
// one.
const maxSize = 1 << 20

// mark is UTF-8's byte order mark.
const mark = "\ufeff"

var (
	errEmpty = errors.New("is empty")
	errUTF16 = errors.New("is in UTF-16: save it as UTF-8 (PowerShell: Set-Content -Encoding ascii)")
)

// Read returns what is in the file at path, which may be a symbolic link to one. The
// error names the path.
func Read(path string) ([]byte, error) {
	// Without O_NONBLOCK, opening a named pipe without a writer would block for ever.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close() // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	switch {
	case info.IsDir():
		return nil, fmt.Errorf("%s: is a directory", path)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxSize {
		return nil, fmt.Errorf("%s: is larger than 1 MiB", path)
	}
	return data, nil
}

// ReadSecret is Secret for the file at path. Only an error of Read names the path.
func ReadSecret(path string) (string, error) {
	data, err := Read(path)
	if err != nil {
		return "", err
	}
	return Secret(data)
}

// Secret returns the one line that data holds, without a byte order mark and the
// white space around it.
func Secret(data []byte) (string, error) {
	text, err := plain(data)
	if err != nil {
		return "", err
	}
	if lines := strings.Count(text, "\n") + 1; lines > 1 {
		return "", fmt.Errorf("holds %d lines, and one is expected", lines)
	}
	at := 0
	for _, c := range text {
		at++
		if !unicode.IsPrint(c) {
			return "", fmt.Errorf("is not printable text: see its character %d", at)
		}
	}
	return text, nil
}

// Base64 decodes text: with or without line breaks and padding, in either alphabet
// (RFC 4648, sections 4 and 5).
func Base64(text string) ([]byte, error) {
	text, err := plain([]byte(text))
	if err != nil {
		return nil, err
	}
	text = strings.Join(strings.Fields(text), "")
	text = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(text), "=")
	data, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("is not base64")
	}
	return data, nil
}

// plain returns data as text, without a byte order mark and surrounding white space.
func plain(data []byte) (string, error) {
	if isUTF16(data) {
		return "", errUTF16
	}
	if !utf8.Valid(data) {
		return "", errors.New("is not text in UTF-8")
	}
	text := trim(string(data))
	if text == "" {
		return "", errEmpty
	}
	return text, nil
}

func trim(text string) string {
	return strings.TrimFunc(text, func(c rune) bool { return unicode.IsSpace(c) || c == '\ufeff' })
}

// isUTF16 reports whether data has the byte order mark of UTF-16, or begins as
// plain text does in it: one byte of the first character is zero.
func isUTF16(data []byte) bool {
	return bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) ||
		len(data) > 1 && (data[0] == 0) != (data[1] == 0)
}
