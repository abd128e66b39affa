package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decode sets v, which holds the default, to the value of n. A mistake is recorded and
// leaves the default, so that one run finds all mistakes.
func (d *Document) decode(n *node, v reflect.Value, key string, r rules) {
	s := shapeOf(v.Type())
	if s == listShape {
		n.toList()
	}
	switch {
	case n.kind == nullNode || n.kind == brokenNode:
	case s == structShape && n.kind == mappingNode:
		d.decodeStruct(n, v, key, r)
	case s == mapShape && n.kind == mappingNode:
		d.decodeMap(n, v, key, r)
	case s == listShape && n.kind == listNode:
		d.decodeList(n, v, key, r)
	case s.scalar() && n.kind == scalarNode:
		n.secret = r.secret
		if problem := setScalar(v, n.text, r.enum); problem != "" {
			d.add(n.place, key, problem+got(n, r.secret))
		}
	default:
		d.add(n.place, key, mismatch(n, v.Type(), r))
	}
}

func (d *Document) decodeStruct(n *node, v reflect.Value, key string, r rules) {
	fields := fieldsOf(v.Type())
	seen := map[string]*node{}
	for i, e := range n.entries {
		f, ok := fieldNamed(fields, e.name)
		if !ok {
			name := cutUnknownKey(e.name)
			d.add(e.value.place, join(key, name), unknownKey(name, fieldNames(fields)))
			continue
		}
		n.entries[i].name = f.name // for Document.Tree
		if d.first(seen, f.name, e.value, join(key, f.name)) {
			d.decode(e.value, v.Field(f.index), join(key, f.name), r.below(f))
		}
	}
}

func (d *Document) decodeMap(n *node, v reflect.Value, key string, r rules) {
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	seen := map[string]*node{}
	for _, e := range n.entries {
		if !d.first(seen, e.name, e.value, join(key, e.name)) {
			continue
		}
		name, element := element(v, e.name)
		d.decode(e.value, element, join(key, e.name), r)
		if name.IsValid() {
			v.SetMapIndex(name, reflect.Value{}) // the same entry in another case
		}
		v.SetMapIndex(reflect.ValueOf(e.name).Convert(v.Type().Key()), element)
	}
}

// element returns the key of the map's entry that equals name in any case, and a copy of
// its value; otherwise a new value.
func element(m reflect.Value, name string) (key, value reflect.Value) {
	value = newValue(m.Type().Elem())
	for i := m.MapRange(); i.Next(); {
		if strings.EqualFold(i.Key().String(), name) {
			value.Set(i.Value())
			return i.Key(), value
		}
	}
	return reflect.Value{}, value
}

func (d *Document) decodeList(n *node, v reflect.Value, key string, r rules) {
	list := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	for i, item := range n.items {
		if n.overDefaults && i < v.Len() {
			list.Index(i).Set(v.Index(i))
		} else {
			list.Index(i).Set(newValue(v.Type().Elem()))
			if item.kind == nullNode {
				d.add(item.place, index(key, i), mismatch(item, v.Type().Elem(), r))
			}
		}
		d.decode(item, list.Index(i), index(key, i), r)
	}
	v.Set(list)
}

// first reports whether this is the first use of a key in its mapping, and records the
// mistake if it is not.
func (d *Document) first(seen map[string]*node, name string, n *node, key string) bool {
	earlier, again := seen[strings.ToLower(name)]
	if again {
		d.add(n.place, key, givenTwice(earlier, n))
		return false
	}
	seen[strings.ToLower(name)] = n
	return true
}

func givenTwice(earlier, n *node) string {
	return fmt.Sprintf("given twice, on lines %d and %d", earlier.line, n.line)
}

// mismatch describes the value that was expected in place of n.
func mismatch(n *node, t reflect.Type, r rules) string {
	problem := "expected " + shapeOf(t).String() + got(n, r.secret || holdsSecret(t))
	if n.variable != "" && n.kind == scalarNode {
		problem += "; write one variable for each value below it"
	}
	return problem
}

// maxQuoted limits quoted values, so that a mistake fits on one line.
const maxQuoted = 60

// got describes the value that was found. A secret is not quoted.
func got(n *node, secret bool) string {
	switch {
	case n.kind != scalarNode:
		return ", got " + n.kind.String()
	case secret:
		return " (the value is not shown: it may be a secret)"
	case n.folded:
		// Below "a: b", YAML reads an indented "clientSecret:x", without a space, as part of b.
		return ", got text over several lines; is the space after a colon missing?"
	}
	text := n.text
	if utf8.RuneCountInString(text) > maxQuoted {
		text = string([]rune(text)[:maxQuoted]) + "…"
	}
	return ", got " + strconv.Quote(text)
}

var notKeyText = regexp.MustCompile(`(?s)[^\pL\pN_.$-].*`)

// cutUnknownKey returns the part of an unknown key that is certainly not a secret: YAML
// reads {clientSecret=x} as one key.
func cutUnknownKey(name string) string {
	return notKeyText.ReplaceAllString(name, "…")
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

func index(key string, i int) string {
	return key + "[" + strconv.Itoa(i) + "]"
}
