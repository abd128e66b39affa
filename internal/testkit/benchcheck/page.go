package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The table on the page that is read and written.
const (
	tableBegin = "<!-- The figures that make bench compares with; benchcheck -update writes them. -->\n\n"
	tableEnd   = "\n<!-- End of the figures. -->\n"
	tableHead  = "| row | figure | goal |\n|---|---|---|\n"
)

var errNoTable = errors.New(pagePath + " has no place for the table of figures")

// split returns the page before the table, the table, and the page after it.
func split(page string) (before, table, after string, err error) {
	before, rest, begun := strings.Cut(page, tableBegin)
	table, after, ended := strings.Cut(rest, tableEnd)
	if !begun || !ended {
		return "", "", "", errNoTable
	}
	return before, table, after, nil
}

// readPage returns the figures of the page, by the names of their rows. A row without a figure
// is an error, and so is a second row of the same name.
func readPage(page string) (map[string]float64, error) {
	_, table, _, err := split(page)
	if err != nil {
		return nil, err
	}
	lines, headed := strings.CutPrefix(table, tableHead)
	if !headed {
		return nil, fmt.Errorf("%s: the table of figures does not begin with\n%s", pagePath, tableHead)
	}
	figures := map[string]float64{}
	for line := range strings.Lines(lines) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 3 {
			return nil, fmt.Errorf("%s: %q has not three cells", pagePath, strings.TrimSpace(line))
		}
		name := strings.TrimSpace(cells[0])
		number, _, _ := strings.Cut(strings.TrimSpace(cells[1]), " ")
		figure, err := strconv.ParseFloat(number, 64)
		if err != nil || figure <= 0 {
			return nil, fmt.Errorf("%s: %q is no figure of %q", pagePath, number, name)
		}
		if figures[name] > 0 {
			return nil, fmt.Errorf("%s has two rows %q", pagePath, name)
		}
		figures[name] = figure
	}
	return figures, nil
}

// writePage returns the page with the medians as its figures.
func writePage(page string, rows []row, medians map[string]float64) (string, error) {
	before, _, after, err := split(page)
	if err != nil {
		return "", err
	}
	var table strings.Builder
	table.WriteString(tableHead)
	for _, r := range rows {
		fmt.Fprintf(&table, "| %s | %s | %s |\n", r.name, r.format(medians[r.name]), r.goalText())
	}
	return before + tableBegin + table.String() + tableEnd + after, nil
}
