package telemetry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"testing"
	"time"
)

// slogLine is the line that slog writes.
func slogLine(now time.Time, level slog.Level, message string, attrs []slog.Attr) string {
	var out bytes.Buffer
	record := slog.NewRecord(now, level, message, 0)
	record.AddAttrs(attrs...)
	_ = slog.NewJSONHandler(&out, nil).Handle(context.Background(), record)
	return out.String()
}

// requestAttrs are those of a forwarded call.
func requestAttrs() []slog.Attr {
	return []slog.Attr{
		slog.String("method", "GET"), slog.String("route", "/api/{name}/{path…}"), slog.Int("status", 200),
		slog.Float64("latencyMs", 1.234), slog.Int64("bytes", 1024), slog.String("requestId", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
		slog.String("api", "todo"), slog.String("tokenSource", "memory"), slog.String("tenant", "aaaaaaaa-0000-4000-9000-000000000001"),
		slog.String("client", "bbbbbbbb-0000-4000-9000-000000000001"), slog.String("oid", "cccccccc-0000-4000-9000-000000000001"),
	}
}

func TestPlainLinesAreThoseOfSlog(t *testing.T) {
	utc := time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	for name, row := range map[string]struct {
		now   time.Time
		level slog.Level
		attrs []slog.Attr
		plain bool
	}{
		"a request":           {utc, slog.LevelInfo, requestAttrs(), true},
		"no attributes":       {utc, slog.LevelDebug, nil, true},
		"a level between":     {utc, slog.LevelWarn + 1, nil, true},
		"another zone":        {utc.In(time.FixedZone("", -5400)), slog.LevelError, nil, true},
		"of this moment":      {time.Now(), slog.LevelInfo, nil, true},
		"an empty text":       {utc, slog.LevelInfo, []slog.Attr{slog.String("", "")}, true},
		"HTML":                {utc, slog.LevelInfo, []slog.Attr{slog.String("<a>", "&<>'\x7f")}, true},
		"characters":          {utc, slog.LevelInfo, []slog.Attr{slog.String("ключ", "é…😀\ufffd\u2027\u202a")}, true},
		"the smallest float":  {utc, slog.LevelInfo, []slog.Attr{slog.Float64("f", 1e-6)}, true},
		"a long float":        {utc, slog.LevelInfo, []slog.Attr{slog.Float64("f", 1.0/3)}, true},
		"a large float":       {utc, slog.LevelInfo, []slog.Attr{slog.Float64("f", 9.99e20)}, true},
		"a negative number":   {utc, slog.LevelInfo, []slog.Attr{slog.Int64("i", math.MinInt64)}, true},
		"zero":                {utc, slog.LevelInfo, []slog.Attr{slog.Float64("f", 0)}, false},
		"a small float":       {utc, slog.LevelInfo, []slog.Attr{slog.Float64("f", 9e-7)}, false},
		"a larger float":      {utc, slog.LevelInfo, []slog.Attr{slog.Float64("f", 1e21)}, false},
		"no number":           {utc, slog.LevelInfo, []slog.Attr{slog.Float64("f", math.NaN())}, false},
		"a quote":             {utc, slog.LevelInfo, []slog.Attr{slog.String("s", `"`)}, false},
		"a backslash":         {utc, slog.LevelInfo, []slog.Attr{slog.String(`\`, "")}, false},
		"a control character": {utc, slog.LevelInfo, []slog.Attr{slog.String("s", "a\x1f")}, false},
		"a line":              {utc, slog.LevelInfo, []slog.Attr{slog.String("s", "a\n")}, false},
		"a line separator":    {utc, slog.LevelInfo, []slog.Attr{slog.String("s", "\u2028")}, false},
		"not UTF-8":           {utc, slog.LevelInfo, []slog.Attr{slog.String("s", "a\xff")}, false},
		"cut UTF-8":           {utc, slog.LevelInfo, []slog.Attr{slog.String("s", "\xe2\x80")}, false},
		"an error":            {utc, slog.LevelInfo, []slog.Attr{slog.Any("error", errors.New("x"))}, false},
		"a group":             {utc, slog.LevelInfo, []slog.Attr{slog.Group("g", "a", 1)}, false},
		"a logged value":      {utc, slog.LevelInfo, []slog.Attr{slog.Any("v", slog.StringValue("text"))}, true},
	} {
		line, plain := appendPlain(nil, row.now, row.level, "request", row.attrs)
		if want := slogLine(row.now, row.level, "request", row.attrs); plain != row.plain || plain && string(line) != want {
			t.Errorf("%s: got %q, %v, want %q, %v", name, line, plain, want, row.plain)
		}
	}
}

func FuzzPlainLines(f *testing.F) {
	f.Add("request", "key", "value", int64(1), 1.5, int64(1), 0)
	f.Add("a\u2028", "\xff", "\"\\\x00", int64(-1), 1e21, int64(1)<<40, 9)
	f.Fuzz(func(t *testing.T, message, key, value string, i int64, float float64, seconds int64, level int) {
		now := time.Unix(seconds%(1<<37), i%1e9).UTC()
		if now.Year() < 1 || now.Year() > 9999 {
			return // not this clock's
		}
		attrs := []slog.Attr{slog.String(key, value), slog.Int64(value, i), slog.Float64("float", float)}
		line, plain := appendPlain(nil, now, slog.Level(level), message, attrs)
		if want := slogLine(now, slog.Level(level), message, attrs); plain && string(line) != want {
			t.Errorf("got %q, want %q", line, want)
		}
	})
}

// Lines of both ways come out whole, one after another.
func TestLinesThatAreNotPlainAreLoggedBySlog(t *testing.T) {
	var out bytes.Buffer
	log, _ := NewLog("info", "json", &out)
	Log(t.Context(), log, time.Now(), slog.LevelInfo, "request", []slog.Attr{slog.String("path", "/plain")})
	Log(t.Context(), log, time.Now(), slog.LevelInfo, "request", []slog.Attr{slog.String("path", "\"\n")})
	log.With("more", true).Info("another")
	lines := bytes.Split(out.Bytes(), []byte("\n"))
	for i, want := range []string{`"msg":"request","path":"/plain"}`, `"msg":"request","path":"\"\n"}`, `"msg":"another","more":true}`} {
		if i >= len(lines) || !bytes.HasSuffix(lines[i], []byte(want)) {
			t.Errorf("got %s, want %s at the end of line %d", lines, want, i)
		}
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
	attrs, now := requestAttrs(), time.Now()
	for _, format := range []string{"json", "text"} { // by us and by slog
		log, _ := NewLog("info", format, io.Discard)
		b.Run(format, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Log(context.Background(), log, now, slog.LevelInfo, "request", attrs)
			}
		})
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
