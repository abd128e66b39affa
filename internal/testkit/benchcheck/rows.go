package main

import (
	"fmt"
	"strconv"
	"strings"
)

// row is a figure that is checked. Less is always better.
type row struct {
	name      string  // on the page
	benchmark string  // without the prefix Benchmark and the part round=N
	unit      string  // of the benchmark
	shown     string  // the unit on the page; "" for ratios and numbers
	goal      float64 // the most that it should be; 0: no goal
	machine   bool    // it depends on the machine, so it is not compared with the page
}

const (
	peers = "HotPath/users=1000/server=middletier"
	many  = "ServiceMemory/users=100000"
)

var rows = []row{
	{name: "request, 1,000 users: CPU beside `pooled`", benchmark: peers, unit: "x-pooled", goal: 1.15},
	{name: "request, 100,000 users: CPU beside `pooled`", benchmark: "HotPath/users=100000/server=middletier", unit: "x-pooled", goal: 1.30},
	{name: "request, 8,000 a second: CPU beside `pooled`", benchmark: "Rates/rate=8000/server=middletier", unit: "x-pooled"},
	{name: "request, 4,000 a second: CPU beside `pooled`", benchmark: "Rates/rate=4000/server=middletier", unit: "x-pooled"},
	{name: "request, 2,000 a second: CPU beside `pooled`", benchmark: "Rates/rate=2000/server=middletier", unit: "x-pooled"},
	{name: "request: allocations", benchmark: peers, unit: "allocs/op", goal: 90},
	{name: "request over TLS and HTTP/2: CPU beside `pooled`", benchmark: "TLS/server=middletier", unit: "x-pooled", goal: 1.20},
	{name: "request to an API with TLS and HTTP/1.1: CPU beside `pooled`", benchmark: "HTTP1TLS/server=middletier", unit: "x-pooled"},
	{name: "answer of 100 KB: CPU beside `pooled`", benchmark: "Bodies/answer=100KB/server=middletier", unit: "x-pooled", goal: 1.05},
	{name: "answer of 1 MB: CPU beside `pooled`", benchmark: "Bodies/answer=1MB/server=middletier", unit: "x-pooled"},
	{name: "answer of 10 MB: CPU beside `pooled`", benchmark: "Bodies/answer=10MB/server=middletier", unit: "x-pooled", goal: 1.05},
	{name: "upload of 40 KB: CPU beside `pooled`", benchmark: "Bodies/upload=40KB/server=middletier", unit: "x-pooled"},
	{name: "upload of 100 KB: CPU beside `pooled`", benchmark: "Bodies/upload=100KB/server=middletier", unit: "x-pooled", goal: 1.05},
	{name: "upload of 1 MB: CPU beside `pooled`", benchmark: "Bodies/upload=1MB/server=middletier", unit: "x-pooled"},
	{name: "p99 at 80 % load beside `pooled`", benchmark: "Load/server=middletier", unit: "x-pooled-p99", goal: 1.2},
	{name: "exchange: CPU beside MSAL with an empty cache", benchmark: "Exchange/by=middletier", unit: "x-msal", goal: 1.3},
	{name: "memory when idle", benchmark: "ServiceMemory/idle", unit: "resident-MB", shown: "MB", goal: 25},
	{name: "memory, 1,000 users under full load, at the peak", benchmark: "ServiceMemory/users=1000", unit: "peak-MB", shown: "MB", goal: 64},
	{name: "memory beside the caches, 100,000 users, at the peak", benchmark: many, unit: "beside-caches-MB", shown: "MB", goal: 64},
	{name: "caches, for a user and API", benchmark: many, unit: "caches-KB/user", shown: "KB", goal: 3},
	{name: "`/AuthorizationHeader`: CPU beside a bare handler", benchmark: "Sidecar/route=header", unit: "x-bare", goal: 1.35},
	{name: "`/Validate`: CPU beside a bare handler", benchmark: "Sidecar/route=validate", unit: "x-bare", goal: 1.35},
	{name: "`/DownstreamApi`: CPU beside `/api`", benchmark: "Sidecar/route=call", unit: "x-api", goal: 1.3},
	{name: "start until ready", benchmark: "Start", unit: "ready-ms", shown: "ms", goal: 100, machine: true},
	{name: "growth, 1 user: CPU beside `pooled`", benchmark: "Growth/users=1", unit: "x-pooled"},
	{name: "growth, 1,000 users: CPU beside `pooled`", benchmark: "Growth/users=1000", unit: "x-pooled"},
	{name: "growth, 100,000 users: CPU beside `pooled`", benchmark: "Growth/users=100000", unit: "x-pooled"},
	{name: "growth, 1,000,000 users: CPU beside `pooled`", benchmark: "Growth/users=1000000", unit: "x-pooled"},
	{name: "growth, 1 user: memory", benchmark: "Growth/users=1", unit: "resident-MB", shown: "MB"},
	{name: "growth, 1,000 users: memory", benchmark: "Growth/users=1000", unit: "resident-MB", shown: "MB"},
	{name: "growth, 100,000 users: memory", benchmark: "Growth/users=100000", unit: "resident-MB", shown: "MB"},
	{name: "growth, 1,000,000 users: memory", benchmark: "Growth/users=1000000", unit: "resident-MB", shown: "MB"},
}

// A figure may be worse than the page's by this, before that is said, and before it fails.
const (
	tenth   = 1.10
	quarter = 1.25
)

// verdict says how a median is, beside the page's figure and the goal, and reports whether it is
// too bad.
func (r row) verdict(median, page float64) (text string, fails bool) {
	switch {
	case r.machine:
		text = "depends on the machine"
	case page == 0:
		text = "not on the page"
	case median > quarter*page:
		text, fails = "MORE THAN A QUARTER WORSE", true
	case median > tenth*page:
		text = "a tenth worse than the page"
	default:
		text = "ok"
	}
	if r.goal > 0 && median <= r.goal {
		text += ", goal met"
	} else if r.goal > 0 {
		text += ", goal missed"
	}
	return text, fails
}

// format writes a figure with its unit, exactly enough to compare it: three digits.
func (r row) format(figure float64) string {
	text := strconv.FormatFloat(figure, 'f', 2, 64)
	switch {
	case figure == 0:
		return "-"
	case figure >= 100 || r.unit == "allocs/op":
		text = strconv.FormatFloat(figure, 'f', 0, 64)
	case figure >= 10:
		text = strconv.FormatFloat(figure, 'f', 1, 64)
	}
	return strings.TrimSpace(text + " " + r.shown)
}

func (r row) goalText() string {
	if r.goal == 0 {
		return ""
	}
	return strings.TrimSpace(fmt.Sprintf("≤ %s %s", strconv.FormatFloat(r.goal, 'f', -1, 64), r.shown))
}
