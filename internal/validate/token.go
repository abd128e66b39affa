package validate

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// MaxTokenSize is the size of the longest accepted token, in bytes. Entra's reach
	// 18 KB with many groups. A longer one is refused before it is parsed.
	MaxTokenSize = 32 << 10

	maxMembers = 256 // of a header or claims object; Entra's have about 40
	maxDepth   = 8   // of nested objects and arrays; Entra's reach 4
	maxKeyID   = 256 // characters of a kid
)

// compact is a JWS in compact serialization, parsed but not verified (RFC 7515,
// section 7.1).
type compact struct {
	signed    string // header and claims as received, which the signature covers
	header    members
	claims    members
	signature []byte

	alg, kid string // from the header; checkHeader sets them
}

// members are the members of a JSON object, by name. A value is a string, a
// float64, a bool, a []string, or unsupported for every other type.
type members map[string]any

// unsupported stands for a value of a type that no check reads.
type unsupported struct{}

// strictBase64 refuses base64url with padding or bits that do not count, so that a
// token has only one encoding and one SHA-256.
var strictBase64 = base64.RawURLEncoding.Strict()

// parseCompact parses a token strictly: it refuses what two JSON parsers could
// understand differently.
func parseCompact(token string) (*compact, error) { return parseCompactWith(token, claimNames) }

// parseCompactWith is parseCompact for a token of which other claims are read.
func parseCompactWith(token string, decisive names) (*compact, error) {
	// encoding/base64 skips line breaks, even in strict mode. Two searches are ten
	// times faster than ContainsAny.
	if strings.IndexByte(token, '\r') >= 0 || strings.IndexByte(token, '\n') >= 0 {
		return nil, errors.New("token holds a line break")
	}
	head, rest, ok := strings.Cut(token, ".")
	body, sig, ok2 := strings.Cut(rest, ".")
	if strings.Count(sig, ".") == 2 { // RFC 7516, section 7.1
		return nil, errEncrypted
	}
	if !ok || !ok2 || strings.Contains(sig, ".") {
		return nil, errors.New("token does not have three parts")
	}
	header, err := parsePart(head, headerNames)
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	claims, err := parsePart(body, decisive)
	if err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	signature, err := strictBase64.DecodeString(sig)
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	return &compact{signed: token[:len(head)+1+len(body)], header: header, claims: claims, signature: signature}, nil
}

// errEncrypted tells operators what to change. Callers cannot choose the form of
// their tokens.
var errEncrypted = errors.New("token has five parts: it is encrypted, which is not supported; " +
	"remove tokenEncryptionKeyId from this service's registration")

func parsePart(part string, decisive names) (members, error) {
	data, err := strictBase64.DecodeString(part)
	if err != nil {
		return nil, err
	}
	object, err := parseObject(data, decisive)
	return object, shortError(err)
}

// names is a set of names of members, folded by foldCase.
type names map[string]bool

func newNames(list ...string) names {
	n := names{}
	for _, name := range list {
		n[foldCase(name)] = true
	}
	return n
}

// headerNames and claimNames are the members that checks read. Two other members may
// differ in case only: a tenant's claims policies choose their names.
var (
	headerNames = newNames("alg", "kid", "typ", "crit", "b64", "zip", "cty")
	claimNames  = newNames("iss", "aud", "ver", "tid", "oid", "sub", "exp", "nbf", "iat", "azp", "appid", "scp", "roles", "idtyp")
)

// parseObject parses one JSON object strictly: no duplicate names at any depth, no
// second spelling of the decisive names, valid UTF-8, bounded depth and size, no
// data after it (RFC 8259, section 4; RFC 7515, section 4).
func parseObject(data []byte, decisive names) (members, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(data))
	if tok, err := dec.ReadToken(); err != nil {
		return nil, err
	} else if tok.Kind() != '{' {
		return nil, errors.New("not a JSON object")
	}
	object, seen := members{}, map[string]string{} // decisive names by their folded form
	for dec.PeekKind() != '}' {
		tok, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		name := tok.String()
		if fold := foldCase(name); decisive[fold] {
			if other, present := seen[fold]; present {
				return nil, fmt.Errorf("%+q and %+q differ only in case", other, name)
			}
			seen[fold] = name
		}
		if object[name], err = readValue(dec); err != nil {
			return nil, err
		}
		if len(object) > maxMembers {
			return nil, errors.New("too many members")
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("data after the JSON object")
	}
	return object, nil
}

// shortError says in a short line of ASCII why JSON is refused, and which member is
// the cause. The sender chooses a member's name.
func shortError(err error) error {
	var syntax *jsontext.SyntacticError
	if !errors.As(err, &syntax) {
		return err
	}
	if errors.Is(syntax.Err, jsontext.ErrDuplicateName) {
		return fmt.Errorf("jsontext: %+.64q occurs twice", syntax.JSONPointer)
	}
	var cause strings.Builder
	for _, r := range syntax.Err.Error() { // it may name a character
		if r < utf8.RuneSelf {
			cause.WriteRune(r)
		} else {
			cause.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return fmt.Errorf("jsontext: %s at %+.64q", &cause, syntax.JSONPointer)
}

// readValue reads the next value of dec's current object.
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

// readNested reads to the end of the array or object that dec has just entered. It
// returns an array of strings as a []string.
func readNested(dec *jsontext.Decoder, array bool) (any, error) {
	list, plain, outer := []string{}, array, dec.StackDepth()-1
	for {
		tok, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		switch depth := dec.StackDepth(); {
		case depth > maxDepth:
			return nil, fmt.Errorf("nested too deeply at %+.64q", dec.StackPointer())
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

// foldCase maps names that differ only in case to one string, also if a letter has
// more than two forms (the Kelvin sign is a k).
func foldCase(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, name)
}

// text returns a member that must be a string if it is present.
func (m members) text(name string) (string, error) {
	value, present := m[name]
	s, ok := value.(string)
	if present && !ok {
		return "", fmt.Errorf("%q is not a string", name)
	}
	return s, nil
}

// list returns a member that must be an array of strings if it is present.
func (m members) list(name string) ([]string, error) {
	value, present := m[name]
	l, ok := value.([]string)
	if present && !ok {
		return nil, fmt.Errorf("%q is not an array of strings", name)
	}
	return l, nil
}

// maxDate is the end of the year 9999 in seconds. A date in milliseconds is
// later.
const maxDate = 253402300799

// date returns a NumericDate and whether it is present (RFC 7519, section 2).
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
