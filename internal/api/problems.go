package api

import (
	"bytes"
	"html/template"

	"github.com/labstack/echo/v4"
)

var problemPage = template.Must(template.New("problem").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{{.Title}}</title>
<h1>{{.Title}}</h1>
<p>HTTP status {{.Status}}</p>
<h2>What it means</h2>
<p>{{.Meaning}}</p>
<h2>What to do</h2>
<p>{{.Action}}</p>
</html>
`))

// problem answers /problems/{type}: what an error means and what to do.
func (s *Server) problem(c echo.Context) error {
	kind, ok := problemTypes[c.Param("type")]
	if !ok {
		return echo.ErrNotFound
	}
	var text bytes.Buffer
	if err := problemPage.Execute(&text, kind); err != nil {
		return err
	}
	return page(c, "", text.Bytes())
}
