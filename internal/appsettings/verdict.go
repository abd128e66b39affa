// Package appsettings translates the keys of an ASP.NET appsettings.json into this program's
// configuration. One table has a verdict for every key of Microsoft.Identity.Web,
// MSAL.NET and ASP.NET that such a file may hold: the file is read as it is, and
// nothing that would change security is ignored silently.
//
// A new key is a row of the table (table.go). Only a row that maps a key needs a function.
package appsettings

import (
	"slices"
	"strings"

	"middletier/internal/config"
)

// verdict is what becomes of a key.
type verdict string

const (
	same   verdict = "same"   // the key is one of this program's, or needs none
	mapped verdict = "map"    // the value is taken, under this program's key
	warn   verdict = "warn"   // the value is ignored, with a warning
	refuse verdict = "refuse" // the key is a mistake: to ignore it would be wrong or unsafe
)

// row is a verdict on some keys. If several rows match a key, the first one that is for
// its value decides.
type row struct {
	// keys are paths below the section's prefix, separated by commas. * at the end of a
	// level stands for any rest of its name, [] for the items of a list.
	keys string
	// when are the values that the row is for, separated by commas; "": all values.
	when    string
	verdict verdict
	// text is for the user: what the key is called here, or why it is ignored or refused.
	text string
	// apply does what the verdict says. nil: nothing is done for same, and the text is the
	// warning or the mistake.
	apply func(t *translation, v config.Tree)
	// belongs says what belongs here, if the value may be a placeholder of Microsoft's samples.
	belongs string
	// alone: an environment variable of this name, without a level below it, is meant for us.
	alone bool
}

// section is a part of the table.
type section struct {
	title  string
	prefix string
	rows   []row
}

// paths returns the keys of a row as levels, below the root.
func (s section) paths(r row) [][]string {
	var all [][]string
	for _, key := range strings.Split(r.keys, ", ") {
		if s.prefix != "" {
			key = strings.TrimSuffix(s.prefix+"."+key, ".")
		}
		all = append(all, strings.Split(strings.ReplaceAll(key, "[]", ".[]"), "."))
	}
	return all
}

// key is one key of the table, with its row.
type key struct {
	row
	path []string // its levels, below the root
}

// keys are all keys, in the order of the table.
var keys = func() (all []key) {
	for _, s := range table {
		for _, r := range s.rows {
			for _, path := range s.paths(r) {
				all = append(all, key{r, path})
			}
		}
	}
	return all
}()

// translation is the work on one configuration.
type translation struct {
	root config.Tree
	// others are sections of other parts of a .NET application.
	others []config.Tree
	// hasCredentials: ClientCredentials had entries, so that .NET ignores the older forms.
	hasCredentials bool
	// listens: a variable of ASP.NET said where the sidecar listener listens.
	listens bool
}

// Translate changes Microsoft's keys below root into this program's, by the table.
func Translate(root config.Tree) {
	t := &translation{root: root}
	if list, ok := root.Get("AzureAd", "ClientCredentials"); ok {
		t.hasCredentials = !list.IsBlank()
	}
	t.implySidecar()
	for _, k := range keys {
		find(root, k.path, func(v config.Tree) { t.decide(k.row, v) })
	}
	t.finish(root, known)
	t.warnOthers()
}

// decide applies r to v if it is for v's value.
func (t *translation) decide(r row, v config.Tree) {
	switch {
	case v.IsBlank():
		if !v.IsKnown() {
			v.Remove()
		}
		return
	case r.belongs != "" && refusePlaceholder(v, r.belongs):
		return
	case r.when != "" && !isOneOf(v, r.when):
		return
	case r.apply != nil:
		r.apply(t, v)
	case r.verdict == warn:
		v.Warn(r.text)
		v.Remove()
	case r.verdict == refuse:
		v.RefuseUnsupported(r.text)
	}
}

// isOneOf reports whether v is one of values, which commas separate.
func isOneOf(v config.Tree, values string) bool {
	text, ok := v.Text()
	return ok && slices.ContainsFunc(strings.Split(values, ", "), func(value string) bool {
		return strings.EqualFold(strings.TrimSpace(text), value)
	})
}

// find calls visit with every value at path below v.
func find(v config.Tree, path []string, visit func(config.Tree)) {
	if len(path) == 0 {
		visit(v)
		return
	}
	below := v.All()
	if path[0] == "[]" {
		below = v.Items()
	}
	for child := range below {
		if matches(path[0], child.Name()) {
			find(child, path[1:], visit)
		}
	}
}

// matches reports whether name is of the pattern of one level.
func matches(pattern, name string) bool {
	if start, cut := strings.CutSuffix(pattern, "*"); cut {
		return len(name) >= len(start) && strings.EqualFold(name[:len(start)], start)
	}
	return pattern == "[]" || strings.EqualFold(pattern, name)
}

// level is a level of the table's keys.
type level struct {
	pattern string
	decided bool // a row is for the key itself
	ours    bool // and leaves it as it is
	below   []*level
}

// known are the levels of all keys.
var known = levels()

func levels() *level {
	root := &level{}
	for _, k := range keys {
		at := root
		for _, pattern := range k.path {
			at = at.add(pattern)
		}
		at.decided, at.ours = true, at.ours || k.verdict == same
	}
	return root
}

// add returns the level of that pattern below l, which it makes if there is none.
func (l *level) add(pattern string) *level {
	for _, below := range l.below {
		if strings.EqualFold(below.pattern, pattern) {
			return below
		}
	}
	below := &level{pattern: pattern}
	l.below = append(l.below, below)
	return below
}

// find returns the level for a name, or nil. One without * comes first.
func (l *level) find(name string) *level {
	var found *level
	for _, below := range l.below {
		if matches(below.pattern, name) && (found == nil || strings.HasSuffix(found.pattern, "*")) {
			found = below
		}
	}
	return found
}

// names returns the names of the level's keys that are none of ours.
func (l *level) names(ours []string) []string {
	var names []string
	for _, below := range l.below {
		isOurs := func(name string) bool { return strings.EqualFold(name, below.pattern) }
		if !strings.ContainsAny(below.pattern, "*[$") && !slices.ContainsFunc(ours, isOurs) {
			names = append(names, below.pattern)
		}
	}
	return names
}

// finish refuses what no row was for, and removes Microsoft's sections that are empty now.
func (t *translation) finish(v config.Tree, l *level) {
	for child := range v.All() {
		below := l.find(child.Name())
		switch {
		case below == nil && v.Key() == "":
			t.leftover(child)
		case below == nil && (child.IsKnown() || v.IsKnown() && v.Keys() == nil):
		case below == nil:
			refuseUnknown(child, v.Keys(), l)
		case child.IsKnown():
			t.finish(child, below)
		case below.ours: // a key that the target does not have is reported later
		case below.below == nil || below.decided && !child.IsMapping():
			refuseUnlessBool(child)
		case !child.IsMapping() && !child.IsBlank():
			child.Refuse("expected a mapping")
		default:
			t.finish(child, below)
			if child.IsBlank() {
				child.Remove()
			}
		}
	}
}

// refuseUnknown refuses a key that is neither one of ours nor of Microsoft's at this level.
// If ours are nearer, or there are no others, that is reported later.
func refuseUnknown(v config.Tree, ours []string, l *level) {
	theirs := l.names(ours)
	nearest := config.Closest(v.Name(), slices.Concat(ours, theirs))
	if len(ours) == 0 || slices.Contains(theirs, nearest[0]) {
		v.RefuseUnknown(slices.Concat(ours, theirs))
	}
}

// refuseUnlessBool removes a value for which there is no verdict: rows for true or false
// alone do not mind the other one.
func refuseUnlessBool(v config.Tree) {
	if isOneOf(v, "true, false") {
		v.Remove()
		return
	}
	v.Refuse("expected true or false")
}

// misspellings is how many wrong letters make a key another one's misspelling, rather than
// a section of another part of the application.
const misspellings = 2

// leftover decides about a section that is neither ours nor in the table. In a file of
// .NET it belongs to another part of the application, unless it is one of ours, misspelt.
func (t *translation) leftover(v config.Tree) {
	name := v.Name()
	if v.IsKnown() || v.Source() == config.YAML || !strings.ContainsFunc(name, func(r rune) bool { return r >= 'A' && r <= 'Z' }) {
		return // a key that is unknown is reported later
	}
	ours := sections(t.root.Keys())
	if isMisspelt(name, ours) {
		v.RefuseUnknown(ours)
		return
	}
	if t.isListOfAzureAd(v) {
		v.Refuse("belongs below AzureAd: it has no effect here")
		return
	}
	t.other(v)
}

// isListOfAzureAd reports whether v is one of AzureAd's lists, which say who is let in.
func (t *translation) isListOfAzureAd(v config.Tree) bool {
	if !t.root.HasList("AzureAd", v.Name()) {
		return false
	}
	for range v.Items() {
		return true
	}
	return false
}

// sections returns ours and the sections of the table that have another name.
func sections(ours []string) []string {
	ours = slices.Clone(ours)
	for _, r := range table[0].rows {
		ours = append(ours, strings.Split(r.keys, ", ")...)
	}
	return ours
}

func isMisspelt(name string, ours []string) bool {
	return slices.ContainsFunc(ours, func(known string) bool { return config.Distance(known, name) <= misspellings })
}

// other takes v as a section of another part of the application.
func (t *translation) other(v config.Tree) {
	t.others = append(t.others, v)
	v.Remove()
}

// warnOthers names the sections of other parts of the application in one line.
func (t *translation) warnOthers() {
	if len(t.others) == 0 {
		return
	}
	text := "not a key of this program, and ignored"
	var names []string
	for _, v := range t.others[1:] {
		names = append(names, quoteUnlessPlain(v.Key()))
	}
	if len(names) > 0 {
		text += "; so are " + strings.Join(names, ", ")
	}
	t.others[0].Warn(text)
}

// IsForeign reports whether an environment variable is for Translate, by the levels of its
// name. ours are the sections of this program. One with a wrong letter is for Translate
// too, which refuses it; with two it may be another program's, such as LOGIN__USER.
func IsForeign(path, ours []string) bool {
	isNearly := func(section string) bool { return config.Distance(section, path[0]) == 1 }
	if len(path) > 1 && slices.ContainsFunc(ours, isNearly) {
		return true
	}
	return slices.ContainsFunc(keys, func(k key) bool {
		return strings.EqualFold(k.path[0], path[0]) && (len(path) > 1 || k.alone && len(k.path) == 1)
	})
}
