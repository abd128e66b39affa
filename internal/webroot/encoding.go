package webroot

import (
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// encodings are the compressed forms that a build may put beside a file, the best first.
var encodings = []struct{ name, extension string }{{"br", ".br"}, {"gzip", ".gz"}}

// useCompressed puts the best compressed form that r accepts in the place of the file of p, if
// there is one. A form that is older than the file is not used: it may be of another version.
func (p *reply) useCompressed(r *http.Request, root *os.Root) {
	original := p.file
	for _, encoding := range encodings {
		encoded, err := open(root, original.name+encoding.extension)
		if err != nil {
			continue
		}
		if encoded.info.ModTime().Before(original.info.ModTime().Truncate(time.Second)) {
			encoded.close()
			continue
		}
		if !slices.Contains(p.vary, "Accept-Encoding") {
			p.vary = append(p.vary, "Accept-Encoding")
		}
		if accepts(r.Header["Accept-Encoding"], encoding.name) {
			p.file, p.encoding = encoded, encoding.name
			original.close()
			return
		}
		encoded.close()
	}
}

// accepts reports whether a header such as Accept or Accept-Encoding lists what, and does not
// exclude it by the weight 0 (RFC 9110, section 12.4.2).
func accepts(values []string, what string) bool {
	for _, value := range values {
		for item := range strings.SplitSeq(value, ",") {
			name, parameters, _ := strings.Cut(item, ";")
			if strings.EqualFold(strings.TrimSpace(name), what) && !isExcluded(parameters) {
				return true
			}
		}
	}
	return false
}

// isExcluded reports whether the parameters of an item have the weight 0.
func isExcluded(parameters string) bool {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
		if weight, err := strconv.ParseFloat(value, 64); strings.EqualFold(name, "q") && err == nil && weight == 0 {
			return true
		}
	}
	return false
}
