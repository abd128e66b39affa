package appsettings

import (
	"fmt"
	"strings"
)

// Reference returns the table in Markdown, for docs/migrating.md.
func Reference() string {
	var page strings.Builder
	for i, s := range table {
		if i > 0 {
			page.WriteByte('\n')
		}
		fmt.Fprintf(&page, "### %s\n\n", s.title)
		if s.prefix != "" {
			fmt.Fprintf(&page, "Keys below `%s`:\n\n", strings.ReplaceAll(s.prefix, ".", ":"))
		}
		page.WriteString("| key | verdict | here |\n|---|---|---|\n")
		for _, r := range s.rows {
			fmt.Fprintf(&page, "| %s | %s | %s |\n", keyCell(r), r.verdict, sentence(r.text))
		}
	}
	return page.String()
}

// keyCell writes the keys of a row as .NET does, with the values that the row is for.
func keyCell(r row) string {
	var keys []string
	for _, key := range strings.Split(r.keys, ", ") {
		key = strings.NewReplacer(".", ":", "[]", ":*").Replace(key)
		keys = append(keys, "`"+key+"`")
	}
	cell := strings.Join(keys, ", ")
	if r.keys == "" {
		cell = "(the API)"
	}
	if r.when != "" {
		cell += ": " + strings.ReplaceAll(r.when, ", ", " or ")
	}
	return cell
}

// sentence begins a text with a capital letter, unless that is code or a name of its own.
func sentence(text string) string {
	first, _, _ := strings.Cut(text, " ")
	if strings.ContainsAny(first[1:], ".`ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
