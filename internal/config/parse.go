package config

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// maxTokens limits the values of a file: a value has at least one token.
	maxTokens = 100_000
	// maxDepth limits nested brackets: the parser is recursive, and its time is quadratic in
	// the depth.
	maxDepth = 100
)

const byteOrderMark = "\ufeff"

// parse returns the tree of a file, or nil if it cannot be used or is empty.
func (d *Document) parse(name string, text []byte) *node {
	if len(text) > maxFileSize {
		d.fail(place{}, "is larger than 1 MiB")
		return nil
	}
	if strings.EqualFold(filepath.Ext(name), ".json") {
		return d.parseJSON(text)
	}
	return d.parseYAML(text)
}

// parseYAML returns the tree of a YAML file, or nil if it cannot be used or is empty.
func (d *Document) parseYAML(text []byte) *node {
	text = bytes.TrimPrefix(text, []byte(byteOrderMark))
	if line := invalidLine(text); line > 0 {
		d.fail(place{line: line}, "is not valid UTF-8")
		return nil
	}
	tokens := lexer.Tokenize(string(text))
	if at, problem := findUnparsable(tokens); problem != "" {
		d.fail(at, problem)
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.fail(syntaxMistake(err))
		return nil
	}
	return d.rootOf(file)
}

func (d *Document) rootOf(file *ast.File) *node {
	for _, doc := range file.Docs {
		if _, directive := doc.Body.(*ast.DirectiveNode); directive || doc.Body == nil {
			continue
		}
		root := d.build(doc.Body)
		switch root.kind {
		case mappingNode:
			root.place = place{}
			return root
		case scalarNode, listNode:
			d.fail(root.place, "expected a mapping of keys to values, got "+root.kind.String())
			return nil
		}
	}
	return nil
}

// invalidLine returns the line of the first byte that is not UTF-8, or 0.
func invalidLine(text []byte) int {
	line := 1
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		if r == utf8.RuneError && size == 1 {
			return line
		}
		if r == '\n' {
			line++
		}
		text = text[size:]
	}
	return 0
}

// unsupportedTokens are YAML's means to reuse values and to set types. A configuration needs
// neither, and the aliases of a small file can expand to billions of values.
var unsupportedTokens = []token.Type{token.AnchorType, token.AliasType, token.MergeKeyType, token.TagType}

// unsupportedText does not quote the token: it may be the first character of a secret without
// quotes.
const unsupportedText = "YAML anchors (&), aliases (*), merge keys (<<) and tags (!) are not supported; " +
	"a text that begins with one of these needs quotes"

// findUnparsable finds what must not reach the parser: files that would take minutes,
// unsupported tokens, and a second document, which the parser may silently drop.
func findUnparsable(tokens token.Tokens) (place, string) {
	if len(tokens) > maxTokens {
		return place{}, fmt.Sprintf("holds more than %d values", maxTokens)
	}
	for _, tk := range tokens {
		if slices.Contains(unsupportedTokens, tk.Type) {
			return placeOf(tk), unsupportedText
		}
	}
	if tk := secondDocument(tokens); tk != nil {
		return placeOf(tk), "a second YAML document begins here; only one is read"
	}
	if tk := tooDeep(tokens); tk != nil {
		return placeOf(tk), fmt.Sprintf("is nested more than %d levels deep", maxDepth)
	}
	return place{}, ""
}

func secondDocument(tokens token.Tokens) *token.Token {
	begun, ended, directive := false, false, false
	for _, tk := range tokens {
		switch tk.Type {
		case token.CommentType:
		case token.DirectiveType:
			directive = !begun
		case token.DocumentEndType:
			ended = begun
		case token.DocumentHeaderType:
			if begun {
				return tk
			}
			begun, directive = true, false
		default:
			if ended {
				return tk
			}
			begun = begun || !directive
		}
	}
	return nil
}

func tooDeep(tokens token.Tokens) *token.Token {
	brackets, entries, line := 0, 0, 0
	for _, tk := range tokens {
		if tk.Position.Line != line {
			entries, line = 0, tk.Position.Line
		}
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets++
		case token.SequenceEndType, token.MappingEndType:
			brackets--
		case token.SequenceEntryType, token.MappingKeyType:
			entries++ // "- - - x" nests within one line
		}
		if brackets > maxDepth || entries > maxDepth {
			return tk
		}
	}
	return nil
}

var quotation = regexp.MustCompile(`"[^"]*"|'[^']*'`)

// syntaxMistake takes position and reason from a parser's error. It leaves out the
// source lines and all quoted text: what could not be parsed may be a secret.
func syntaxMistake(err error) (place, string) {
	var syntax interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if !errors.As(err, &syntax) {
		return place{}, "is not valid YAML"
	}
	message := syntax.GetMessage()
	if strings.HasSuffix(message, "is a reserved character") {
		message = "a value cannot begin with this character unless it is in quotes"
	}
	message = quotation.ReplaceAllStringFunc(message, func(quoted string) string {
		switch content := quoted[1 : len(quoted)-1]; content {
		case "\t":
			return "tab"
		case "[", "]", "{", "}", ",", ":", "-":
			return quoted
		}
		return "…"
	})
	return placeOf(syntax.GetToken()), "is not valid YAML: " + message
}

func placeOf(tk *token.Token) place {
	if tk == nil || tk.Position == nil {
		return place{}
	}
	return place{line: tk.Position.Line, column: tk.Position.Column}
}
