package telemetry

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"maps"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// field is one field of a line: its value is a text, a number or a time.
type field struct {
	key   string
	value any
}

// attr is the field as slog has it.
func (f field) attr() slog.Attr {
	if took, ok := f.value.(time.Duration); ok {
		return slog.Float64(f.key, float64(took.Microseconds())/1e3)
	}
	return slog.Any(f.key, f.value)
}

// addTo adds the field to a line.
func (f field) addTo(l *Line) {
	switch v := f.value.(type) {
	case string:
		l.Text(f.key, v)
	case int64:
		l.Int(f.key, v)
	case time.Duration:
		l.Millis(f.key, v)
	}
}

// bothLines returns the line that is formed here and that of slog, for a log of
// the format.
func bothLines(format string, now time.Time, level slog.Level, message string, fields []field) (got, want string) {
	var out, slogs bytes.Buffer
	log, _ := NewLog("info", format, &out)
	line := NewLine(log, now, level, message)
	record := slog.NewRecord(now, level, message, 0)
	for _, f := range fields {
		f.addTo(line)
		record.AddAttrs(f.attr())
	}
	line.Write(context.Background())
	handler := slog.Handler(slog.NewJSONHandler(&slogs, nil))
	if format == "text" {
		handler = slog.NewTextHandler(&slogs, nil)
	}
	_ = handler.Handle(context.Background(), record)
	return out.String(), slogs.String()
}

// requestFields are those of a forwarded call.
var requestFields = []field{
	{"method", "GET"},
	{"route", "/api/{name}/{path…}"},
	{"status", int64(200)},
	{"latencyMs", 1234 * time.Microsecond},
	{"bytes", int64(1024)},
	{"requestId", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
	{"api", "todo"},
	{"tokenSource", "memory"},
	{"tenant", "aaaaaaaa-0000-4000-9000-000000000001"},
	{"client", "bbbbbbbb-0000-4000-9000-000000000001"},
	{"oid", "cccccccc-0000-4000-9000-000000000001"},
}

func TestLinesAreThoseOfSlog(t *testing.T) {
	utc := time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	for name, row := range map[string]struct {
		now    time.Time
		level  slog.Level
		fields []field
	}{
		"a request":           {utc, slog.LevelInfo, requestFields},
		"no fields":           {utc, slog.LevelDebug, nil},
		"a level between":     {utc, slog.LevelWarn + 1, nil},
		"another zone":        {utc.In(time.FixedZone("", -5400)), slog.LevelError, nil},
		"of this moment":      {time.Now(), slog.LevelInfo, nil},
		"an empty text":       {utc, slog.LevelInfo, []field{{"", ""}}},
		"HTML":                {utc, slog.LevelInfo, []field{{"<a>", "&<>'\x7f"}}},
		"characters":          {utc, slog.LevelInfo, []field{{"ключ", "é…😀\ufffd\u2027\u202a"}}},
		"numbers":             {utc, slog.LevelInfo, []field{{"i", int64(math.MinInt64)}, {"j", int64(0)}, {"k", int64(math.MaxInt64)}}},
		"a quote":             {utc, slog.LevelInfo, []field{{"s", `"`}, {"t", `"a"`}, {"u", "a"}}},
		"a backslash":         {utc, slog.LevelInfo, []field{{"s", `\`}}},
		"a control character": {utc, slog.LevelInfo, []field{{"s", "a\x1f\b\f\x00"}}},
		"a line":              {utc, slog.LevelInfo, []field{{"s", "a\r\n\t"}}},
		"a line separator":    {utc, slog.LevelInfo, []field{{"s", "\u2028\u2029"}}},
		"not UTF-8":           {utc, slog.LevelInfo, []field{{"s", "a\xff"}}},
		"cut UTF-8":           {utc, slog.LevelInfo, []field{{"s", "\xe2\x80"}}},
		"a long text":         {utc, slog.LevelInfo, []field{{"s", strings.Repeat("\"a\n", maxPooledLine)}}},
	} {
		for _, format := range []string{"json", "text"} {
			if got, want := bothLines(format, row.now, row.level, "request", row.fields); got != want {
				t.Errorf("%s, %s: got %q, want %q", name, format, got, want)
			}
		}
	}
}

func TestTimesInMillisecondsAreThoseOfSlog(t *testing.T) {
	const most = 100_000 * time.Hour
	times := []time.Duration{0, 1, 999, most - time.Microsecond, most, most + time.Microsecond, most + 10*time.Microsecond}
	for micros := range 2_100 {
		times = append(times, time.Duration(micros)*time.Microsecond)
	}
	for took := time.Microsecond; took < most; took *= 7 {
		times = append(times, took, took+time.Millisecond, took*10, took*100)
	}
	var fields []field
	for _, took := range times {
		fields = append(fields, field{"latencyMs", took})
	}
	if got, want := bothLines("json", time.Now(), slog.LevelInfo, "request", fields); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// A clock that was set back is no reason for a line that is not JSON.
	if got, want := bothLines("json", time.Time{}, 0, "", []field{{"latencyMs", -1500 * time.Microsecond}, {"", ""}}); !strings.Contains(got, `"latencyMs":0,`) {
		t.Errorf("got %s, want 0 in place of the value in %s", got, want)
	}
}

func FuzzLines(f *testing.F) {
	f.Add("value", "", int64(1), int64(1500), int64(1), 0)
	f.Add("a\u2028", "\"\\\x00\xff", int64(-1), int64(1)<<60, int64(1)<<40, 9)
	f.Fuzz(func(t *testing.T, value, another string, i, took, seconds int64, level int) {
		now := time.Unix(seconds%(1<<37), i%1e9).UTC()
		if now.Year() < 1 || now.Year() > 9999 {
			return // not this clock's
		}
		micros := time.Duration(took&(1<<49-1)) * time.Microsecond // up to 17 years
		fields := []field{{"value", value}, {"i", i}, {"took", micros}, {"another", another}}
		if got, want := bothLines("json", now, slog.Level(level), "request", fields); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// lonely is a buffer that is written by one at a time, else crowded is set.
type lonely struct {
	bytes.Buffer
	busy    atomic.Bool
	crowded atomic.Bool
}

func (l *lonely) Write(p []byte) (int, error) {
	if !l.busy.CompareAndSwap(false, true) {
		l.crowded.Store(true)
		return len(p), nil
	}
	defer l.busy.Store(false)
	runtime.Gosched() // to whoever does not wait
	return l.Buffer.Write(p)
}

// Lines of both ways come out whole, one after another. Lines that are written at the same
// time do not mix.
func TestLinesComeOutWhole(t *testing.T) {
	var out lonely
	log, _ := NewLog("info", "json", &out)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 50 {
				line := NewLine(log, time.Now(), slog.LevelInfo, "request")
				line.Text("path", "/plain")
				line.OptionalText("none", "")
				line.Text("path", "\"\n")
				line.OptionalText("some", "text")
				line.Write(t.Context())
				log.With("more", true).Info("another")
			}
		})
	}
	all.Wait()
	count := map[string]int{}
	for line := range strings.Lines(out.String()) {
		_, fields, _ := strings.Cut(line, `"level":"INFO",`)
		count[fields]++
	}
	want := map[string]int{
		`"msg":"request","path":"/plain","path":"\"\n","some":"text"}` + "\n": 200,
		`"msg":"another","more":true}` + "\n":                                 200,
	}
	if out.crowded.Load() || !maps.Equal(count, want) {
		t.Errorf("got %v, want %v, one after another", count, want)
	}
}

// A line that is used again has nothing of the one before.
func TestWrittenLinesKeepNoFields(t *testing.T) {
	log, _ := NewLog("info", "text", io.Discard)
	line := NewLine(log, time.Now(), slog.LevelInfo, "request")
	line.Text("key", "text")
	line.Write(t.Context())
	if kept := line.attrs[:cap(line.attrs)]; len(line.attrs) > 0 || !kept[0].Equal(slog.Attr{}) {
		t.Errorf("%d fields are left, the first of %v", len(line.attrs), kept)
	}
}

// Every character counts at every place: eight are looked at together.
func TestCharactersThatMustBeEscapedAreFound(t *testing.T) {
	for c := range 256 {
		want := c >= ' ' && c != '"' && c != '\\' && c < 0x80 // alone, a higher byte is not UTF-8
		for length := 1; length <= 17; length++ {
			for at := range length {
				text := []byte("!#[]~\x7f !#[]~\x7f AZ!"[:length])
				text[at] = byte(c)
				if got := isPlain(string(text)); got != want {
					t.Errorf("%q: got %v, want %v", text, got, want)
				}
			}
		}
	}
	for text, want := range map[string]bool{
		"": true, "1234567\u00fc": true, "12345678\u00fc": true, "\u00fc12345678\"": false, "123456\u2028": false, "12345678\u2029": false,
		"1234567\xc3": false, "12345678\xc3": false, "\U0001f600\U0001f600": true, "\U0001f600\U0001f600\n": false,
	} {
		if got := isPlain(text); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

func BenchmarkLine(b *testing.B) {
	now := time.Now()
	for _, format := range []string{"json", "text"} { // by us and by slog
		log, _ := NewLog("info", format, io.Discard)
		b.Run(format, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				line := NewLine(log, now, slog.LevelInfo, "request")
				for _, f := range requestFields {
					f.addTo(line)
				}
				line.Write(context.Background())
			}
		})
	}
	var attrs []slog.Attr
	for _, f := range requestFields {
		attrs = append(attrs, f.attr())
	}
	b.Run("slog", func(b *testing.B) {
		b.ReportAllocs()
		h := slog.NewJSONHandler(io.Discard, nil)
		for b.Loop() {
			record := slog.NewRecord(now, slog.LevelInfo, "request", 0)
			record.AddAttrs(attrs...)
			_ = h.Handle(context.Background(), record)
		}
	})
}
