package api

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

// viewerVersion is that of Swagger UI, and in the URLs of its files: they never
// change under a URL.
const viewerVersion = "5.35.0"

//go:embed swagger-ui
var viewer embed.FS

// viewerFiles are the types of the files that are served.
var viewerFiles = map[string]string{
	"swagger-ui-bundle.js":             "text/javascript; charset=utf-8",
	"swagger-ui.css":                   "text/css; charset=utf-8",
	"swagger-ui-bundle.js.LICENSE.txt": "text/plain; charset=utf-8",
	"LICENSE":                          "text/plain; charset=utf-8",
	"NOTICE":                           "text/plain; charset=utf-8",
}

// viewerMaxAge is as good as for ever.
const viewerMaxAge = 365 * 24 * time.Hour

// docsScript starts the viewer for reading only: a token has no business in this
// page.
const docsScript = `SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#viewer",
  supportedSubmitMethods: [],
  validatorUrl: null,
  plugins: [() => ({wrapComponents: {authorizeBtn: () => () => null, authorizeOperationBtn: () => () => null}})],
})`

// docsStyle leaves out a column that is always empty: there are no links between
// operations, and a phone has no room for it.
const docsStyle = `.response-col_links { display: none }`

// docsPage loads everything by paths relative to its own, whatever prefix a
// gateway puts before them.
const docsPage = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>middletier</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/` + viewerVersion + `/swagger-ui.css">
<style>` + docsStyle + `</style>
<main id="viewer"></main>
<script src="docs/` + viewerVersion + `/swagger-ui-bundle.js"></script>
<script>` + docsScript + `</script>
</html>
`

// docsPolicy lets the page load the viewer, start it, and read the description.
var docsPolicy = "; script-src 'self' " + hashSource(docsScript) + "; style-src 'self' " + hashSource(docsStyle) + "; img-src data:; connect-src 'self'"

// hashSource names a script or a style that is in a page itself (Content Security
// Policy Level 3, section 2.3.1).
func hashSource(text string) string {
	hash := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'"
}

// docs answers with a page to read the description of the service.
func (s *Server) docs(c echo.Context) error {
	s.setCacheableIfFixed(c)
	return respondPage(c, docsPolicy, []byte(docsPage))
}

// redirectToDocs leads a browser that asks for / to the page about the service. There is
// nothing else.
func (s *Server) redirectToDocs(c echo.Context) error {
	r := c.Request()
	if r.Method != http.MethodGet && r.Method != http.MethodHead || !wantsHTML(r) {
		return echo.ErrNotFound
	}
	base, err := url.Parse(s.baseURL(r))
	if err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Accept")
	h.Set("Location", base.EscapedPath()+"/docs") // a path: it does not depend on Host
	return c.NoContent(http.StatusFound)
}

// wantsHTML reports whether r comes from a browser's window.
func wantsHTML(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept"), "text/html") }

// docsFile answers with a file of the viewer.
func (s *Server) docsFile(c echo.Context) error {
	name := c.Param("file")
	contentType, ok := viewerFiles[name]
	if !ok || c.Param("version") != viewerVersion {
		return echo.ErrNotFound
	}
	setCacheable(c, viewerMaxAge)
	file := viewerBytes()[name]
	if file.gzipped == nil {
		return respond(c, http.StatusOK, contentType, file.content)
	}
	h := c.Response().Header()
	h.Add("Vary", "Accept-Encoding")
	if strings.Contains(c.Request().Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		return respond(c, http.StatusOK, contentType, file.gzipped)
	}
	return respond(c, http.StatusOK, contentType, file.content)
}

type viewerFile struct {
	content []byte
	gzipped []byte // by gzip; nil: it is not worth it
}

// viewerBytes are the files by name, read once for all who ask.
var viewerBytes = sync.OnceValue(func() map[string]viewerFile {
	files := map[string]viewerFile{}
	for name := range viewerFiles {
		content, err := viewer.ReadFile("swagger-ui/" + name)
		if err == nil {
			files[name] = viewerFile{content: content}
			continue
		}
		gzipped, err := viewer.ReadFile("swagger-ui/" + name + ".gz")
		if err != nil {
			panic(err) // it is part of the program
		}
		unpacked, err := gzip.NewReader(bytes.NewReader(gzipped))
		if err == nil {
			content, err = io.ReadAll(unpacked)
		}
		if err != nil {
			panic(err)
		}
		files[name] = viewerFile{content, gzipped}
	}
	return files
})
