package telemetry

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// A reader that stops holds nobody up. When it goes on it gets the oldest lines,
// whole and in their order, and how many are missing.
func TestLinesWaitForAReaderAndAreDroppedWhenTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, out := io.Pipe()
		q := NewLogQueue("json", out)
		meter := sdkmetric.NewManualReader()
		if err := q.Register(sdkmetric.NewMeterProvider(sdkmetric.WithReader(meter)).Meter("test")); err != nil {
			t.Fatal(err)
		}
		log, _ := NewLog("info", "json", q)
		const lines = 20_000
		for i := range lines {
			log.Info("line", "i", i)
			if i == 0 {
				synctest.Wait() // one is on its way, the others wait
			}
		}
		var got struct {
			Msg      string
			I, Lines int
		}
		kept := 0
		for scanner := bufio.NewScanner(reader); got.Lines == 0 && scanner.Scan(); {
			if err := json.Unmarshal(scanner.Bytes(), &got); err != nil {
				t.Fatalf("%s: %v", scanner.Bytes(), err)
			}
			if got.Lines == 0 && (got.Msg != "line" || got.I != kept) {
				t.Fatalf("got %+v, want line %d", got, kept)
			}
			kept++
		}
		kept-- // the last is of what is missing
		if kept < 10_000 || kept+got.Lines != lines || !strings.Contains(got.Msg, "dropped") {
			t.Errorf("%d lines came, then %+v", kept, got)
		}
		if counted := droppedLines(t, meter); counted != float64(got.Lines) {
			t.Errorf("the metric says %v, the log %d", counted, got.Lines)
		}
		log.Info("line", "i", -1)
		next := make([]byte, 1000)
		n, err := reader.Read(next)
		if err != nil || !strings.Contains(string(next[:n]), `"i":-1`) {
			t.Errorf("afterwards: got %q, %v", next[:n], err)
		}
		q.Close()
	})
}

// droppedLines is what the metric says.
func droppedLines(t *testing.T, meter *sdkmetric.ManualReader) float64 {
	t.Helper()
	var measured metricdata.ResourceMetrics
	if err := meter.Collect(t.Context(), &measured); err != nil {
		t.Fatal(err)
	}
	return measured.ScopeMetrics[0].Metrics[0].Data.(metricdata.Sum[float64]).DataPoints[0].Value
}

// countedWrites counts writes, and how late the lines in them are, each of which is a time in
// microseconds since start.
type countedWrites struct {
	start           time.Time
	writes, lines   int
	first, greatest time.Duration // how late lines were
}

func (c *countedWrites) Write(p []byte) (int, error) {
	c.writes++
	for line := range strings.Lines(string(p)) {
		logged, _ := strconv.Atoi(strings.TrimSpace(line))
		late := time.Since(c.start) - time.Duration(logged)*time.Microsecond
		if c.lines++; c.lines == 1 {
			c.first = late
		}
		c.greatest = max(c.greatest, late)
	}
	return len(p), nil
}

// Lines of a busy service are written together, soon; one of an idle service at once.
func TestLinesOfABusyServiceAreWrittenTogether(t *testing.T) {
	for _, row := range []struct {
		name         string
		every, later time.Duration
		lines, most  int
	}{
		{"busy", 100 * time.Microsecond, logPause, 1000, 1 + int(100*time.Millisecond/logPause)},
		{"idle", time.Second, 0, 10, 10},
	} {
		synctest.Test(t, func(t *testing.T) {
			out := &countedWrites{start: time.Now()}
			q := NewLogQueue("json", out)
			for range row.lines {
				_, _ = fmt.Fprintln(q, time.Since(out.start).Microseconds()) // a queue returns no error
				time.Sleep(row.every)
			}
			q.Close()
			if out.lines != row.lines || out.writes > row.most || out.first != 0 || out.greatest > row.later {
				t.Errorf("%s: got %d lines in %d writes, the first after %v, others after up to %v, want %d in at most %d, and up to %v",
					row.name, out.lines, out.writes, out.first, out.greatest, row.lines, row.most, row.later)
			}
		})
	}
}

// fullDisk takes a few bytes, and then no more.
type fullDisk struct{ room int }

func (d *fullDisk) Write(p []byte) (int, error) {
	n := min(len(p), d.room)
	if d.room -= n; n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func TestLinesThatCannotBeWrittenAreCounted(t *testing.T) {
	q := NewLogQueue("text", &fullDisk{room: 20})
	meter := sdkmetric.NewManualReader()
	if err := q.Register(sdkmetric.NewMeterProvider(sdkmetric.WithReader(meter)).Meter("test")); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		_, _ = fmt.Fprintln(q, "line", i) // 7 bytes
	}
	q.Close()
	if got := droppedLines(t, meter); got != 8 {
		t.Errorf("%v lines are counted, want the 8 for which there was no room", got)
	}
}

func TestLastLinesAreWaitedFor(t *testing.T) {
	for _, reads := range []bool{true, false} {
		t.Run(fmt.Sprintf("read %v", reads), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reader, out := io.Pipe()
				q := NewLogQueue("text", out)
				read := make(chan string, 1)
				go func() {
					if reads {
						time.Sleep(finalLogTimeout / 2)
						text, _ := io.ReadAll(reader) // the pipe is closed below
						read <- string(text)
					}
				}()
				for i := range 3 {
					_, _ = fmt.Fprintln(q, "line", i)
				}
				begun := time.Now()
				q.Close()
				want := finalLogTimeout
				if reads {
					want = finalLogTimeout / 2
				}
				if took := time.Since(begun); took != want {
					t.Errorf("took %v, want %v", took, want)
				}
				_ = out.CloseWithError(errors.New("over"))
				if reads {
					if text := <-read; text != "line 0\nline 1\nline 2\n" {
						t.Errorf("got %q", text)
					}
				}
			})
		})
	}
}
