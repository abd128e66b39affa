package webroot

import (
	"net/http"
	"path"
	"regexp"
	"strings"
)

// DefaultPolicy is the content security policy of a page that loads from its own origin
// only, without inline scripts and styles. Bundlers write small images and fonts as data:
// URLs. Our own pages may frame each other, such as the hidden frame of a silent sign-in,
// which visits frameSources.
func DefaultPolicy(frameSources []string) string {
	policy := "default-src 'self'; img-src 'self' data:; font-src 'self' data:; object-src 'none'; base-uri 'self'; " +
		"form-action 'self'; frame-ancestors 'self'"
	if len(frameSources) > 0 {
		policy += "; frame-src 'self' " + strings.Join(frameSources, " ")
	}
	return policy
}

// frameOptions returns the X-Frame-Options header that says what policy says of
// frame-ancestors; "" if that header cannot say it. Without that directive, our own pages may
// frame each other.
func frameOptions(policy string) string {
	for directive := range strings.FieldsFuncSeq(policy, func(r rune) bool { return r == ';' || r == ',' }) {
		words := strings.Fields(strings.ToLower(directive))
		if len(words) == 0 || words[0] != "frame-ancestors" {
			continue
		}
		switch strings.Join(words[1:], " ") {
		case "", "'none'":
			return "DENY"
		case "'self'":
			return "SAMEORIGIN"
		}
		return ""
	}
	return "SAMEORIGIN"
}

// setHeaders sets the headers of p. The browser must take its type as it is said. With
// the policy same-origin, forms of our own pages still name their origin, which no-referrer
// would replace by null (Fetch Standard, section 3.2).
func (s *Site) setHeaders(h http.Header, p reply, tag string) {
	h.Set("Content-Type", contentType(p.name))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", s.config.Policy)
	h.Set("Referrer-Policy", "same-origin")
	if s.frameOptions != "" {
		h.Set("X-Frame-Options", s.frameOptions)
	}
	h.Set("Cache-Control", cacheControl(p.name))
	for _, name := range p.vary {
		h.Add("Vary", name)
	}
	if p.encoding != "" {
		h.Set("Content-Encoding", p.encoding)
	}
	if tag != "" {
		h.Set("ETag", tag)
	}
}

// contentTypes are the types of files, by extension. The machine's own table does not count:
// with some, a module script has a type that browsers refuse.
var contentTypes = map[string]string{
	".html": htmlType, ".htm": htmlType, ".css": "text/css; charset=utf-8",
	".js": scriptType, ".mjs": scriptType, ".cjs": scriptType, ".wasm": "application/wasm",
	".json": "application/json", ".map": "application/json", ".webmanifest": "application/manifest+json",
	".xml": "application/xml", ".txt": "text/plain; charset=utf-8", ".md": "text/markdown; charset=utf-8",
	".csv": "text/csv; charset=utf-8", ".vtt": "text/vtt; charset=utf-8", ".pdf": "application/pdf",

	".svg": "image/svg+xml", ".png": "image/png", ".apng": "image/apng", ".jpg": "image/jpeg", ".jpeg": "image/jpeg",
	".gif": "image/gif", ".webp": "image/webp", ".avif": "image/avif", ".bmp": "image/bmp", ".ico": "image/x-icon",

	".woff2": "font/woff2", ".woff": "font/woff", ".ttf": "font/ttf", ".otf": "font/otf", ".eot": "application/vnd.ms-fontobject",

	".mp3": "audio/mpeg", ".aac": "audio/aac", ".wav": "audio/wav", ".ogg": "audio/ogg", ".oga": "audio/ogg",
	".mp4": "video/mp4", ".webm": "video/webm", ".ogv": "video/ogg",

	".gz": "application/gzip", ".zip": "application/zip",
}

const (
	htmlType   = "text/html; charset=utf-8"
	scriptType = "text/javascript; charset=utf-8"
)

func contentType(name string) string {
	if t := contentTypes[strings.ToLower(path.Ext(name))]; t != "" {
		return t
	}
	return "application/octet-stream"
}

// cacheControl lets a browser keep a file whose name has a digest of its content. It asks
// for every other file whether it has changed, which the entity tag answers.
func cacheControl(name string) string {
	if contentType(name) != htmlType && hasDigest(path.Base(name)) {
		return "public, max-age=31536000, immutable" // a year
	}
	return "no-cache"
}

var (
	// hexDigest is what webpack, Next.js and Parcel write into names: digits from 0 to f,
	// among them letters, since digits alone may be a date.
	hexDigest = regexp.MustCompile(`(^|-)[0-9a-f]*[a-f][0-9a-f]*$`)
	// shortDigest is what Vite, Rollup and esbuild write: eight characters.
	shortDigest = regexp.MustCompile(`(^|-)[0-9A-Za-z_]{8}$`)
	// numbered is a word and a number, which is no digest, such as DSC01234.
	numbered = regexp.MustCompile(`(^|-)[A-Za-z_]+[0-9]+$`)
)

// hasDigest reports whether a file's name has a digest of its content, as bundlers write it:
// main.3f2a9c1b.js, main.3f2a9c1b.chunk.js, index-BxY12abc.js. One that is the whole name must
// be longer. In doubt it has none: a file that is asked for once too often is better than one
// that is a year old.
func hasDigest(base string) bool {
	parts := strings.Split(base, ".")
	for i, part := range parts[:len(parts)-1] { // without the extension
		isWholeName := func(digest string) bool { return i == 0 && !strings.HasPrefix(digest, "-") }
		digest := hexDigest.FindString(part)
		if size := len(strings.TrimPrefix(digest, "-")); size >= 16 || size >= 8 && !isWholeName(digest) {
			return true
		}
		digest = shortDigest.FindString(part)
		if strings.ContainsAny(digest, "0123456789") && strings.ContainsAny(digest, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") &&
			!isWholeName(digest) && !numbered.MatchString(part) {
			return true
		}
	}
	return false
}
