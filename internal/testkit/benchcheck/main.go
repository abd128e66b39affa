// Benchcheck reads the output files of benchmarks, which are its arguments, and prints one table:
// the median of each row, its goal, the figure in docs/performance.md, and a verdict. It fails if
// a row is more than a quarter worse than the page says, if a row was not measured, or if the
// page has other rows. With -update it writes the medians into the page, and draws the plot of
// growth. It runs in the repository's root.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
)

const (
	pagePath = "docs/performance.md"
	plotPath = "docs/growth.svg"
)

func main() {
	update := flag.Bool("update", false, "write the medians into "+pagePath+" and "+plotPath)
	flag.Parse()
	if err := run(os.Stdout, flag.Args(), *update); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run checks the files against the page. With update, the medians become the page's figures.
func run(out io.Writer, files []string, update bool) error {
	found := samples{}
	for _, file := range files {
		if err := found.readFile(file); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(pagePath)
	if err != nil {
		return err
	}
	old, err := readPage(string(text))
	if err != nil {
		return err
	}
	if !update {
		return compare(out, rows, found, old)
	}
	medians, err := measured(rows, found)
	if err != nil {
		return err
	}
	_ = compare(out, rows, found, old) // what is worse becomes the page's figure
	page, err := writePage(string(text), rows, medians)
	if err != nil {
		return err
	}
	plot, err := drawGrowth(found)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(pagePath, []byte(page), 0o644), os.WriteFile(plotPath, []byte(plot), 0o644))
}

// measured returns the median of each row, by name.
func measured(rows []row, found samples) (map[string]float64, error) {
	medians := map[string]float64{}
	var missing []error
	for _, r := range rows {
		m, err := found.median(r.benchmark, r.unit)
		medians[r.name], missing = m, append(missing, err)
	}
	return medians, errors.Join(missing...)
}

// compare prints the table. The error names everything that is wrong.
func compare(out io.Writer, rows []row, found samples, page map[string]float64) error {
	medians, err := measured(rows, found)
	problems := []error{err}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ROW\tMEDIAN\tGOAL\tPAGE\tVERDICT")
	for _, r := range rows {
		written, known := page[r.name]
		if !known {
			problems = append(problems, fmt.Errorf("%s has no row %q", pagePath, r.name))
		}
		if medians[r.name] == 0 {
			continue // it was not measured, which is said
		}
		verdict, worse := r.verdict(medians[r.name], written)
		if worse {
			problems = append(problems, fmt.Errorf("%s: %s is more than a quarter worse than %s",
				r.name, r.format(medians[r.name]), r.format(written)))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", r.name, r.format(medians[r.name]), r.goalText(), r.format(written), verdict)
	}
	for name := range page {
		if !slices.ContainsFunc(rows, func(r row) bool { return r.name == name }) {
			problems = append(problems, fmt.Errorf("%s has a row %q that no benchmark measures", pagePath, name))
		}
	}
	return errors.Join(table.Flush(), errors.Join(problems...))
}
