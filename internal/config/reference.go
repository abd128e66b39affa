package config

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Reference returns the reference in Markdown of every key of the struct that root
// points to, with the defaults in root. Each mapping is a section. Entries of lists are
// written KEY[], and entries of mappings KEY.NAME.
func Reference(root any) string {
	var page strings.Builder
	writeSection(&page, "", "", reflect.ValueOf(root).Elem())
	return page.String()
}

// writeSection writes the keys of a struct, then the sections below it.
func writeSection(page *strings.Builder, path, explanation string, v reflect.Value) {
	if path != "" {
		fmt.Fprintf(page, "\n## %s\n\n%s\n\n| key | value | default | |\n|---|---|---|---|\n", path, explanation)
	}
	fields := fieldsOf(v.Type())
	for _, f := range fields {
		if path != "" {
			page.WriteString(row(f, f.name, v.Field(f.index)))
		}
	}
	for _, f := range fields {
		suffix, inner := innerSection(f.typ)
		if inner == nil {
			continue
		}
		value := v.Field(f.index)
		if suffix != "" {
			value = newValue(inner)
		}
		writeSection(page, strings.TrimPrefix(path+"."+f.name+suffix, "."), f.explanation(), value)
	}
}

// row is a row of a section's table.
func row(f field, name string, v reflect.Value) string {
	if _, inner := innerSection(f.typ); inner != nil {
		return fmt.Sprintf("| `%s` | see below | | %s |\n", name, f.doc)
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s |\n", name, describeType(f.typ, f.rules), describeDefault(v), f.explanation())
}

// Table returns a table in Markdown of the keys at paths, which are written as in
// Reference. An unknown path is an error.
func Table(root any, paths ...string) (string, error) {
	var table strings.Builder
	table.WriteString("| key | default | |\n|---|---|---|\n")
	for _, path := range paths {
		f, v, ok := keyAt(reflect.ValueOf(root).Elem(), path)
		if !ok {
			return "", fmt.Errorf("there is no key %q", path)
		}
		value := ""
		if _, inner := innerSection(f.typ); inner == nil {
			value = strings.TrimRight(" "+describeDefault(v), " ")
		}
		fmt.Fprintf(&table, "| `%s` |%s | %s |\n", path, value, f.doc)
	}
	return table.String(), nil
}

// keyAt returns the key at a path below v, with its default.
func keyAt(v reflect.Value, path string) (field, reflect.Value, bool) {
	for _, f := range fieldsOf(v.Type()) {
		if f.name == path {
			return f, v.Field(f.index), true
		}
		suffix, inner := innerSection(f.typ)
		rest, below := strings.CutPrefix(path, f.name+suffix+".")
		if inner == nil || !below {
			continue
		}
		if suffix == "" {
			return keyAt(v.Field(f.index), rest)
		}
		return keyAt(newValue(inner), rest)
	}
	return field{}, reflect.Value{}, false
}

// innerSection returns the struct that a key holds, or nil, and what is appended to the
// key's path.
func innerSection(t reflect.Type) (suffix string, inner reflect.Type) {
	switch shapeOf(t) {
	case structShape:
		return "", t
	case listShape:
		suffix = "[]"
	case mapShape:
		suffix = ".NAME"
	default:
		return "", nil
	}
	if shapeOf(t.Elem()) != structShape {
		return "", nil
	}
	return suffix, t.Elem()
}

func describeType(t reflect.Type, r rules) string {
	text := map[shape]string{
		textShape: "text", boolShape: "`true`, `false`", intShape: "whole number", floatShape: "number",
		durationShape: "duration", sizeShape: "size",
	}[shapeOf(t)]
	switch shapeOf(t) {
	case listShape:
		text = "list of " + describeType(t.Elem(), rules{enum: r.enum})
	case mapShape:
		text = "names and " + describeType(t.Elem(), rules{enum: r.enum})
	}
	if len(r.enum) > 0 && shapeOf(t) == textShape {
		text = "`" + strings.Join(r.enum, "`, `") + "`"
	}
	if r.secret {
		text += ", secret"
	}
	return text
}

// describeDefault returns the default, or "" if there is none.
func describeDefault(v reflect.Value) string {
	if d, ok := v.Interface().(time.Duration); ok {
		return "`" + writeDuration(d) + "`"
	}
	switch v.Kind() {
	case reflect.String, reflect.Slice, reflect.Map:
		if v.Len() == 0 {
			return ""
		}
	}
	return fmt.Sprintf("`%v`", v.Interface())
}

// writeDuration leaves out zero units at the end.
func writeDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
