package telemetry

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
)

// NewLog returns a logger for out that writes json or text, and its level, which may
// change.
func NewLog(name, format string, out io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := &slog.LevelVar{}
	_ = level.UnmarshalText([]byte(name)) // the names are those of the schema
	options := &slog.HandlerOptions{Level: level}
	if format == "text" {
		return slog.New(slog.NewTextHandler(out, options)), level
	}
	writer := &lockedWriter{out: out}
	return slog.New(&jsonHandler{slog.NewJSONHandler(writer, options), writer}), level
}

const (
	// logQueueSize limits the queued lines, in bytes: about 2,500 lines of 400 bytes
	// each.
	logQueueSize = 1 << 20

	// logPause is how long after a write the next one begins at the soonest. On a busy
	// service, lines of many requests are written at once.
	logPause = 2 * time.Millisecond

	// finalLogTimeout is how long the queued lines may take when the queue is closed.
	finalLogTimeout = time.Second
)

// LogQueue writes log lines to out in a separate goroutine, so that no request waits for
// the reader of the log. If the reader stops, lines are queued. When the queue is full,
// new lines are dropped and counted.
type LogQueue struct {
	out  io.Writer
	log  *slog.Logger // logs dropped lines to out
	wake chan struct{}
	stop chan struct{}
	done chan struct{}

	mu      sync.Mutex // guards the fields below
	lines   []byte
	dropped int // since the last write
	total   int // dropped since the start
}

// NewLogQueue starts a queue that writes to out until it is closed. format, json or
// text, is for the queue's own lines.
func NewLogQueue(format string, out io.Writer) *LogQueue {
	log, _ := NewLog("info", format, out)
	q := &LogQueue{out: out, log: log, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go q.run()
	return q
}

// Write queues a line. It does not block and returns no error.
func (q *LogQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines)+len(line) > logQueueSize {
		q.dropped++
		q.total++
		return len(line), nil
	}
	q.lines = append(q.lines, line...)
	select {
	case q.wake <- struct{}{}:
	default: // a signal is pending
	}
	return len(line), nil
}

// run writes queued lines. Lines that arrive during a write, or within logPause after it, are
// written together.
func (q *LogQueue) run() {
	defer close(q.done)
	var spare []byte
	var written time.Time
	for open := true; open; {
		select {
		case <-q.wake:
			open = q.pause(written.Add(logPause))
		case <-q.stop:
			open = false
		}
		q.mu.Lock()
		lines, dropped := q.lines, q.dropped
		q.lines, q.dropped = spare[:0], 0
		q.mu.Unlock()
		if len(lines) > 0 {
			n, _ := q.out.Write(lines) // a failure of the log cannot be logged, only counted
			q.addDropped(bytes.Count(lines[n:], []byte("\n")))
		}
		if dropped > 0 {
			q.log.Warn("log lines were dropped: the reader of standard output did not keep up", "lines", dropped)
		}
		spare, written = lines, time.Now()
	}
}

// pause waits until a time. It returns false if the queue is closed before.
func (q *LogQueue) pause(end time.Time) bool {
	wait := time.Until(end)
	if wait <= 0 {
		return true
	}
	select {
	case <-time.After(wait):
		return true
	case <-q.stop:
		return false
	}
}

// addDropped counts lines that could not be written.
func (q *LogQueue) addDropped(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total += n
}

// Register adds the counter of dropped lines to meter.
func (q *LogQueue) Register(meter metric.Meter) error {
	_, err := meter.Float64ObservableCounter("middletier_log_lines_dropped_total",
		metric.WithDescription("Log lines that were dropped because standard output did not accept them, or not in time."),
		metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
			q.mu.Lock()
			defer q.mu.Unlock()
			o.Observe(float64(q.total))
			return nil
		}))
	return err
}

// Close writes the queued lines, within finalLogTimeout. Lines that are logged later are
// lost.
func (q *LogQueue) Close() {
	close(q.stop)
	select {
	case <-q.done:
	case <-time.After(finalLogTimeout):
	}
}
