package api

import (
	"bytes"
	"compress/gzip"
	"embed"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
)

// viewerVersion is the version of Swagger UI. The URLs of its files contain it, so the
// content of a URL never changes.
const viewerVersion = "5.35.0"

//go:embed swagger-ui
var viewer embed.FS

// viewerFiles are the files that are served, with their content types.
var viewerFiles = map[string]string{
	"swagger-ui-bundle.js":             "text/javascript; charset=utf-8",
	"swagger-ui.css":                   "text/css; charset=utf-8",
	"swagger-ui-bundle.js.LICENSE.txt": "text/plain; charset=utf-8",
	"LICENSE":                          "text/plain; charset=utf-8",
	"NOTICE":                           "text/plain; charset=utf-8",
}

// viewerMaxAge is a year: the content of these URLs never changes.
const viewerMaxAge = 365 * 24 * time.Hour

// docsScript starts the viewer read-only: tokens must not be entered in this page. The viewer
// shows the first content of a response, so problems come before what an API may send.
const docsScript = `SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#viewer",
  supportedSubmitMethods: [],
  validatorUrl: null,
  responseInterceptor: response => {
    const problem = "application/problem+json";
    response.text = JSON.stringify(JSON.parse(response.text, (name, value) =>
      name == "content" && value[problem] ? {[problem]: value[problem], ...value} : value));
    return response;
  },
  plugins: [() => ({wrapComponents: {authorizeBtn: () => () => null, authorizeOperationBtn: () => () => null}})],
})`

// docsStyle hides the column for links, which is always empty and too wide for a phone.
const docsStyle = `.response-col_links { display: none }`

// docsPage uses relative URLs only, so that any prefix that a gateway adds works.
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

// docsPolicy lets the page load the viewer, start it, and read the OpenAPI document.
var docsPolicy = "; script-src 'self' " + door.HashSource(docsScript) + "; style-src 'self' " + door.HashSource(docsStyle) +
	"; img-src data:; connect-src 'self'"

// docs answers with the page that shows the OpenAPI document.
func (s *Server) docs(c echo.Context) error {
	s.door.SetCacheableIfFixed(c)
	return door.RespondPage(c, docsPolicy, []byte(docsPage))
}

// redirectToDocs redirects a browser from / to /docs. Other clients get 404.
func (s *Server) redirectToDocs(c echo.Context) error {
	r := c.Request()
	if r.Method != http.MethodGet && r.Method != http.MethodHead || !door.WantsHTML(r) {
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

// docsFile answers with a file of the viewer.
func (s *Server) docsFile(c echo.Context) error {
	name := c.Param("file")
	contentType, ok := viewerFiles[name]
	if !ok || c.Param("version") != viewerVersion {
		return echo.ErrNotFound
	}
	door.SetCacheable(c, viewerMaxAge)
	file := viewerBytes()[name]
	if file.gzipped == nil {
		return door.Respond(c, http.StatusOK, contentType, file.content)
	}
	h := c.Response().Header()
	h.Add("Vary", "Accept-Encoding")
	if strings.Contains(c.Request().Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		return door.Respond(c, http.StatusOK, contentType, file.gzipped)
	}
	return door.Respond(c, http.StatusOK, contentType, file.content)
}

type viewerFile struct {
	content []byte
	gzipped []byte // nil: too small to compress
}

// viewerBytes are the files by name, read once.
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
			panic(err) // it is embedded
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
