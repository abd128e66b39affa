package sidecar

import (
	"net/url"
	"strings"
)

// splitPath appends the segments of the escaped path of a request to segments, which must be
// empty, decoded once. Dot segments are resolved first, and one slash at the end makes no
// difference. ok is false for a path that no route has.
func splitPath(segments []string, escaped string) (_ []string, ok bool) {
	rest, ok := strings.CutPrefix(escaped, "/")
	if !ok || len(escaped) > maxPath {
		return nil, false
	}
	rest, _ = strings.CutSuffix(rest, "/")
	for segment := range strings.SplitSeq(rest, "/") {
		decoded := segment
		if strings.Contains(segment, "%") {
			var err error
			if decoded, err = url.PathUnescape(encodedSlash.Replace(segment)); err != nil {
				return nil, false
			}
		}
		switch decoded {
		case "":
			return nil, false
		case ".":
		case "..":
			segments = segments[:max(len(segments)-1, 0)]
		default:
			segments = append(segments, decoded)
		}
	}
	return segments, true
}

// maxPath bounds a path in bytes. The longest one has the name of an API.
const maxPath = 4 << 10

// encodedSlash keeps an encoded slash as it is, so that it does not end a segment.
var encodedSlash = strings.NewReplacer("%2F", "%252F", "%2f", "%252F")
