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

	alg, kid string // of the header; Validator.check sets them
}

// members are the members of a JSON object, by name. A value is a string, a
// float64, a bool, a []string, or unsupported for every other type.
type members map[string]any

// unsupported stands for a value of a type that no check of ours reads.
type unsupported struct{}

// strictBase64 refuses base64url with padding, line ends or spare bits, so that one
// token has one spelling and one SHA-256.
var strictBase64 = base64.RawURLEncoding.Strict()

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
	claims, err := parsePart(body, claimNames)
	if err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	signature, err := strictBase64.DecodeString(sig)
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	return &compact{signed: token[:len(head)+1+len(body)], header: header, claims: claims, signature: signature}, nil
}

// errEncrypted is what operators can act upon: callers only have what the provider
// gives them.
var errEncrypted = errors.New("token has five parts: it is encrypted, which is not supported; " +
	"take tokenEncryptionKeyId out of this service's registration")

func parsePart(part string, decisive names) (members, error) {
	data, err := strictBase64.DecodeString(part)
	if err != nil {
		return nil, err
	}
	object, err := parseObject(data, decisive)
	return object, shortError(err)
}

// names are names of members as foldCase writes them.
type names map[string]bool

func newNames(list ...string) names {
	n := names{}
	for _, name := range list {
		n[foldCase(name)] = true
	}
	return n
}

// headerNames and claimNames are the members that decide something. Others, which
// a tenant's claims policies may name as they like, may differ in case only.
var (
	headerNames = newNames("alg", "kid", "typ", "crit", "b64", "zip", "cty")
	claimNames  = newNames("iss", "aud", "ver", "tid", "oid", "sub", "exp", "nbf", "iat", "azp", "appid", "scp", "roles", "idtyp")
)

// parseObject reads one JSON object strictly: no duplicate names at any depth, no
// second spelling of the names that decide, valid UTF-8, bounded depth and size,
// nothing behind it (RFC 8259, section 4; RFC 7515, section 4).
func parseObject(data []byte, decisive names) (members, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(data))
	if tok, err := dec.ReadToken(); err != nil {
		return nil, err
	} else if tok.Kind() != '{' {
		return nil, errors.New("not a JSON object")
	}
	object, seen := members{}, map[string]string{} // of those that decide, by their folded name
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
		return nil, errors.New("data behind the JSON object")
	}
	return object, nil
}

// shortError says in a short line of ASCII why JSON is refused, and of which member:
// its name is the sender's choice.
func shortError(err error) error {
	var syntax *jsontext.SyntacticError
	if !errors.As(err, &syntax) {
		return err
	}
	if errors.Is(syntax.Err, jsontext.ErrDuplicateName) {
		return fmt.Errorf("jsontext: %+.64q is there twice", syntax.JSONPointer)
	}
	return fmt.Errorf("jsontext: %w at %+.64q", syntax.Err, syntax.JSONPointer)
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
