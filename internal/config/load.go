// Package config reads a YAML file and environment variables, strictly, into a
// struct that holds the defaults already, and writes what explains it: a JSON
// Schema, a reference and an example file. It knows the struct by its tags only:
//
//	yaml:"name"      the key
//	doc:"…"          one sentence on it
//	details:"…"      further sentences, which the example file leaves out
//	enum:"a,b"       the only texts allowed
//	secret:"true"    its value, or any part of it, is never quoted
//	only:"a,b"       the kinds of entry, named by the list's first key, that have it
//	example:"…"      what the example file shows instead of the default, in YAML
//	yours:"…"        the same, where every user must change it
//
// An example may be several, separated by " | ": one for each entry of the list
// that the key is in. That of a map is the name of an entry; that of a list of mappings
// stands in place of its entries.
//
// A key path is written as in azureAd.clientCredentials[0].clientSecret.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"slices"
)

// maxFileSize is far above any real configuration: a larger file is the wrong file.
const maxFileSize = 1 << 20

// Document is a configuration that was read, with the mistakes found so far.
type Document struct {
	names      []string // of the files, for Mistake.Where
	source     int      // the index of the file that is being read
	root       *node
	target     reflect.Type
	mistakes   []sortable
	warnings   []sortable
	unreadable int  // how many of mistakes, at the front, are values that could not be read
	broken     bool // the file as a whole cannot be used
}

// Input is what Load reads.
type Input struct {
	// Files are paths of YAML files, or of JSON files as .NET reads them (extension .json).
	// Later ones are laid over earlier ones: mappings key by key, lists by index.
	Files []string

	// Environ is laid over the files, as in os.Environ.
	Environ []string

	// IsForeign, if set, says which names of variables that do not begin with a key of the
	// target are for Translate. path is the name's levels, keys are the target's.
	IsForeign func(path, keys []string) bool

	// Translate, if set, changes the keys of another program into this program's, before
	// the values are read into the target.
	Translate func(root Tree)
}

// Load reads the files and then the environment into target, a pointer to a struct that
// holds the defaults. It returns an error, a Mistakes, only if a file as a whole is
// unusable. All other mistakes are in the Document, so that the caller can add more
// before it calls Err. The Document is never nil.
func Load(in Input, target any) (*Document, error) {
	d := newDocument(in.Files, target)
	for i, path := range in.Files {
		d.source = i
		text, err := readFile(path)
		if err != nil {
			d.fail(place{}, "cannot be read: "+reason(err))
			continue
		}
		d.lay(d.parse(path, text))
	}
	return d.finish(in, target)
}

// Parse is Load for the text of one file. name is the file's name in mistakes.
func Parse(name string, text []byte, in Input, target any) (*Document, error) {
	d := newDocument([]string{name}, target)
	d.lay(d.parse(name, text))
	return d.finish(in, target)
}

func newDocument(names []string, target any) *Document {
	return &Document{names: names, root: &node{kind: mappingNode}, target: reflect.TypeOf(target).Elem()}
}

// lay lays the tree of a file over those before.
func (d *Document) lay(root *node) {
	switch {
	case root == nil:
	case len(d.root.entries) == 0:
		d.root = root // with its keys given twice, which decode reports
	default:
		d.dropDuplicates(root, "")
		d.root.merge(root)
	}
}

// dropDuplicates reports keys of n that are given twice, and keeps the first of each.
func (d *Document) dropDuplicates(n *node, key string) {
	seen := map[string]*node{}
	n.entries = slices.DeleteFunc(n.entries, func(e entry) bool {
		return !d.first(seen, e.name, e.value, join(key, e.name))
	})
	for _, e := range n.entries {
		d.dropDuplicates(e.value, join(key, e.name))
	}
	for i, item := range n.items {
		d.dropDuplicates(item, index(key, i))
	}
}

// finish applies the environment to the tree, translates it and decodes it, even after a
// broken file: the environment may have mistakes too.
func (d *Document) finish(in Input, target any) (*Document, error) {
	v := reflect.ValueOf(target).Elem()
	d.overlay(in, v)
	if in.Translate != nil {
		in.Translate(Tree{doc: d, node: d.root})
	}
	d.decode(d.root, v, "", rules{})
	d.unreadable = len(d.mistakes)
	if d.broken {
		return d, d.Err()
	}
	return d, nil
}

// Tree returns the values as they were written, with the keys in this program's spelling.
func (d *Document) Tree() Tree { return Tree{doc: d, node: d.root} }

// Report adds a mistake that the program's own checks found. Its place is that of key,
// or of the nearest parent that is present. If the key's value, or one that holds it,
// could not be read, the mistake is dropped: the checks saw only the default.
func (d *Document) Report(key, problem string) {
	if slices.ContainsFunc(d.mistakes[:d.unreadable], func(m sortable) bool { return m.Key != "" && isWithin(key, m.Key) }) {
		return
	}
	n, _ := d.root.find(key)
	d.add(n.place, key, problem)
}

// isWithin reports whether key is outer or below it.
func isWithin(key, outer string) bool {
	_, ok := cutName(key, outer)
	return ok
}

// Warn adds a warning, which is no mistake. Its place is found as in Report.
func (d *Document) Warn(key, text string) {
	n, _ := d.root.find(key)
	d.warnings = append(d.warnings, sortable{Mistake: Mistake{Key: key, Where: d.where(n.place), Problem: "warning: " + text}, at: n.place})
}

// Warnings returns the warnings, in the order of Err.
func (d *Document) Warnings() Mistakes { return sorted(d.warnings) }

// Has reports whether key was set in the file or in the environment. A key without a
// value was not.
func (d *Document) Has(key string) bool {
	n, exact := d.root.find(key)
	return exact && n.kind != nullNode
}

// TakeUnsupported returns the values that this program cannot do, in the order of Err, which
// does not return them any more.
func (d *Document) TakeUnsupported() Mistakes {
	var taken, rest []sortable
	for _, m := range d.mistakes {
		if m.unsupported {
			taken = append(taken, m)
		} else {
			rest = append(rest, m)
		}
	}
	d.mistakes = rest
	d.unreadable = min(d.unreadable, len(rest))
	return sorted(taken)
}

// Err returns all mistakes as a Mistakes, ordered by place: the file, the environment,
// then the rest. It returns nil if there is none.
func (d *Document) Err() error {
	if len(d.mistakes) == 0 {
		return nil
	}
	return sorted(d.mistakes)
}

func (d *Document) add(p place, key, problem string) {
	m := Mistake{Key: key, Where: d.where(p), Problem: problem}
	d.mistakes = append(d.mistakes, sortable{Mistake: m, at: p})
}

// fail adds a mistake that makes the whole file unusable.
func (d *Document) fail(p place, problem string) {
	d.broken = true
	p.file, p.source = true, d.source
	d.add(p, "", problem)
}

func (d *Document) where(p place) string {
	switch {
	case p.variable != "":
		return "environment variable " + p.variable
	case p.column > 0:
		return fmt.Sprintf("%s:%d:%d", d.names[p.source], p.line, p.column)
	case p.line > 0:
		return fmt.Sprintf("%s:%d", d.names[p.source], p.line)
	case p.file:
		return d.names[p.source]
	}
	return ""
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// One byte more than the limit, so that parse can detect a larger file.
	return io.ReadAll(io.LimitReader(f, maxFileSize+1))
}

// reason is the error without the path, which Mistake.Where contains.
func reason(err error) string {
	var wrapped *fs.PathError
	if errors.As(err, &wrapped) {
		return wrapped.Err.Error()
	}
	return err.Error()
}
