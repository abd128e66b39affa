package config

import (
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

// node is one value of the file or of the environment.
type node struct {
	place
	kind    nodeKind
	text    string
	folded  bool    // the text was written over several lines
	secret  bool    // the text is a secret; known when it is decoded
	entries []entry // of a mapping, in the order of the file
	items   []*node // of a list
	// mayBeList: where a list is expected, the values of the mapping are its items.
	mayBeList bool
	// overDefaults: the list came from the environment alone, item by item. An item without
	// a value keeps the item of the default list.
	overDefaults bool
}

// entry is one key of a mapping, in its original spelling.
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

// find returns the node at key and true, or its nearest parent and false.
func (n *node) find(key string) (*node, bool) {
	if key == "" {
		return n, true
	}
	nearest := n
	for _, e := range n.entries {
		// Names may contain dots, so every entry that matches is tried.
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

// cutName removes name from the front of key, up to the next level.
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

// merge lays over on n: mappings key by key, lists by index. Any other value replaces n.
func (n *node) merge(over *node) {
	switch {
	case over.kind == nullNode:
	case n.kind == mappingNode && over.kind == mappingNode:
		for _, e := range over.entries {
			if earlier := n.entry(e.name); earlier != nil {
				earlier.merge(e.value)
			} else {
				n.entries = append(n.entries, e)
			}
		}
	case n.kind == listNode && over.kind == listNode:
		for i, item := range over.items {
			if i < len(n.items) {
				n.items[i].merge(item)
			} else {
				n.items = append(n.items, item)
			}
		}
	case n.kind == listNode && over.mayBeList:
		n.toMapping()
		n.merge(over)
	case n.mayBeList && over.kind == listNode:
		over.toMapping()
		n.merge(over)
	default:
		*n = *over
	}
}

// toMapping turns a list into the mapping that stands for it.
func (n *node) toMapping() {
	n.kind, n.mayBeList = mappingNode, true
	for i, item := range n.items {
		n.entries = append(n.entries, entry{strconv.Itoa(i), item})
	}
	n.items = nil
}

// toList turns a mapping that may stand for a list into that list.
func (n *node) toList() {
	if n.kind != mappingNode || !n.mayBeList {
		return
	}
	for _, e := range n.values() {
		n.items = append(n.items, e.value)
	}
	n.kind, n.mayBeList, n.entries = listNode, false, nil
}

// build converts the parser's tree. Its input has at most maxTokens tokens and a depth
// of at most maxDepth.
func (d *Document) build(a ast.Node) *node {
	if a == nil {
		return &node{}
	}
	n := &node{place: d.lineOf(a)}
	switch a := a.(type) {
	case *ast.NullNode:
	case ast.MapNode:
		d.buildMapping(n, a)
	case *ast.SequenceNode:
		n.kind = listNode
		for _, item := range a.Values {
			n.items = append(n.items, d.build(item))
		}
	default:
		d.buildScalar(n, a)
	}
	return n
}

func (d *Document) buildScalar(n *node, a ast.Node) {
	switch a := a.(type) {
	case *ast.StringNode:
		n.kind, n.text = scalarNode, a.Value
		n.folded = strings.ContainsAny(strings.TrimSpace(a.Token.Origin), "\r\n")
	case *ast.LiteralNode:
		n.kind, n.text, n.folded = scalarNode, a.Value.Value, true
	case ast.ScalarNode: // such as numbers: the original text
		n.kind, n.text = scalarNode, a.GetToken().Value
	default:
		d.reject(n, "this kind of YAML value is not supported")
	}
}

func (d *Document) reject(n *node, problem string) {
	d.add(n.place, "", problem)
	n.kind = brokenNode
}

func (d *Document) buildMapping(n *node, a ast.MapNode) {
	n.kind = mappingNode
	for i := a.MapRange(); i.Next(); {
		name, ok := d.keyText(i.Key())
		value := d.build(i.Value())
		value.place = d.lineOf(i.Key())
		if ok {
			n.entries = append(n.entries, entry{name, value})
		}
	}
}

// keyText returns the text of a key, or records the mistake if it has none.
func (d *Document) keyText(a ast.Node) (string, bool) {
	if k, ok := a.(*ast.MappingKeyNode); ok {
		a = k.Value
	}
	n := d.build(a)
	if n.kind == nullNode || n.kind == listNode || n.kind == mappingNode {
		d.reject(n, "a key must be text")
	}
	return n.text, n.kind == scalarNode
}

func (d *Document) lineOf(a ast.Node) place {
	at := place{source: d.source}
	if tk := a.GetToken(); tk != nil && tk.Position != nil {
		at.line = tk.Position.Line
	}
	return at
}
