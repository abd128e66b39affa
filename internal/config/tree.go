package config

import (
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

type nodeKind int

const (
	nullNode   nodeKind = iota // a key without a value
	scalarNode                 // text
	listNode
	mappingNode
	brokenNode // reported already
)

func (k nodeKind) String() string {
	return [...]string{"nothing", "text", "a list", "a mapping", "nothing"}[k]
}

// node is one value of the file, or of the environment laid over it.
type node struct {
	place
	kind    nodeKind
	text    string
	folded  bool    // the text was written over several lines
	entries []entry // of a mapping, in the order of the file
	items   []*node // of a list
	// overDefaults: the list came from the environment alone, item by item, so
	// an item that is nothing stands for that of the default list.
	overDefaults bool
}

// entry is one key of a mapping, spelt as it was written.
type entry struct {
	name  string
	value *node
}

// entry returns the value of the first key that equals name in any case.
func (n *node) entry(name string) *node {
	for _, e := range n.entries {
		if strings.EqualFold(e.name, name) {
			return e.value
		}
	}
	return nil
}

// find returns the node at key and true, or the nearest one above it.
func (n *node) find(key string) (*node, bool) {
	if key == "" {
		return n, true
	}
	nearest := n
	for _, e := range n.entries {
		// Names may hold dots, so every entry that fits is tried.
		if rest, ok := cutName(key, e.name); ok {
			found, exact := e.value.find(rest)
			if exact {
				return found, true
			}
			nearest = found
		}
	}
	for i, item := range n.items {
		if rest, ok := cutName(key, "["+strconv.Itoa(i)+"]"); ok {
			return item.find(rest)
		}
	}
	return nearest, false
}

// cutName takes name off the front of key, up to the next level.
func cutName(key, name string) (rest string, ok bool) {
	if len(key) < len(name) || !strings.EqualFold(key[:len(name)], name) {
		return "", false
	}
	rest = key[len(name):]
	if after, dot := strings.CutPrefix(rest, "."); dot {
		return after, true
	}
	return rest, rest == "" || rest[0] == '['
}

// builder turns the parser's tree into ours.
type builder struct {
	doc     *Document
	anchors map[string]*node // nil while the anchor's own value is being built
	nodes   int
}

// spend counts one more node, and reports whether it may be built. Once it may
// not, the tree is of no use.
func (b *builder) spend() bool {
	b.nodes++
	return b.nodes <= maxNodes
}

func (b *builder) build(a ast.Node) *node {
	if a == nil {
		return &node{}
	}
	n := &node{place: place{line: lineOf(a)}}
	if !b.spend() {
		n.kind = brokenNode
		return n
	}
	switch a := a.(type) {
	case *ast.NullNode:
	case *ast.AnchorNode:
		b.anchor(n, a)
	case *ast.AliasNode:
		b.alias(n, a)
	case *ast.TagNode:
		b.tagged(n, a)
	case ast.MapNode:
		b.mapping(n, a)
	case *ast.SequenceNode:
		n.kind = listNode
		for _, item := range a.Values {
			n.items = append(n.items, b.build(item))
		}
	default:
		b.scalar(n, a)
	}
	return n
}

func (b *builder) scalar(n *node, a ast.Node) {
	switch a := a.(type) {
	case *ast.StringNode:
		n.kind, n.text = scalarNode, a.Value
		n.folded = strings.ContainsAny(strings.TrimSpace(a.Token.Origin), "\r\n")
	case *ast.LiteralNode:
		n.kind, n.text, n.folded = scalarNode, a.Value.Value, true
	case ast.ScalarNode: // numbers and such: as they were written
		n.kind, n.text = scalarNode, a.GetToken().Value
	default:
		b.reject(n, "this kind of YAML value is not supported")
	}
}

func (b *builder) reject(n *node, problem string) {
	b.doc.add(n.place, "", problem)
	n.kind = brokenNode
}

func (b *builder) anchor(n *node, a *ast.AnchorNode) {
	name := a.Name.GetToken().Value
	b.anchors[name] = nil
	value := b.build(a.Value)
	b.anchors[name] = value
	at := n.place
	*n = *value
	n.place = at
}

// alias does not quote the name: a secret that begins with * and is not in
// quotes ends up here.
func (b *builder) alias(n *node, a *ast.AliasNode) {
	value, known := b.anchors[a.Value.GetToken().Value]
	switch {
	case !known:
		b.reject(n, "an alias (*) names an anchor (&) that does not exist before it; a text that begins with * needs quotes")
	case value == nil:
		b.reject(n, "an alias (*) lies within the anchor (&) it names")
	default:
		at := n.place
		*n = *b.clone(value)
		n.place = at
	}
}

// clone copies n, so that the environment can change one use of an anchor
// without changing the others.
func (b *builder) clone(n *node) *node {
	if !b.spend() {
		return &node{place: n.place, kind: brokenNode}
	}
	c := *n
	c.entries = slices.Clone(n.entries)
	for i, e := range c.entries {
		c.entries[i].value = b.clone(e.value)
	}
	c.items = slices.Clone(n.items)
	for i, item := range c.items {
		c.items[i] = b.clone(item)
	}
	return &c
}

func (b *builder) tagged(n *node, a *ast.TagNode) {
	tag := a.Start.Value
	switch tag {
	case "!!str", "!!int", "!!float", "!!bool", "!!null", "!!seq", "!!map":
	default:
		b.reject(n, "this YAML tag (!) is not supported; a text that begins with ! needs quotes")
		return
	}
	at := n.place
	*n = *b.build(a.Value)
	n.place = at
	if tag == "!!str" && n.kind == nullNode {
		n.kind = scalarNode
	}
}

func (b *builder) mapping(n *node, a ast.MapNode) {
	n.kind = mappingNode
	var merged []*node
	for i := a.MapRange(); i.Next(); {
		line := lineOf(i.Key())
		if i.Key().IsMergeKey() {
			merged = append(merged, b.mergeSources(i.Value(), line)...)
			continue
		}
		name, ok := b.name(i.Key())
		value := b.build(i.Value())
		value.place = place{line: line}
		if ok {
			n.entries = append(n.entries, entry{name, value})
		}
	}
	n.merge(merged)
}

// name returns the text of a key, or notes the mistake if it has none.
func (b *builder) name(a ast.Node) (string, bool) {
	if k, ok := a.(*ast.MappingKeyNode); ok {
		a = k.Value
	}
	n := b.build(a)
	if n.kind == nullNode || n.kind == listNode || n.kind == mappingNode {
		b.reject(n, "a key must be text")
	}
	return n.text, n.kind == scalarNode
}

// mergeSources returns the mappings that a merge key (<<) names, one or a list.
func (b *builder) mergeSources(a ast.Node, line int) []*node {
	value := b.build(a)
	sources := value.items
	if value.kind != listNode {
		sources = []*node{value}
	}
	for _, s := range sources {
		if s.kind != mappingNode && s.kind != brokenNode {
			b.doc.add(place{line: line}, "", "a merge key (<<) takes a mapping or a list of mappings")
		}
	}
	return sources
}

// merge adds the entries that n does not have itself; the first source wins.
func (n *node) merge(sources []*node) {
	if len(sources) == 0 {
		return
	}
	have := map[string]bool{}
	for _, e := range n.entries {
		have[strings.ToLower(e.name)] = true
	}
	for _, s := range sources {
		for _, e := range s.entries {
			if !have[strings.ToLower(e.name)] {
				have[strings.ToLower(e.name)] = true
				n.entries = append(n.entries, e)
			}
		}
	}
}

func lineOf(a ast.Node) int {
	if tk := a.GetToken(); tk != nil && tk.Position != nil {
		return tk.Position.Line
	}
	return 0
}
