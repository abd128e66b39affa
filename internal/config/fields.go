package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// shape is the kind of value that a Go type needs in the configuration.
type shape int

const (
	textShape shape = iota
	boolShape
	intShape
	floatShape
	durationShape
	sizeShape
	listShape
	structShape
	mapShape
)

// String completes "expected …".
func (s shape) String() string {
	return [...]string{
		"a string", "true or false", "a whole number", "a number",
		"a duration such as 30s or 1m30s", "a size such as 64KiB, 10MiB or 1GiB",
		"a list", "a mapping", "a mapping",
	}[s]
}

func (s shape) scalar() bool { return s < listShape }

// shapeOf panics for a type that this package does not support: that is a bug in the
// program, and any test that loads a configuration finds it.
func shapeOf(t reflect.Type) shape {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return durationShape
	case reflect.TypeFor[Size]():
		return sizeShape
	}
	switch t.Kind() {
	case reflect.String:
		return textShape
	case reflect.Bool:
		return boolShape
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return intShape
	case reflect.Float32, reflect.Float64:
		return floatShape
	case reflect.Slice:
		return listShape
	case reflect.Struct:
		return structShape
	case reflect.Map:
		return mapShape
	}
	panic(fmt.Sprintf("config: type %s is not supported", t))
}

// rules are the tags of a field that also apply to the values below it.
type rules struct {
	enum   []string
	secret bool
}

// field is one key of a struct.
type field struct {
	rules
	name       string
	doc        string
	details    string
	only       []string // the kinds of entries that have it; nil: all
	examples   []string // the values for Example, one for each entry of a list
	mustChange bool     // every user must change the example
	index      int      // for reflect.Value.Field
	typ        reflect.Type
}

// fieldsOf returns the keys of a struct.
func fieldsOf(t reflect.Type) []field {
	var all []field
	for sf := range t.Fields() {
		name := sf.Tag.Get("yaml")
		switch {
		case !sf.IsExported() || name == "-":
		case name == "":
			panic(fmt.Sprintf("config: field %s.%s has no yaml tag", t, sf.Name))
		default:
			all = append(all, newField(name, sf))
		}
	}
	return all
}

func newField(name string, sf reflect.StructField) field {
	f := field{
		name: name, doc: sf.Tag.Get("doc"), details: sf.Tag.Get("details"),
		only: splitTag(sf, "only", ","), examples: splitTag(sf, "example", " | "),
		index: sf.Index[0], typ: sf.Type,
	}
	f.secret = sf.Tag.Get("secret") == "true"
	f.enum = splitTag(sf, "enum", ",")
	if yours := splitTag(sf, "yours", " | "); yours != nil {
		f.examples, f.mustChange = yours, true
	}
	return f
}

// splitTag returns the parts of a tag, or nil if the field does not have it.
func splitTag(sf reflect.StructField, name, separator string) []string {
	text, ok := sf.Tag.Lookup(name)
	if !ok {
		return nil
	}
	return strings.Split(text, separator)
}

// explanation is the whole documentation of a key, in sentences.
func (f field) explanation() string {
	text := f.doc
	if f.details != "" {
		text += " " + f.details
	}
	if len(f.only) > 0 {
		text = strings.Join(f.only, ", ") + ": " + text
	}
	return text
}

// below returns the rules for the field f of a struct with the rules r.
func (r rules) below(f field) rules {
	return rules{enum: f.enum, secret: r.secret || f.secret}
}

func fieldNamed(fields []field, name string) (field, bool) {
	i := slices.IndexFunc(fields, func(f field) bool { return strings.EqualFold(f.name, name) })
	if i < 0 {
		return field{}, false
	}
	return fields[i], true
}

func fieldNames(fields []field) []string {
	var names []string
	for _, f := range fields {
		names = append(names, f.name)
	}
	return names
}

// holdsSecret reports whether type t contains a secret: text in place of such a value
// may be the secret, one level too high.
func holdsSecret(t reflect.Type) bool {
	switch shapeOf(t) {
	case listShape, mapShape:
		return holdsSecret(t.Elem())
	case structShape:
		return slices.ContainsFunc(fieldsOf(t), func(f field) bool {
			return f.secret || holdsSecret(f.typ)
		})
	}
	return false
}

// newValue returns a settable value of type t that holds its defaults.
func newValue(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	setDefaults(v)
	return v
}

// setDefaults sets the defaults of inner structs first, so that the outer struct can
// override them.
func setDefaults(v reflect.Value) {
	if v.Kind() != reflect.Struct {
		return
	}
	for _, inner := range v.Fields() {
		if inner.CanSet() {
			setDefaults(inner)
		}
	}
	if d, ok := v.Addr().Interface().(interface{ SetDefaults() }); ok {
		d.SetDefaults()
	}
}

// unknownKey is the problem of an unknown key. It suggests the nearest known key if it is
// near: with more than one wrong letter in three, a suggestion would mislead.
func unknownKey(name string, names []string) string {
	if nearest := Closest(name, names); len(nearest) > 0 && isNear(name, nearest[0]) {
		return fmt.Sprintf("unknown key; did you mean %q?", nearest[0])
	}
	return "unknown key"
}

// isNear reports whether one name may be a misspelling of the other.
func isNear(a, b string) bool { return Distance(a, b) <= (len(a)+2)/3 }
