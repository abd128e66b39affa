package main

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
)

// newLog returns the logger that l describes, and its level, which may change.
func newLog(l logging, out io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := &slog.LevelVar{}
	_ = level.UnmarshalText([]byte(l.Level)) // the names are those of the schema
	options := &slog.HandlerOptions{Level: level}
	if l.Format == "text" {
		return slog.New(slog.NewTextHandler(out, options)), level
	}
	return slog.New(slog.NewJSONHandler(out, options)), level
}

const (
	// logRoom bounds the lines that wait: some 2,500, of 400 bytes each.
	logRoom = 1 << 20

	// logPatience is how long the last lines are waited for at the end.
	logPatience = time.Second
)

// lineQueue takes log lines to out. No request waits for whoever reads the log:
// where that one stops, lines wait, and are dropped and counted when there are
// too many.
type lineQueue struct {
	out     io.Writer
	log     *slog.Logger // to out, of what was dropped
	waiting chan struct{}
	stop    chan struct{}
	ended   chan struct{}

	mu      sync.Mutex // guards what follows
	lines   []byte
	dropped int // since the last that were taken
	total   int // that were dropped since the start
}

// queueLines begins to take lines to out, until the queue is closed.
func queueLines(l logging, out io.Writer) *lineQueue {
	log, _ := newLog(l, out)
	q := &lineQueue{out: out, log: log, waiting: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{})}
	go q.run()
	return q
}

// Write queues a line. It returns at once, and no error.
func (q *lineQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines)+len(line) > logRoom {
		q.dropped++
		q.total++
		return len(line), nil
	}
	q.lines = append(q.lines, line...)
	select {
	case q.waiting <- struct{}{}:
	default: // it is known
	}
	return len(line), nil
}

// run takes lines as they come, and those that came meanwhile together.
func (q *lineQueue) run() {
	defer close(q.ended)
	var spare []byte
	for open := true; open; {
		select {
		case <-q.waiting:
		case <-q.stop:
			open = false
		}
		q.mu.Lock()
		lines, dropped := q.lines, q.dropped
		q.lines, q.dropped = spare[:0], 0
		q.mu.Unlock()
		if len(lines) > 0 {
			n, _ := q.out.Write(lines) // nowhere to report that the log is broken, but to count
			q.lose(bytes.Count(lines[n:], []byte("\n")))
		}
		if dropped > 0 {
			q.log.Warn("log lines were dropped: whoever reads standard output did not keep up", "lines", dropped)
		}
		spare = lines
	}
}

// lose counts lines that could not be written.
func (q *lineQueue) lose(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total += n
}

// register has meter count the lines that were dropped.
func (q *lineQueue) register(meter metric.Meter) error {
	_, err := meter.Float64ObservableCounter("middletier_log_lines_dropped_total",
		metric.WithDescription("Log lines that standard output did not take, or not in time."),
		reading(func(o metric.Float64Observer) {
			q.mu.Lock()
			defer q.mu.Unlock()
			o.Observe(float64(q.total))
		}))
	return err
}

// close takes what waits to out, as far as that one takes it in logPatience. What
// is logged afterwards is lost.
func (q *lineQueue) close() {
	close(q.stop)
	select {
	case <-q.ended:
	case <-time.After(logPatience):
	}
}
