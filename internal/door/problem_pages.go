package door

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"middletier/internal/problem"
)

// Explanation is the documentation of a problem type.
type Explanation struct {
	Type    string   `json:"type"`
	Title   string   `json:"title"`
	Status  int      `json:"status"`
	Meaning string   `json:"meaning"`
	Action  string   `json:"action"`
	Example *Example `json:"example,omitempty"` // nil if the problem is never sent
}

// Example is an answer with a problem.
type Example struct {
	Headers  map[string]string `json:"headers"`
	Document problem.Document  `json:"document"`
}

// Explain returns the documentation of the problem type name. base is the URL of the
// service.
func (d *Door) Explain(name, base string) Explanation {
	kind := problem.Types[name]
	e := Explanation{Type: base + "/problems/" + name, Title: kind.Title, Status: kind.Status, Meaning: kind.Meaning, Action: kind.Action}
	if kind.Example != nil {
		p := problem.For(kind.Example, problem.Requester{})
		h := http.Header{"Content-Type": {"application/problem+json"}}
		setHeaders(h, p, d.config.ExampleChallenge(p, base))
		e.Example = &Example{map[string]string{}, p.Document(base)}
		for header := range h {
			e.Example.Headers[strings.Replace(header, "Www-", "WWW-", 1)] = h.Get(header)
		}
		doc := &e.Example.Document
		doc.Instance, doc.RequestID = "/api/todo/items", "XKQ7M2ZB4RWT6NYHPAVJ5LCE3D"
		if errors.Is(kind.Example, problem.ErrNoSession) {
			doc.Instance, doc.LoginURL = "/bff/api/todo/items", exampleLoginURL(base)
		}
	}
	return e
}

// exampleLoginURL is the loginUrl of a request that a page at /items sent.
func exampleLoginURL(base string) string {
	path := ""
	if u, err := url.Parse(base); err == nil {
		path = u.EscapedPath()
	}
	return path + "/bff/login?" + url.Values{"returnUrl": {path + "/items"}}.Encode()
}

// String returns the example as an HTTP/1.1 answer, with an indented document.
func (e *Example) String() string {
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
var problemPolicy = "; style-src " + HashSource(problemStyle)

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

// problemPage answers /problems/{type}: what an error means, who must act, and an example.
// Browsers get a page, other clients JSON.
func (d *Door) problemPage(c echo.Context) error {
	name := c.Param("type")
	if _, ok := problem.Types[name]; !ok {
		return echo.ErrNotFound
	}
	r := c.Request()
	return d.respondExplanation(c, problemPage, d.Explain(name, d.config.BaseURL(r)))
}

// problems answers /problems/ with all problem types.
func (d *Door) problems(c echo.Context) error {
	base := d.config.BaseURL(c.Request())
	all := []Explanation{}
	for _, name := range slices.Sorted(maps.Keys(problem.Types)) {
		e := d.Explain(name, base)
		e.Example = nil // it is on the type's own page
		all = append(all, e)
	}
	return d.respondExplanation(c, problemsPage, explanations{all})
}

// explanations is the documentation of all problem types.
type explanations struct {
	Problems []Explanation `json:"problems"`
}

// Name is the last part of the type.
func (e Explanation) Name() string { return e.Type[strings.LastIndexByte(e.Type, '/')+1:] }

// respondExplanation answers a browser with a page, and other clients with JSON.
func (d *Door) respondExplanation(c echo.Context, html *template.Template, value any) error {
	d.SetCacheableIfFixed(c)
	c.Response().Header().Add("Vary", "Accept")
	if !WantsHTML(c.Request()) {
		return RespondJSON(c, http.StatusOK, value)
	}
	var text bytes.Buffer
	if err := html.Execute(&text, value); err != nil {
		return err
	}
	return RespondPage(c, problemPolicy, text.Bytes())
}

// AddProblems adds the pages that the problem types link to.
func (d *Door) AddProblems(g *echo.Group) {
	g.Match(GetAndHead, "/problems", d.problems)
	g.Match(GetAndHead, "/problems/", d.problems)
	g.Match(GetAndHead, "/problems/:type", d.problemPage)
}
