package config

import (
	"iter"
	"path/filepath"
	"strconv"
	"strings"
)

// Tree is a value as it was written, before its type is known. Keys match in any case.
type Tree struct {
	doc    *Document
	node   *node
	parent *node
	name   string // in parent: a key or an index
	key    string
}

// Name returns the last level of the key, as it was written.
func (t Tree) Name() string { return t.name }

// Key returns the key of the value, as it was written.
func (t Tree) Key() string { return t.key }

// IsStrict reports whether the value is from a YAML file, in which every key must be one of
// this program's.
func (t Tree) IsStrict() bool {
	return t.node.variable == "" && t.node.source < len(t.doc.names) &&
		!strings.EqualFold(filepath.Ext(t.doc.names[t.node.source]), ".json")
}

// Text returns the text of a scalar value. ok is false for any other kind of value.
func (t Tree) Text() (text string, ok bool) { return t.node.text, t.node.kind == scalarNode }

// IsMapping reports whether the value has keys.
func (t Tree) IsMapping() bool { return t.node.kind == mappingNode }

// IsList reports whether the value is a list. A mapping that stands for a list is none.
func (t Tree) IsList() bool { return t.node.kind == listNode }

// IsSecret reports whether the value is a secret, if it was decoded.
func (t Tree) IsSecret() bool { return t.node.secret }

// Where says where the value was written: appsettings.json:12, or the variable.
func (t Tree) Where() string { return t.doc.where(t.node.place) }

// IsEmpty reports whether the value is null, or has no keys or items.
func (t Tree) IsEmpty() bool {
	return t.node.kind != scalarNode && len(t.node.entries) == 0 && len(t.node.items) == 0
}

// Get returns the value at a path of keys and indexes.
func (t Tree) Get(path ...string) (Tree, bool) {
	for _, name := range path {
		found := false
		for child := range t.All() {
			if strings.EqualFold(child.name, name) {
				t, found = child, true
				break
			}
		}
		if !found {
			return Tree{}, false
		}
	}
	return t, true
}

// All yields the entries of a mapping or the items of a list, which may be removed
// meanwhile.
func (t Tree) All() iter.Seq[Tree] {
	var all []Tree
	for _, e := range t.node.entries {
		all = append(all, Tree{t.doc, e.value, t.node, e.name, join(t.key, e.name)})
	}
	for i, item := range t.node.items {
		all = append(all, Tree{t.doc, item, t.node, strconv.Itoa(i), index(t.key, i)})
	}
	return func(yield func(Tree) bool) {
		for _, child := range all {
			if !yield(child) {
				return
			}
		}
	}
}

// Items yields the items of a list, or of a mapping that may stand for one, in its order.
func (t Tree) Items() iter.Seq[Tree] {
	t.node.toList()
	if t.node.kind != listNode {
		return func(func(Tree) bool) {}
	}
	return t.All()
}

// Remove takes the value out of the tree.
func (t Tree) Remove() {
	if t.parent == nil {
		return
	}
	for i, e := range t.parent.entries {
		if e.value == t.node {
			t.parent.entries = append(t.parent.entries[:i:i], t.parent.entries[i+1:]...)
			return
		}
	}
	for i, item := range t.parent.items {
		if item == t.node {
			t.parent.items = append(t.parent.items[:i:i], t.parent.items[i+1:]...)
			return
		}
	}
}

// Move takes the value out of the tree and adds it to the mapping to, as name. A value
// that is there already stays, and Move reports false.
func (t Tree) Move(to Tree, name string) bool {
	t.Remove()
	return to.add(name, t.node)
}

// SetText makes the value that text.
func (t Tree) SetText(text string) { *t.node = node{place: t.node.place, kind: scalarNode, text: text} }

// SetTexts makes the value the list of those texts.
func (t Tree) SetTexts(texts []string) {
	*t.node = node{place: t.node.place, kind: listNode}
	for _, text := range texts {
		t.node.items = append(t.node.items, &node{place: t.node.place, kind: scalarNode, text: text})
	}
}

// AddText adds a text to a mapping, as name, as if it had been written where from was. A
// value that is there already stays, and AddText reports false.
func (t Tree) AddText(name, text string, from Tree) bool {
	return t.add(name, &node{place: from.node.place, kind: scalarNode, text: text})
}

// AddItem adds an empty mapping to the end of the list called name below t, which it makes
// if there is none, as if it had been written where from was.
func (t Tree) AddItem(name string, from Tree) Tree {
	list := t.Mapping(name, from)
	list.node.toList()
	list.node.kind = listNode
	item := &node{place: from.node.place, kind: mappingNode}
	list.node.items = append(list.node.items, item)
	i := len(list.node.items) - 1
	return Tree{t.doc, item, list.node, strconv.Itoa(i), index(list.key, i)}
}

// Mapping returns the value called name of a mapping, which it makes if there is none, as
// if it had been written where from was.
func (t Tree) Mapping(name string, from Tree) Tree {
	if child, ok := t.Get(name); ok && !child.IsEmpty() {
		return child
	}
	if child, ok := t.Get(name); ok {
		child.Remove()
	}
	t.add(name, &node{place: from.node.place, kind: mappingNode, mayBeList: true})
	child, _ := t.Get(name) // added above
	return child
}

func (t Tree) add(name string, n *node) bool {
	if t.node.entry(name) != nil {
		return false
	}
	if t.node.kind == nullNode {
		t.node.kind = mappingNode
	}
	t.node.entries = append(t.node.entries, entry{name, n})
	return true
}

// Warn adds a warning about the value.
func (t Tree) Warn(text string) {
	t.doc.warnings = append(t.doc.warnings, sortable{
		Mistake{Key: t.key, Where: t.doc.where(t.node.place), Problem: "warning: " + text}, t.node.place,
	})
}

// Refuse adds a mistake about the value, and takes it out of the tree.
func (t Tree) Refuse(problem string) {
	t.doc.add(t.node.place, t.key, problem)
	t.Remove()
}
