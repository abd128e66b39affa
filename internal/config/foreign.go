package config

import (
	"iter"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Tree is a value as it was written, before it is read into the target. Keys match in any
// case.
type Tree struct {
	doc  *Document
	node *node
	up   *Tree
	name string // in up: a key or an index
	key  string
}

// Source is the kind of place where a value was written.
type Source int

// The sources of values.
const (
	YAML Source = iota
	JSON
	Environment
)

// Name returns the last level of the key, as it was written.
func (t Tree) Name() string { return t.name }

// Key returns the key of the value, as it was written.
func (t Tree) Key() string { return t.key }

// Parent returns the mapping or list that holds the value. The root is its own parent.
func (t Tree) Parent() Tree {
	if t.up == nil {
		return t
	}
	return *t.up
}

// typ returns the type of the target's value, or nil if the target has none.
func (t Tree) typ() reflect.Type {
	if t.up == nil {
		return t.doc.target
	}
	return typeBelow(t.up.typ(), t.name)
}

// IsKnown reports whether the key is one of the target's.
func (t Tree) IsKnown() bool { return t.typ() != nil }

// Keys returns the target's keys that the value can have.
func (t Tree) Keys() []string {
	typ := t.typ()
	if typ == nil || shapeOf(typ) != structShape {
		return nil
	}
	return fieldNames(fieldsOf(typ))
}

// HasList reports whether the target has a list at a path of keys below the value, which
// need not be there.
func (t Tree) HasList(path ...string) bool {
	typ := t.typ()
	for _, name := range path {
		typ = typeBelow(typ, name)
	}
	return typ != nil && shapeOf(typ) == listShape
}

// Source returns the kind of place where the value was written.
func (t Tree) Source() Source {
	switch {
	case t.node.variable != "":
		return Environment
	case t.node.source < len(t.doc.names) && strings.EqualFold(filepath.Ext(t.doc.names[t.node.source]), ".json"):
		return JSON
	}
	return YAML
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

// IsBlank reports whether there is no text in the value, nor in any value below it.
func (t Tree) IsBlank() bool { return t.node.isBlank() }

func (n *node) isBlank() bool {
	return n.text == "" &&
		!slices.ContainsFunc(n.entries, func(e entry) bool { return !e.value.isBlank() }) &&
		!slices.ContainsFunc(n.items, func(item *node) bool { return !item.isBlank() })
}

// isEmptyText reports whether n is the text that templates have in place of a value.
func (n *node) isEmptyText() bool { return n.kind == scalarNode && n.text == "" }

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
		all = append(all, Tree{t.doc, e.value, &t, e.name, join(t.key, e.name)})
	}
	for i, item := range t.node.items {
		all = append(all, Tree{t.doc, item, &t, strconv.Itoa(i), index(t.key, i)})
	}
	return func(yield func(Tree) bool) {
		for _, child := range all {
			if !yield(child) {
				return
			}
		}
	}
}

// typeBelow returns the type of the value called name below one of type t, or nil.
func typeBelow(t reflect.Type, name string) reflect.Type {
	if t == nil {
		return nil
	}
	switch shapeOf(t) {
	case structShape:
		if f, ok := fieldNamed(fieldsOf(t), name); ok {
			return f.typ
		}
	case mapShape, listShape:
		return t.Elem()
	}
	return nil
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
	if t.up == nil {
		return
	}
	parent := t.up.node
	for i, e := range parent.entries {
		if e.value == t.node {
			parent.entries = append(parent.entries[:i:i], parent.entries[i+1:]...)
			return
		}
	}
	for i, item := range parent.items {
		if item == t.node {
			parent.items = append(parent.items[:i:i], parent.items[i+1:]...)
			return
		}
	}
}

// Move takes the value out of the tree and adds it to the mapping to, as name. If to has
// such a value, other than an empty text, that stays, and Move reports false.
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

// AddText adds a text to a mapping, as name, as if it had been written where from was. If
// the mapping has such a value, other than an empty text, that stays, and AddText reports
// false.
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
	return Tree{t.doc, item, &list, strconv.Itoa(i), index(list.key, i)}
}

// Mapping returns the value called name of a mapping, which it makes if there is none, as
// if it had been written where from was.
func (t Tree) Mapping(name string, from Tree) Tree {
	if child, ok := t.Get(name); ok && (child.IsMapping() || child.IsList() || !child.IsBlank()) {
		return child
	} else if ok {
		child.Remove()
	}
	t.add(name, &node{place: from.node.place, kind: mappingNode, mayBeList: true})
	child, _ := t.Get(name) // added above
	return child
}

func (t Tree) add(name string, n *node) bool {
	if earlier := t.node.entry(name); earlier != nil && earlier.kind != nullNode && !earlier.isEmptyText() {
		return false
	} else if earlier != nil {
		*earlier = *n
		return true
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
		Mistake: Mistake{Key: t.key, Where: t.doc.where(t.node.place), Problem: "warning: " + text}, at: t.node.place,
	})
}

// Refuse adds a mistake about the value, and takes it out of the tree.
func (t Tree) Refuse(problem string) {
	t.doc.add(t.node.place, t.key, problem)
	t.Remove()
}

// RefuseUnsupported is Refuse for a value that is right, but that this program cannot do.
func (t Tree) RefuseUnsupported(problem string) {
	t.doc.add(t.node.place, t.key, problem)
	t.doc.mistakes[len(t.doc.mistakes)-1].unsupported = true
	t.Remove()
}

// Report adds a mistake about the value, which stays: the program's own checks of it are
// dropped.
func (t Tree) Report(problem string) { t.doc.add(t.node.place, t.key, problem) }

// RefuseUnknown adds the mistake that the key is none of names, and takes the value out of
// the tree.
func (t Tree) RefuseUnknown(names []string) {
	name := cutUnknownKey(t.name)
	t.doc.add(t.node.place, join(t.Parent().key, name), unknownKey(name, names))
	t.Remove()
}
