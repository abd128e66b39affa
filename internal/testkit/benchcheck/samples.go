package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// series is what a benchmark measured in a unit, in all rounds.
type series struct{ benchmark, unit string }

type samples map[series][]float64

// Parts of a benchmark's name that are no part of a row's.
var (
	roundPart   = regexp.MustCompile(`/round=\d+`)
	processPart = regexp.MustCompile(`-\d+$`) // GOMAXPROCS
)

func (s samples) readFile(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := s.read(file); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// read adds what go test -bench printed. A failure is an error: what was measured before it may be
// only a part.
func (s samples) read(in io.Reader) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "--- FAIL") || strings.HasPrefix(line, "FAIL") || strings.HasPrefix(line, "panic:") {
			return fmt.Errorf("a benchmark failed: %s", line)
		}
		fields := strings.Fields(line)
		if !strings.HasPrefix(line, "Benchmark") || len(fields) < 4 {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		name = roundPart.ReplaceAllString(processPart.ReplaceAllString(name, ""), "")
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return fmt.Errorf("%q is no result of a benchmark: %w", line, err)
			}
			key := series{name, fields[i+1]}
			s[key] = append(s[key], value)
		}
	}
	return lines.Err()
}

// median returns the median of a benchmark, as benchstat does.
func (s samples) median(benchmark, unit string) (float64, error) {
	values := slices.Sorted(slices.Values(s[series{benchmark, unit}]))
	n := len(values)
	if n == 0 {
		return 0, fmt.Errorf("%s was not measured in %s", benchmark, unit)
	}
	return (values[(n-1)/2] + values[n/2]) / 2, nil
}
