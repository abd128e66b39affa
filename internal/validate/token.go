package validate

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// MaxTokenSize is the longest token that is read, in bytes: Entra's grow to
	// 18 KB with many groups. Anything longer is refused before it is parsed.
	MaxTokenSize = 32 << 10

	maxMembers = 256 // of a header or claims object; Entra's have about 40
	maxDepth   = 8   // of nested objects and arrays; Entra's reach 4
	maxKeyID   = 256 // characters of a kid
)

// compact is a JWS in compact serialization, taken apart but not verified
// (RFC 7515, section 7.1).
type compact struct {
	signed    string // header and claims as they came: what the signature covers
	header    members
	claims    members
	signature []byte
}

// members are the members of a JSON object, by name. A value is a string, a
// float64, a bool, a []string, or unsupported for every other type.
type members map[string]any

// unsupported stands for a value of a type that no check of ours reads.
type unsupported struct{}

// strict refuses base64url with padding, line ends or spare bits, so that one
// token has one spelling and one SHA-256.
var strict = base64.RawURLEncoding.Strict()

// parseCompact takes a token apart strictly: what two JSON readers could
// understand differently is refused.
func parseCompact(token string) (*compact, error) {
	// encoding/base64 skips line breaks, even when strict. Two searches are ten
	// times as fast as ContainsAny.
	if strings.IndexByte(token, '\r') >= 0 || strings.IndexByte(token, '\n') >= 0 {
		return nil, errors.New("token holds a line break")
	}
	head, rest, ok := strings.Cut(token, ".")
	body, sig, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || strings.Contains(sig, ".") {
		return nil, errors.New("token does not have three parts")
	}
	header, err := parsePart(head)
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	claims, err := parsePart(body)
	if err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	signature, err := strict.DecodeString(sig)
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	return &compact{token[:len(head)+1+len(body)], header, claims, signature}, nil
}

func parsePart(part string) (members, error) {
	data, err := strict.DecodeString(part)
	if err != nil {
		return nil, err
	}
	return parseObject(data)
}

// parseObject reads one JSON object strictly: no duplicate names at any depth,
// no names of the object itself that differ only in case, valid UTF-8, bounded
// depth and size, nothing behind it (RFC 8259, section 4; RFC 7515, section 4).
func parseObject(data []byte) (members, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(data))
	if tok, err := dec.ReadToken(); err != nil {
		return nil, err
	} else if tok.Kind() != '{' {
		return nil, errors.New("not a JSON object")
	}
	object, folded := members{}, map[string]bool{}
	for dec.PeekKind() != '}' {
		tok, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		name := tok.String()
		fold := foldCase(name)
		if folded[fold] {
			return nil, errors.New("two members differ only in case")
		}
		folded[fold] = true
		if len(folded) > maxMembers {
			return nil, errors.New("too many members")
		}
		if object[name], err = readValue(dec); err != nil {
			return nil, err
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("data behind the JSON object")
	}
	return object, nil
}

// readValue reads the next value of the object that dec is in.
func readValue(dec *jsontext.Decoder) (any, error) {
	tok, err := dec.ReadToken()
	if err != nil {
		return nil, err
	}
	switch tok.Kind() {
	case '"':
		return tok.String(), nil
	case '0':
		if number, err := tok.Float(); err == nil {
			return number, nil
		}
		return unsupported{}, nil // out of range
	case 't', 'f':
		return tok.Bool(), nil
	case '[', '{':
		return readNested(dec, tok.Kind() == '[')
	}
	return unsupported{}, nil
}

// readNested reads to the end of the array or object that has just begun, and
// returns an array of strings as such.
func readNested(dec *jsontext.Decoder, array bool) (any, error) {
	list, plain, outer := []string{}, array, dec.StackDepth()-1
	for {
		tok, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		switch depth := dec.StackDepth(); {
		case depth > maxDepth:
			return nil, errors.New("nested too deeply")
		case depth == outer && plain:
			return list, nil
		case depth == outer:
			return unsupported{}, nil
		case tok.Kind() != '"':
			plain = false
		case plain:
			list = append(list, tok.String())
		}
	}
}

// foldCase maps names that differ only in case to one string, also where the
// letters have more than two forms (the Kelvin sign is a k).
func foldCase(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, name)
}

// text returns a member that must be a string where it is present.
func (m members) text(name string) (string, error) {
	value, present := m[name]
	s, ok := value.(string)
	if present && !ok {
		return "", fmt.Errorf("%q is not a string", name)
	}
	return s, nil
}

// list returns a member that must be an array of strings where it is present.
func (m members) list(name string) ([]string, error) {
	value, present := m[name]
	l, ok := value.([]string)
	if present && !ok {
		return nil, fmt.Errorf("%q is not an array of strings", name)
	}
	return l, nil
}

// maxDate is the end of the year 9999 in seconds. A date in milliseconds is
// beyond it.
const maxDate = 253402300799

// date returns a NumericDate, and whether it is present (RFC 7519, section 2).
func (m members) date(name string) (seconds float64, present bool, err error) {
	value, present := m[name]
	if !present {
		return 0, false, nil
	}
	seconds, ok := value.(float64)
	if !ok || !(seconds >= 0 && seconds <= maxDate) {
		return 0, true, fmt.Errorf("%q is not a date in seconds", name)
	}
	return seconds, true, nil
}
