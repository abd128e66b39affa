package validate

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// ErrPath says that a path cannot be held to rules for paths: an API may read it
// as another path.
var ErrPath = errors.New("the path may be read as another path than the one that the access rules see")

// reading is a path as some servers understand it, in segments.
type reading struct {
	segments []string
	folded   bool // letters are in lower case, characters in their compatible form
}

// checkReadings decides on a decoded path as it is, and as servers read it that do
// not tell upper from lower case (ASP.NET Core, Express, IIS) or normalize
// characters (NFKC: Unicode Standard Annex #15).
func (a *Access) checkReadings(caller *Caller, method, path string) error {
	folded := foldPath(path)
	if isAmbiguous(path) || folded != path && (isAmbiguous(folded) || strings.Count(folded, "/") != strings.Count(path, "/")) {
		return ErrPath
	}
	if err := a.checkParameters(caller, method, path, false); err != nil || folded == path && !a.folds {
		return err
	}
	return a.checkParameters(caller, method, folded, true)
}

// checkParameters decides on a path with its parameters (RFC 3986, section 3.3),
// and without: servers differ in whether they belong to the name.
func (a *Access) checkParameters(caller *Caller, method, path string, folded bool) error {
	segments := splitPath(path)
	if err := a.check(caller, method, reading{segments, folded}); err != nil || !strings.Contains(path, ";") {
		return err
	}
	var bare []string
	for _, s := range segments {
		if name, _, _ := strings.Cut(s, ";"); name != "" { // servers merge the slashes round it
			bare = append(bare, name)
		}
	}
	return a.check(caller, method, reading{bare, folded})
}

// foldPath returns what a path has in common with all paths that differ in case
// only, or in how their characters are composed.
func foldPath(path string) string {
	for i := range len(path) {
		if path[i] >= utf8.RuneSelf {
			// Through upper case, where letters with three forms meet.
			return strings.ToLower(strings.ToUpper(norm.NFKC.String(path)))
		}
	}
	return strings.ToLower(path)
}

// isAmbiguous reports whether a decoded path has what some servers take away
// before they look for what it names: a percent escape that is one still (also
// IIS' %u0061), blanks round a name, dots at its end (Windows), and the data stream
// of a file (NTFS: name::$DATA).
func isAmbiguous(path string) bool {
	if hasEscape(path) || strings.Contains(path, `\`) || strings.Contains(path, ":$") {
		return true
	}
	for segment := range strings.SplitSeq(path, "/") {
		name, _, _ := strings.Cut(segment, ";")
		if name == "" {
			continue
		}
		first, _ := utf8.DecodeRuneInString(name)
		last, _ := utf8.DecodeLastRuneInString(name)
		if last == '.' || isBlank(first) || isBlank(last) {
			return true
		}
	}
	return false
}

// isBlank reports whether some language's trim takes r away.
func isBlank(r rune) bool { return unicode.IsSpace(r) || r == '\u200b' || r == '\ufeff' }

// hasEscape reports whether s would be changed by decoding it.
func hasEscape(s string) bool {
	for {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			return false
		}
		s = s[i+1:]
		if len(s) >= 2 && isHex(s[:2]) || len(s) >= 5 && s[0]|0x20 == 'u' && isHex(s[1:5]) {
			return true
		}
	}
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdefABCDEF") == "" }
