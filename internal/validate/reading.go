package validate

import (
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// ErrPath says that rules for paths cannot decide on a path: an API may read it as
// another one.
var ErrPath = errors.New("an API may read the path as another one than the access rules")

// reading is a path as some servers read it, in segments.
type reading struct {
	segments []string
	folded   bool // by foldPath
}

// checkReadings decides on a decoded path as it is, and as it is read by servers
// that ignore case (ASP.NET Core, Express, IIS) or normalize characters (NFKC:
// Unicode Standard Annex #15).
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

// checkParameters decides on a path with and without its parameters (RFC 3986,
// section 3.3): for some servers they belong to the name.
func (a *Access) checkParameters(caller *Caller, method, path string, folded bool) error {
	if err := a.check(caller, method, reading{splitPath(path), folded}); err != nil || !strings.Contains(path, ";") {
		return err
	}
	return a.check(caller, method, reading{bareSegments(path), folded})
}

// bareSegments splits a path into its segments without parameters.
func bareSegments(path string) (bare []string) {
	for _, s := range splitPath(path) {
		if name, _, _ := strings.Cut(s, ";"); name != "" { // servers merge adjacent slashes
			bare = append(bare, name)
		}
	}
	return bare
}

// MayBeReadAs reports whether an API may read a decoded path as other, which is plain: also
// one with the name of a format behind it, as in /items.json, which Rails and earlier versions
// of Spring take for the same route. The error is ErrPath if that cannot be decided.
func MayBeReadAs(path, other string) (bool, error) {
	folded := foldPath(path)
	if isAmbiguous(path) || isAmbiguous(folded) || strings.Count(folded, "/") != strings.Count(path, "/") {
		return false, ErrPath
	}
	segments, others := bareSegments(folded), bareSegments(foldPath(other))
	if slices.Equal(segments, others) {
		return true, nil
	}
	last := len(others) - 1
	return last >= 0 && len(segments) == len(others) && slices.Equal(segments[:last], others[:last]) &&
		strings.HasPrefix(segments[last], others[last]+"."), nil
}

// foldPath returns the same path for all paths that differ only in case, or in how
// their characters are composed.
func foldPath(path string) string {
	for i := range len(path) {
		if path[i] >= utf8.RuneSelf {
			// Upper case first: it unites letters with three forms.
			return strings.ToLower(strings.ToUpper(norm.NFKC.String(path)))
		}
	}
	return strings.ToLower(path)
}

// isAmbiguous reports whether a decoded path contains what some servers remove or
// decode before they use it: a percent escape that is left (also IIS' %u0061), spaces
// around a name, dots at its end (Windows), or a file's data stream (NTFS:
// name::$DATA).
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

// isBlank reports whether trim removes r in some language.
func isBlank(r rune) bool { return unicode.IsSpace(r) || r == '\u200b' || r == '\ufeff' }

// hasEscape reports whether decoding s would change it.
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
