package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decode sets v, which holds the default, to what n says. Mistakes are noted
// and leave the default, so that one run finds them all.
func (d *Document) decode(n *node, v reflect.Value, key string, r rules) {
	s := shapeOf(v.Type())
	switch {
	case n.kind == nullNode || n.kind == brokenNode:
	case s == structShape && n.kind == mappingNode:
		d.decodeStruct(n, v, key, r)
	case s == mapShape && n.kind == mappingNode:
		d.decodeMap(n, v, key, r)
	case s == listShape && n.kind == listNode:
		d.decodeList(n, v, key, r)
	case s.scalar() && n.kind == scalarNode:
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
	for _, e := range n.entries {
		f, ok := fieldNamed(fields, e.name)
		if !ok {
			name := cutUnknownKey(e.name)
			d.add(e.value.place, join(key, name), unknownKey(name, fields))
			continue
		}
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
			v.SetMapIndex(name, reflect.Value{}) // the default, in another spelling
		}
		v.SetMapIndex(reflect.ValueOf(e.name).Convert(v.Type().Key()), element)
	}
}

// element returns a copy of the map's entry that equals name in any case, with
// its own key, or a new entry.
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

// first reports whether this is the first use of a key in its mapping, and
// notes the mistake if it is not.
func (d *Document) first(seen map[string]*node, name string, n *node, key string) bool {
	earlier, again := seen[strings.ToLower(name)]
	if again {
		d.add(n.place, key, fmt.Sprintf("given twice, on lines %d and %d", earlier.line, n.line))
		return false
	}
	seen[strings.ToLower(name)] = n
	return true
}

// mismatch says what was expected of n, which is of a wrong kind.
func mismatch(n *node, t reflect.Type, r rules) string {
	return "expected " + shapeOf(t).String() + got(n, r.secret || holdsSecret(t))
}

// maxQuoted keeps a line of the report a line.
const maxQuoted = 60

// got says what was found instead; of a secret, only which kind of value.
func got(n *node, secret bool) string {
	switch {
	case n.kind != scalarNode:
		return ", got " + n.kind.String()
	case secret:
		return " (the value is not shown: it may be a secret)"
	case n.folded:
		// Below "a: b", an indented "clientSecret:x" without its space goes on with b.
		return ", got text over several lines; is the space after a colon missing?"
	}
	text := n.text
	if utf8.RuneCountInString(text) > maxQuoted {
		text = string([]rune(text)[:maxQuoted]) + "…"
	}
	return ", got " + strconv.Quote(text)
}

var notKeyText = regexp.MustCompile(`(?s)[^\pL\pN_.$-].*`)

// visible cuts an unknown key to what is a key for certain: in {clientSecret=x},
// which is no mapping to YAML, the secret is part of it.
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
