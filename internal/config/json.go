package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/tailscale/hujson"
	textunicode "golang.org/x/text/encoding/unicode"
)

// jsonReader reads a JSON file as .NET's configuration does: with comments, trailing
// commas and flat keys ("AzureAd:TenantId").
type jsonReader struct {
	doc   *Document
	lines []int // the offsets at which the lines after the first begin
}

// parseJSON returns the tree of a JSON file, or nil if it cannot be used.
func (d *Document) parseJSON(text []byte) *node {
	text, problem := decodeUTF16(text)
	if problem != "" {
		d.fail(place{}, problem)
		return nil
	}
	if line := invalidLine(text); line > 0 {
		d.fail(place{line: line}, "is neither UTF-8, nor UTF-16 with a byte order mark")
		return nil
	}
	if bytes.Count(text, []byte{'{'})+bytes.Count(text, []byte{'['}) > maxTokens { // the parser is recursive
		d.fail(place{}, fmt.Sprintf("holds more than %d values", maxTokens))
		return nil
	}
	text = append(bytes.Clone(text), '\n') // the parser wants one after a comment
	value, err := hujson.Parse(text)
	if err != nil {
		at, problem := jsonMistake(err)
		d.fail(at, problem)
		return nil
	}
	r := jsonReader{doc: d}
	for i, b := range text {
		if b == '\n' {
			r.lines = append(r.lines, i+1)
		}
	}
	root := r.build(value, "", 0)
	switch {
	case root == nil:
		d.fail(place{}, fmt.Sprintf("is nested more than %d levels deep", maxDepth))
		return nil
	case root.kind != mappingNode:
		d.fail(root.place, "expected an object of keys and values, got "+root.kind.String())
		return nil
	}
	root.place = place{}
	return root
}

// decodeUTF16 returns text in UTF-8 if it is UTF-16 with a byte order mark. It removes the
// mark of either.
func decodeUTF16(text []byte) (utf8 []byte, problem string) {
	if !bytes.HasPrefix(text, []byte{0xff, 0xfe}) && !bytes.HasPrefix(text, []byte{0xfe, 0xff}) {
		return bytes.TrimPrefix(text, []byte(byteOrderMark)), ""
	}
	utf8, err := textunicode.UTF16(textunicode.BigEndian, textunicode.ExpectBOM).NewDecoder().Bytes(text)
	if err != nil || len(text)%2 != 0 || bytes.ContainsRune(utf8, unicode.ReplacementChar) {
		return nil, "is not valid UTF-16"
	}
	return utf8, ""
}

// line returns the line of the byte at offset.
func (r jsonReader) line(offset int) int {
	i, found := slices.BinarySearch(r.lines, offset)
	if found {
		i++
	}
	return i + 1
}

// build converts the parser's tree. It returns nil if that is too deep.
func (r jsonReader) build(v hujson.Value, key string, depth int) *node {
	if depth > maxDepth {
		return nil
	}
	n := &node{place: place{source: r.doc.source, line: r.line(v.StartOffset)}}
	switch v := v.Value.(type) {
	case *hujson.Object:
		n.kind, n.mayBeList = mappingNode, true
		for _, member := range v.Members {
			name, _ := member.Name.Value.(hujson.Literal) // always one
			path := strings.Split(name.String(), ":")
			child := r.build(member.Value, join(key, strings.Join(path, ".")), depth+1)
			if child == nil {
				return nil
			}
			child.place = place{source: r.doc.source, line: r.line(member.Name.StartOffset)}
			r.add(n, path, child, key)
		}
	case *hujson.Array:
		n.kind = listNode
		for i, element := range v.Elements {
			item := r.build(element, index(key, i), depth+1)
			if item == nil {
				return nil
			}
			n.items = append(n.items, item)
		}
	case hujson.Literal:
		switch v.Kind() {
		case 'n':
		case '"':
			n.kind, n.text = scalarNode, v.String()
		default: // the text of a number, true or false
			n.kind, n.text = scalarNode, string(v)
		}
	}
	return n
}

// add adds child to n by a path of names. Two mappings of one name are one, as in .NET.
// Two values of one name are a mistake.
func (r jsonReader) add(n *node, path []string, child *node, key string) {
	key = join(key, path[0])
	earlier := n.entry(path[0])
	if len(path) > 1 {
		if earlier == nil {
			earlier = &node{place: child.place, kind: mappingNode, mayBeList: true}
			n.entries = append(n.entries, entry{path[0], earlier})
		}
		if earlier.kind == mappingNode {
			r.add(earlier, path[1:], child, key)
			return
		}
	}
	switch {
	case earlier == nil:
		n.entries = append(n.entries, entry{path[0], child})
	case earlier.kind == mappingNode && child.kind == mappingNode:
		for _, e := range child.entries {
			r.add(earlier, []string{e.name}, e.value, key)
		}
	default:
		r.doc.add(child.place, key, givenTwice(earlier, child))
	}
}

// values returns the entries of a mapping that stands for a list, in .NET's order:
// numbers first, then names by alphabet.
func (n *node) values() []entry {
	sorted := slices.Clone(n.entries)
	slices.SortStableFunc(sorted, func(a, b entry) int {
		i, errA := strconv.Atoi(a.name)
		j, errB := strconv.Atoi(b.name)
		switch {
		case errA == nil && errB == nil:
			return cmp.Compare(i, j)
		case errA == nil:
			return -1
		case errB == nil:
			return 1
		}
		return cmp.Compare(strings.ToUpper(a.name), strings.ToUpper(b.name))
	})
	return sorted
}

var jsonMessage = regexp.MustCompile(`^hujson: line ([0-9]+), column ([0-9]+): (.*)$`)

// jsonMistake takes the position from a parser's error, and the reason without what the
// parser found: it may be a secret.
func jsonMistake(err error) (place, string) {
	problem := "is not valid JSON"
	found := jsonMessage.FindStringSubmatch(strings.ReplaceAll(err.Error(), "\n", " "))
	if found == nil {
		return place{file: true}, problem
	}
	line, _ := strconv.Atoi(found[1]) // the pattern has digits only
	column, _ := strconv.Atoi(found[2])
	at := place{line: line, column: column}
	_, after, unexpected := strings.Cut(found[3], "' ")
	switch {
	case strings.HasPrefix(found[3], "invalid literal"):
		problem += ": expected a text in double quotes, a number, true, false or null"
	case unexpected:
		problem += ": unexpected character " + after
	case errors.Is(err, io.ErrUnexpectedEOF):
		problem += ": the file ends too early"
	}
	return at, problem
}
