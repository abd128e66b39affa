package mcp

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/text/unicode/norm"
)

const (
	callTool      = "tools/call"
	notifications = "notifications/" // what methods of notifications begin with

	// maxDepth is that of .NET's parser. Others accept more.
	maxDepth = 64

	// maxMember is the length of the longest name of a member that is folded, in bytes, if it
	// has characters beyond ASCII: a message could have many that are expensive.
	maxMember = 64
)

// nameMembers are the methods whose messages have a name, and the member of params that
// holds it. Mcp-Name repeats it.
var nameMembers = map[string]string{callTool: "name", "prompts/get": "name", "resources/read": "uri"}

// message is what one JSON-RPC message says, as far as decisions depend on it.
type message struct {
	method string // "": a response
	hasID  bool
	params params
}

type params struct{ name, uri, taskID text }

// text is a member that should be a string.
type text struct {
	value    string
	isString bool
}

// isNotification reports whether the message is a notification that the protocol knows,
// to which servers do not respond. A call of a tool without an id is none: a server may
// make it.
func (m message) isNotification() bool { return !m.hasID && strings.HasPrefix(m.method, notifications) }

// subject returns what rules look at.
func (m message) subject() subject { return m.subjectOf(m.method) }

// subjectOf is subject if a server reads method as the message's.
func (m message) subjectOf(method string) subject {
	s := subject{method: method, needsName: nameMembers[method] != ""}
	member := m.params.name
	if s.isURI() {
		member = m.params.uri
	}
	if s.needsName && member.isString && member.value != "" {
		s.name = &member.value
	}
	return s
}

// readings returns what lax servers may read, with folded names. In the first one the name is
// whole.
func (s subject) readings() []subject {
	if s.name == nil {
		return []subject{s}
	}
	whole, uri := s, *s.name
	folded := foldName(uri, s.isURI())
	whole.name = &folded
	readings := []subject{whole}
	if !s.isURI() || !strings.ContainsAny(decodePercent(uri), "?#") {
		return readings
	}
	for _, path := range []string{plainPath(withoutQuery(uri)), plainPath(withoutQuery(decodePercent(uri)))} {
		part := whole
		part.path = &path
		readings = append(readings, part)
	}
	return readings
}

func (s subject) isURI() bool { return nameMembers[s.method] == "uri" }

// foldName folds a name or a pattern of names.
func foldName(name string, isURI bool) string {
	if isURI {
		return plainURI(name)
	}
	return fold(name)
}

// parse reads a message strictly (RFC 8259; RFC 7493, section 2): one object, distinct
// names at every level, valid UTF-8 and no lone surrogates.
func parse(body []byte) (message, error) {
	var m message
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '[' {
		return m, errBatch
	}
	dec := jsontext.NewDecoder(bytes.NewReader(body))
	hasResult := false
	err := eachMember(dec, "jsonrpc id method params result error", func(name string) (err error) {
		switch name {
		case "method":
			var method text
			if method, err = readText(dec); err == nil && (!method.isString || method.value == "") {
				err = errForm
			}
			m.method = method.value
			return err
		case "params":
			m.params, err = readParams(dec)
			return err
		case "id":
			m.hasID = true
		case "result", "error":
			hasResult = true
		}
		return skip(dec)
	})
	if err != nil {
		return m, err
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return m, errJSON
	}
	if hasResult == (m.method != "") {
		return m, errForm
	}
	return m, nil
}

// readParams reads the value of params. Some clients send null in place of none.
func readParams(dec *jsontext.Decoder) (params, error) {
	var p params
	switch dec.PeekKind() {
	case 'n':
		return p, skip(dec)
	case '{':
	default:
		return p, errForm
	}
	err := eachMember(dec, "name uri taskid", func(name string) (err error) {
		switch name {
		case "name":
			p.name, err = readText(dec)
		case "uri":
			p.uri, err = readText(dec)
		case "taskId":
			p.taskID, err = readText(dec)
		default:
			err = skip(dec)
		}
		return err
	})
	return p, err
}

// eachMember reads an object. read reads the value of the member with that name. A name
// that a lax server may read as one of the decisive ones, which are written folded, is
// refused, and so is one that is too long to tell.
func eachMember(dec *jsontext.Decoder, decisive string, read func(name string) error) error {
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
		return errJSON
	}
	for {
		tok, err := dec.ReadToken()
		switch {
		case err != nil:
			return errJSON
		case tok.Kind() == '}':
			return nil
		}
		name := tok.String()
		bare := name
		if i := strings.IndexByte(name, 0); i >= 0 { // a string in C ends there
			bare = name[:i]
		}
		if len(bare) > maxMember && !isASCII(bare) {
			return errMember
		}
		if folded := fold(bare); folded != name && name != "taskId" && isWord(decisive, folded) {
			return errMember
		}
		if err := read(name); err != nil {
			return err
		}
	}
}

// isWord reports whether name is one of the words of list.
func isWord(list, name string) bool {
	for word := range strings.FieldsSeq(list) {
		if word == name {
			return true
		}
	}
	return false
}

// readText reads a value of any type.
func readText(dec *jsontext.Decoder) (text, error) {
	if dec.PeekKind() != '"' {
		return text{}, skip(dec)
	}
	tok, err := dec.ReadToken()
	if err != nil {
		return text{}, errJSON
	}
	return text{tok.String(), true}, nil
}

// skip reads a value of any type, and the whole of an object or array.
func skip(dec *jsontext.Decoder) error {
	for outer := dec.StackDepth(); ; {
		if _, err := dec.ReadToken(); err != nil || dec.StackDepth() > maxDepth {
			return errJSON
		}
		if dec.StackDepth() == outer {
			return nil
		}
	}
}

// fold returns the same text for all that differ only in case, in how characters are
// composed (NFKC: Unicode Standard Annex #15), in invisible characters, or in space
// around them.
func fold(s string) string {
	if isASCII(s) {
		return strings.TrimSpace(strings.ToLower(s))
	}
	s = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Variation_Selector, r) {
			return -1
		}
		return r
	}, norm.NFKC.String(s))
	return strings.TrimSpace(strings.ToLower(strings.ToUpper(s))) // upper case first: it unites letters with three forms
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// hasControl reports whether s has a control character.
func hasControl(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }
