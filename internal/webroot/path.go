package webroot

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// target is what a path names.
type target struct {
	name         string // decoded, with slashes between the segments; "." for the folder itself
	slash        bool   // the path ends with a slash
	hasExtension bool   // the last segment has a dot
	mayBeFile    bool   // false: no file is served by that name, but the application may have such a route
}

// parsePath reads a path as it was sent. Paths that a server behind or in front of us could
// read as another one are not found: those with dot segments, empty segments, backslashes
// and control characters, encoded ones too. So are names that begin with a dot.
func parsePath(raw string) (target, error) {
	rest, isRooted := strings.CutPrefix(raw, "/")
	if rest == "" {
		return target{name: ".", slash: isRooted, mayBeFile: true}, nil
	}
	t := target{mayBeFile: true}
	rest, t.slash = strings.CutSuffix(rest, "/")
	segments := strings.Split(rest, "/")
	for i, segment := range segments {
		decoded, err := url.PathUnescape(segment)
		if err != nil || !isRooted || !utf8.ValidString(decoded) || strings.ContainsFunc(decoded, isUnsafe) {
			return target{}, fmt.Errorf("%w: the path is malformed", ErrNotFound)
		}
		parts := strings.Split(decoded, "/") // several if slashes are encoded
		if slices.ContainsFunc(parts, func(part string) bool { return part == "" || isHidden(part) }) {
			return target{}, fmt.Errorf("%w: a segment is empty or begins with a dot", ErrNotFound)
		}
		segments[i] = decoded
		t.mayBeFile = t.mayBeFile && len(parts) == 1 && !isAmbiguous(decoded)
		t.hasExtension = !t.slash && strings.Contains(parts[len(parts)-1], ".")
	}
	t.name = strings.Join(segments, "/")
	return t, nil
}

// isHidden reports whether files of that name, and files below such a folder, are not served.
func isHidden(name string) bool { return strings.HasPrefix(name, ".") }

func isUnsafe(c rune) bool { return c < ' ' || c == 0x7f || c == '\\' }

// isAmbiguous reports whether a file system could take name for another: on Windows a colon
// begins a stream's name, and dots and spaces at the end do not count.
func isAmbiguous(name string) bool {
	return strings.Contains(name, ":") || strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ")
}
