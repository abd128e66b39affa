package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Example writes comments beside values, at commentColumn. After a longer value, the
// comment follows on the same line if it fits in exampleWidth; otherwise it is on the line
// above.
const (
	commentColumn = 34
	exampleWidth  = 130
)

// mustChangeMark begins the comment of a value that every user must change.
const mustChangeMark = "(yours) "

// Example returns a configuration file in YAML with every key of the struct that root
// points to. Each key has its comment and the value of its tags, or else the default in
// root. If the entries of a list differ by kind ("only" tags), the first kind is active
// and the others are commented out.
func Example(root any) string {
	v := reflect.ValueOf(root).Elem()
	var page strings.Builder
	for i, f := range fieldsOf(v.Type()) {
		if i > 0 {
			page.WriteByte('\n')
		}
		var section exampleSection
		section.field(f, v.Field(f.index), "", "", 0)
		section.write(&page)
	}
	return page.String()
}

// exampleLine is a key with its value and its comment. prefix precedes the key on its
// line; below precedes the comment on other lines.
type exampleLine struct {
	prefix, below, text, comment string
}

// exampleSection is a key of the first level with all keys below it.
type exampleSection struct{ lines []exampleLine }

func (s *exampleSection) add(prefix, below, text, comment string) {
	s.lines = append(s.lines, exampleLine{prefix, below, text, comment})
}

// fields adds the keys of v, which is entry number n of its list. The first key has the
// prefix first, such as "- ".
func (s *exampleSection) fields(v reflect.Value, first, prefix string, n int) {
	for _, f := range fieldsOf(v.Type()) {
		if n > 0 && f.example(n) == "" {
			continue
		}
		s.field(f, v.Field(f.index), first, prefix, n)
		first = prefix
	}
}

func (s *exampleSection) field(f field, v reflect.Value, first, prefix string, n int) {
	comment := f.comment(n)
	suffix, inner := innerSection(f.typ)
	switch {
	case inner == nil || f.typ.Kind() == reflect.Slice && f.example(n) != "":
		value := f.example(n)
		if value == "" {
			value = exampleValue(v)
		}
		s.add(first, prefix, f.name+": "+value, comment)
	case suffix == "":
		s.add(first, prefix, f.name+":", comment)
		s.fields(v, prefix+"  ", prefix+"  ", n)
	case f.typ.Kind() == reflect.Map:
		s.add(first, prefix, f.name+":", comment)
		s.add(prefix+"  ", prefix+"  ", f.example(0)+":", strings.TrimSpace(mustChangeMark))
		s.fields(newValue(inner), prefix+"    ", prefix+"    ", 0)
	default:
		s.add(first, prefix, f.name+":", comment)
		s.entries(inner, prefix+"  ")
	}
}

// entries adds the entries of a list: one for each kind, or as many as the tags of the
// keys have examples for.
func (s *exampleSection) entries(inner reflect.Type, prefix string) {
	fields := fieldsOf(inner)
	kinds := kindsOf(fields)
	for n, kind := range kinds {
		s.kind(fields, newValue(inner), kind, n == 0, prefix)
		for i, f := range fields { // each key is explained once
			if i == 0 || f.belongsTo(kind) {
				fields[i].doc = ""
			}
		}
	}
	for n := range examplesOf(fields) {
		if kinds == nil {
			s.fields(newValue(inner), prefix+"- ", prefix+"  ", n)
		}
	}
}

// kind adds an entry of one kind with its keys. If it is active, only keys without an
// example are commented out; otherwise all are.
func (s *exampleSection) kind(fields []field, v reflect.Value, kind string, active bool, prefix string) {
	if !active {
		prefix += "# "
	}
	s.add(prefix+"- ", prefix+"  ", fields[0].name+": "+kind, fields[0].doc)
	for _, f := range fields[1:] {
		if !f.belongsTo(kind) {
			continue
		}
		below := prefix + "  "
		if active && f.example(0) == "" {
			below += "# "
		}
		if !active {
			f.mustChange = false
		}
		s.field(f, v.Field(f.index), below, below, 0)
	}
}

func (f field) belongsTo(kind string) bool { return len(f.only) == 0 || slices.Contains(f.only, kind) }

// kindsOf returns the kinds of entries with these keys: the enum of the first key, if
// other keys belong to some kinds only.
func kindsOf(fields []field) []string {
	if slices.ContainsFunc(fields, func(f field) bool { return len(f.only) > 0 }) {
		return fields[0].enum
	}
	return nil
}

// examplesOf returns how many entries the tags have examples for.
func examplesOf(fields []field) int {
	most := 1
	for _, f := range fields {
		most = max(most, len(f.examples))
	}
	return most
}

// example returns the value of the tags for entry number n, or "".
func (f field) example(n int) string {
	if n < len(f.examples) {
		return f.examples[n]
	}
	return ""
}

// comment returns the comment of the key. Only the first entry of a list has comments.
func (f field) comment(n int) string {
	if n > 0 {
		return ""
	}
	comment := f.doc
	if len(f.enum) > 0 {
		comment = strings.TrimSuffix(comment, ".") + ": " + strings.ReplaceAll(alternatives(f.enum), `"`, "") + "."
	}
	if f.mustChange && f.typ.Kind() != reflect.Map {
		comment = mustChangeMark + comment
	}
	return comment
}

// write writes the lines with their comments.
func (s *exampleSection) write(page *strings.Builder) {
	for _, l := range s.lines {
		key := l.prefix + l.text
		end := utf8.RuneCountInString(key) + len("  ")
		switch {
		case l.comment == "":
			fmt.Fprintln(page, key)
		case end <= commentColumn:
			for _, text := range wrap(l.comment, exampleWidth-commentColumn-len("# ")) {
				fmt.Fprintf(page, "%-*s# %s\n", commentColumn, key, text)
				key = strings.TrimRight(l.below, " ") // for the next line of the comment
			}
		case end+len("# ")+utf8.RuneCountInString(l.comment) <= exampleWidth:
			fmt.Fprintf(page, "%s  # %s\n", key, l.comment)
		default:
			for _, text := range wrap(l.comment, exampleWidth-len(l.below)-len("# ")) {
				fmt.Fprintf(page, "%s# %s\n", l.below, text)
			}
			fmt.Fprintln(page, key)
		}
	}
}

// wrap breaks a text into lines of at most width characters.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line+" "+word) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

// exampleValue writes a default in YAML, on one line.
func exampleValue(v reflect.Value) string {
	switch value := v.Interface().(type) {
	case time.Duration:
		return writeDuration(value)
	case Size:
		return value.String()
	}
	switch v.Kind() {
	case reflect.String:
		return QuoteYAML(v.String())
	case reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = exampleValue(v.Index(i))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case reflect.Map:
		var items []string
		for name, value := range v.Seq2() {
			items = append(items, QuoteYAML(name.String())+": "+exampleValue(value))
		}
		slices.Sort(items)
		return "{" + strings.Join(items, ", ") + "}"
	}
	return fmt.Sprint(v.Interface())
}

// plainText matches text that YAML reads as text without quotes, in every position.
var plainText = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_./-]*(:[A-Za-z0-9_./-]+)*$`)

// typedWords are words that YAML readers take for another type.
var typedWords = []string{"true", "false", "yes", "no", "on", "off", "null", "y", "n"}

// QuoteYAML writes a text in YAML: in quotes, if it would be read as something else without.
func QuoteYAML(text string) string {
	if plainText.MatchString(text) && !slices.Contains(typedWords, strings.ToLower(text)) {
		return text
	}
	return fmt.Sprintf("%q", text)
}
