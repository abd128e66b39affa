package config

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// variable is an environment variable that sets a key.
type variable struct {
	name  string
	path  []string // the segments of the name, such as AzureAd, Audiences, 0
	value string
}

func (v variable) place() place { return place{variable: v.name} }

// overlay applies the environment to the tree. The types of target decide what a segment
// of a name is: a key, an entry's name, or an index.
func (d *Document) overlay(in Input, target reflect.Value) {
	for _, v := range d.variables(in, fieldsOf(target.Type())) {
		l := layer{doc: d, from: v}
		l.lay(d.root, target, v.path, "", rules{})
	}
}

// variables returns the variables of this program, without duplicates, in the order in
// which they must be applied: an index comes after all lower ones.
func (d *Document) variables(in Input, fields []field) []variable {
	var ours []variable
	for _, assignment := range in.Environ {
		name, value, _ := strings.Cut(assignment, "=")
		path := strings.Split(strings.ReplaceAll(name, ":", "__"), "__")
		_, known := fieldNamed(fields, path[0])
		if known && len(path) > 1 || !known && in.IsForeign != nil && in.IsForeign(path, fieldNames(fields)) {
			ours = append(ours, variable{name, path, value})
		}
	}
	slices.SortFunc(ours, func(a, b variable) int {
		return cmp.Or(
			slices.CompareFunc(a.path, b.path, compareSegments),
			cmp.Compare(a.name, b.name),
			cmp.Compare(a.value, b.value),
		)
	})
	return slices.CompactFunc(ours, func(v, previous variable) bool {
		same := strings.EqualFold(v.name, previous.name)
		if same && v.value != previous.value {
			d.add(v.place(), strings.Join(v.path, "."), "conflicts with "+previous.name+
				": the names differ at most in case, the values differ")
		}
		return same
	})
}

func compareSegments(a, b string) int {
	i, aIsIndex := parseIndex(a)
	j, bIsIndex := parseIndex(b)
	if aIsIndex && bIsIndex {
		return cmp.Compare(i, j)
	}
	return cmp.Compare(strings.ToLower(a), strings.ToLower(b))
}

// parseIndex accepts only the canonical form of a number, so that no two variables can
// mean the same item.
func parseIndex(text string) (int, bool) {
	i, err := strconv.Atoi(text)
	return i, err == nil && i >= 0 && strconv.Itoa(i) == text
}

// layer applies one variable to the tree.
type layer struct {
	doc  *Document
	from variable
}

// lay sets the value at path below n, and reports whether it did. If not, the caller
// must not add the nodes that it made. v is the default at n.
func (l layer) lay(n *node, v reflect.Value, path []string, key string, r rules) bool {
	s := shapeOf(v.Type())
	switch {
	case len(path) == 0:
		return l.set(n)
	case s == structShape && n.accepts(mappingNode):
		return l.layField(n, v, path, key, r)
	case s == mapShape && n.accepts(mappingNode):
		return l.layEntry(n, v, path, key, r)
	case s == listShape && (n.accepts(listNode) || n.mayBeList):
		n.toList()
		return l.layItem(n, v, path, key, r)
	case s.scalar():
		return l.refuse(join(key, path[0]), "unknown key")
	}
	return false // the file has a wrong kind of value here; decode reports it
}

// accepts reports whether n can hold children as a value of kind k.
func (n *node) accepts(k nodeKind) bool { return n.kind == k || n.kind == nullNode }

func (l layer) refuse(key, problem string) bool {
	l.doc.add(l.from.place(), key, problem)
	return false
}

func (l layer) set(n *node) bool {
	if l.from.value == "" {
		return false // an empty variable counts as unset
	}
	*n = node{place: l.from.place(), kind: scalarNode, text: l.from.value} // decode reports a wrong kind
	return true
}

func (l layer) layField(n *node, v reflect.Value, path []string, key string, r rules) bool {
	fields := fieldsOf(v.Type())
	f, ok := fieldNamed(fields, path[0])
	if !ok {
		return l.layUnknown(n, path) // Translate may know it; if not, decode reports it
	}
	return l.layBelow(n, f.name, func(child *node) bool {
		return l.lay(child, v.Field(f.index), path[1:], join(key, f.name), r.below(f))
	})
}

// layUnknown sets the value at path without types.
func (l layer) layUnknown(n *node, path []string) bool {
	if len(path) == 0 {
		return l.set(n)
	}
	switch n.kind {
	case listNode:
		n.toMapping()
	case scalarNode:
		*n = node{place: n.place}
	}
	n.mayBeList = n.mayBeList || n.kind == nullNode
	return l.layBelow(n, path[0], func(child *node) bool { return l.layUnknown(child, path[1:]) })
}

func (l layer) layEntry(n *node, v reflect.Value, path []string, key string, r rules) bool {
	if path[0] == "" {
		return l.refuse(key, "the name of an entry is missing between __ and __")
	}
	_, value := element(v, path[0])
	return l.layBelow(n, path[0], func(child *node) bool {
		return l.lay(child, value, path[1:], join(key, path[0]), r)
	})
}

// layBelow applies lay to the entry called name. It adds the entry if there is none.
func (l layer) layBelow(n *node, name string, lay func(*node) bool) bool {
	if child := n.entry(name); child != nil {
		return lay(child)
	}
	child := &node{place: l.from.place()}
	if !lay(child) {
		return false
	}
	n.kind = mappingNode
	n.entries = append(n.entries, entry{name, child})
	return true
}

func (l layer) layItem(n *node, v reflect.Value, path []string, key string, r rules) bool {
	i, ok := parseIndex(path[0])
	if !ok {
		return l.refuse(key, fmt.Sprintf("expected an index such as 0, got %q", path[0]))
	}
	items := n.items
	if n.kind == nullNode {
		items = l.defaultItems(v.Len())
	}
	if i > len(items) {
		return l.refuse(index(key, i), fmt.Sprintf("leaves a gap: the next index is %d", len(items)))
	}
	value := newValue(v.Type().Elem())
	if (n.kind == nullNode || n.overDefaults) && i < v.Len() {
		value.Set(v.Index(i))
	}
	if i == len(items) {
		items = append(items, &node{place: l.from.place()})
	}
	if !l.lay(items[i], value, path[1:], index(key, i), r) {
		return false
	}
	n.overDefaults = n.overDefaults || n.kind == nullNode
	n.kind, n.items = listNode, items
	return true
}

func (l layer) defaultItems(count int) []*node {
	items := make([]*node, count)
	for i := range items {
		items[i] = &node{place: l.from.place()}
	}
	return items
}
