package main

import (
	"encoding/xml"
	"fmt"
	"math"
	"strings"
)

// grown are the numbers of users that BenchmarkGrowth measures.
var grown = []struct {
	users int
	label string
}{{1, "1"}, {1000, "1,000"}, {100_000, "100,000"}, {1_000_000, "1,000,000"}}

// panel is a part of the plot: one curve over the number of users.
type panel struct {
	title  string
	values []float64
	labels []string
	offset float64 // from the left
}

// The size of a panel's area, and where it is.
const (
	areaWidth, areaHeight = 290.0, 170.0
	areaLeft, areaTop     = 55.0, 60.0
	panelWidth            = 380.0
)

// drawGrowth draws CPU and memory by the number of users, as SVG. It has its own background in a
// light and a dark variant, so that it can be read on any page.
func drawGrowth(found samples) (string, error) {
	cpu := panel{title: "CPU of a request, relative to pooled"}
	memory := panel{title: "Memory of the process, MB", offset: panelWidth}
	var said []string
	for _, g := range grown {
		benchmark := fmt.Sprintf("Growth/users=%d", g.users)
		ratio, ratioErr := found.median(benchmark, "x-pooled")
		each, eachErr := found.median(benchmark, "cpu-ns/op")
		held, heldErr := found.median(benchmark, "resident-MB")
		for _, err := range []error{ratioErr, eachErr, heldErr} {
			if err != nil {
				return "", err
			}
		}
		cpu.add(ratio, fmt.Sprintf("%.2f", ratio))
		memory.add(held, fmt.Sprintf("%.0f", held))
		said = append(said, fmt.Sprintf("%s: CPU %.2f of pooled, %.0f µs, memory %.0f MB", g.label, ratio, each/1000, held))
	}
	var b strings.Builder
	b.WriteString(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 300" role="img" aria-labelledby="title desc">
<title id="title">What a request costs and what the process holds, by users with cached tokens</title>
<desc id="desc">By number of users: ` + escape(strings.Join(said, "; ")) + `.</desc>
<style>
  rect { fill: #ffffff } text { font: 12px sans-serif; fill: #1f2328 }
  .axis { stroke: #59636e; fill: none } .curve { stroke: #0550ae; stroke-width: 2; fill: none } circle { fill: #0550ae }
  @media (prefers-color-scheme: dark) {
    rect { fill: #0d1117 } text { fill: #f0f6fc } .axis { stroke: #9198a1 } .curve { stroke: #79c0ff } circle { fill: #79c0ff }
  }
</style>
<rect width="760" height="300"/>
`)
	cpu.draw(&b)
	memory.draw(&b)
	b.WriteString("</svg>\n")
	return b.String(), nil
}

func (p *panel) add(value float64, label string) {
	p.values, p.labels = append(p.values, value), append(p.labels, label)
}

// draw draws the panel. Users have a logarithmic scale, values a linear one from zero.
func (p *panel) draw(b *strings.Builder) {
	left, bottom := areaLeft+p.offset, areaTop+areaHeight
	top := ceiling(p.values)
	at := func(i int) (x, y float64) {
		last := math.Log10(float64(grown[len(grown)-1].users))
		return left + areaWidth*math.Log10(float64(grown[i].users))/last, bottom - areaHeight*p.values[i]/top
	}
	fmt.Fprintf(b, "<text x=\"%.0f\" y=\"30\">%s</text>\n", left, escape(p.title))
	fmt.Fprintf(b, "<path class=\"axis\" d=\"M%.0f %.0fV%.0fH%.0f\"/>\n", left, areaTop, bottom, left+areaWidth)
	for _, tick := range []float64{0, top / 2, top} {
		fmt.Fprintf(b, "<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"end\">%g</text>\n", left-6, bottom-areaHeight*tick/top+4, tick)
	}
	fmt.Fprintf(b, "<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"middle\">users</text>\n", left+areaWidth/2, bottom+45)
	var points []string
	for i := range p.values {
		x, y := at(i)
		points = append(points, fmt.Sprintf("%.1f,%.1f", x, y))
		anchor := "end" // so that labels stay left of the curve, which rises
		if i == 0 {
			anchor = "start"
		}
		fmt.Fprintf(b, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n", x, y)
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y-9, anchor, escape(p.labels[i]))
		// The last two are close to each other: every other one has a line of its own.
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%.0f\" text-anchor=\"middle\">%s</text>\n", x, bottom+16+float64(i%2)*13, grown[i].label)
	}
	fmt.Fprintf(b, "<polyline class=\"curve\" points=\"%s\"/>\n", strings.Join(points, " "))
}

// ceiling is the end of a scale: 1, 2 or 5 with zeros, at least all values.
func ceiling(values []float64) float64 {
	most := 0.0
	for _, v := range values {
		most = max(most, v)
	}
	power := math.Pow(10, math.Floor(math.Log10(most)))
	for _, factor := range []float64{1, 2, 5} {
		if most <= factor*power {
			return factor * power
		}
	}
	return 10 * power
}

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder does not fail
	return b.String()
}
