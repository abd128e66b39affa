package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

// explanation is the documentation of a problem type.
type explanation struct {
	Type    string   `json:"type"`
	Title   string   `json:"title"`
	Status  int      `json:"status"`
	Meaning string   `json:"meaning"`
	Action  string   `json:"action"`
	Example *example `json:"example,omitempty"` // nil if the problem is never sent
}

// example is an answer with a problem.
type example struct {
	Headers  map[string]string `json:"headers"`
	Document document          `json:"document"`
}

// explain returns the documentation of the problem type name. base is the URL of the
// service.
func (s *Server) explain(name, base string) explanation {
	kind := problemTypes[name]
	e := explanation{Type: base + "/problems/" + name, Title: kind.Title, Status: kind.Status, Meaning: kind.Meaning, Action: kind.Action}
	if kind.Example != nil {
		p := problemFor(kind.Example, nil)
		h := http.Header{"Content-Type": {"application/problem+json"}}
		s.setHeaders(h, p, target{resource: resource{base, "todo"}, scopes: exampleScopes})
		e.Example = &example{map[string]string{}, p.document(base)}
		for header := range h {
			e.Example.Headers[strings.Replace(header, "Www-", "WWW-", 1)] = h.Get(header)
		}
		e.Example.Document.Instance, e.Example.Document.RequestID = "/api/todo/items", "XKQ7M2ZB4RWT6NYHPAVJ5LCE3D"
	}
	return e
}

// String returns the example as an HTTP/1.1 answer, with an indented document.
func (e *example) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\n", e.Document.Status, http.StatusText(e.Document.Status))
	for _, name := range slices.Sorted(maps.Keys(e.Headers)) {
		fmt.Fprintf(&b, "%s: %s\n", name, e.Headers[name])
	}
	b.WriteByte('\n')
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(e.Document); err != nil { // strings and numbers always encode
		panic(err)
	}
	return b.String()
}

// problemStyle makes the page readable on a phone too: the example has long lines.
const problemStyle = `
body { max-width: 45rem; margin: 0 auto; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif }
pre { padding: 1rem; border: 1px solid; border-radius: .25rem; font-size: .875rem; white-space: pre-wrap; overflow-wrap: anywhere }
`

// problemPolicy lets the page use that style.
var problemPolicy = "; style-src " + hashSource(problemStyle)

var problemPage = template.Must(template.New("problem").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>{{.Title}}</title>
<style>` + problemStyle + `</style>
<main>
<h1>{{.Title}}</h1>
<p>HTTP status {{.Status}}</p>
<h2>What it means</h2>
<p>{{.Meaning}}</p>
<h2>Who must act</h2>
<p>{{.Action}}</p>
{{with .Example}}<h2>Example</h2>
<pre>{{.}}</pre>
{{end}}<p><a href="./">All problem types</a></p>
</main>
</html>
`))

// problemsPage links to the pages of the types by full URL, so that it works with and
// without a slash at the end of its own URL.
var problemsPage = template.Must(template.New("problems").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>Problem types</title>
<style>` + problemStyle + `</style>
<main>
<h1>Problem types</h1>
<dl>
{{range .Problems}}<dt><a href="{{.Type}}">{{.Name}}</a></dt>
<dd>{{.Status}} {{.Title}}. {{.Meaning}}</dd>
{{end}}</dl>
</main>
</html>
`))

// problem answers /problems/{type}: what an error means, who must act, and an example.
// Browsers get a page, other clients JSON.
func (s *Server) problem(c echo.Context) error {
	name := c.Param("type")
	if _, ok := problemTypes[name]; !ok {
		return echo.ErrNotFound
	}
	r := c.Request()
	return s.respondExplanation(c, problemPage, s.explain(name, s.baseURL(r)))
}

// problems answers /problems/ with all problem types.
func (s *Server) problems(c echo.Context) error {
	base := s.baseURL(c.Request())
	all := []explanation{}
	for _, name := range slices.Sorted(maps.Keys(problemTypes)) {
		e := s.explain(name, base)
		e.Example = nil // it is on the type's own page
		all = append(all, e)
	}
	return s.respondExplanation(c, problemsPage, explanations{all})
}

// explanations is the documentation of all problem types.
type explanations struct {
	Problems []explanation `json:"problems"`
}

// Name is the last part of the type.
func (e explanation) Name() string { return e.Type[strings.LastIndexByte(e.Type, '/')+1:] }

// respondExplanation answers a browser with a page, and other clients with JSON.
func (s *Server) respondExplanation(c echo.Context, html *template.Template, value any) error {
	s.setCacheableIfFixed(c)
	c.Response().Header().Add("Vary", "Accept")
	if !wantsHTML(c.Request()) {
		return respondJSON(c, http.StatusOK, value)
	}
	var text bytes.Buffer
	if err := html.Execute(&text, value); err != nil {
		return err
	}
	return respondPage(c, problemPolicy, text.Bytes())
}

// addProblems adds the pages that the problem types link to.
func (s *Server) addProblems(g *echo.Group) {
	g.Match(getAndHead, "/problems", s.problems)
	g.Match(getAndHead, "/problems/", s.problems)
	g.Match(getAndHead, "/problems/:type", s.problem)
}
