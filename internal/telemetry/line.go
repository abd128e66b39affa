package telemetry

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// Log writes a line of now without its place in the source, which would always be the same.
//
// If log writes JSON and all values are plain, the line is formed here, in a third of
// slog's time: every request has one. It has the same bytes.
func Log(ctx context.Context, log *slog.Logger, now time.Time, level slog.Level, message string, attrs []slog.Attr) {
	if h, ok := log.Handler().(*jsonHandler); ok && h.writePlain(now, level, message, attrs) {
		return
	}
	record := slog.NewRecord(now, level, message, 0)
	record.AddAttrs(attrs...)
	_ = log.Handler().Handle(ctx, record) // a failure of the log cannot be logged
}

// jsonHandler is slog's handler for JSON, with a shortcut to its writer.
type jsonHandler struct {
	slog.Handler
	out *lockedWriter
}

// lockedWriter writes one line at a time.
type lockedWriter struct {
	mu  sync.Mutex
	out io.Writer
}

func (w *lockedWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(line)
}

// maxPooledLine bounds the buffers that are kept, as slog does.
const maxPooledLine = 16 << 10

var linePool = sync.Pool{New: func() any { return new(make([]byte, 0, 1<<10)) }}

// writePlain writes a line, or returns false if appendPlain leaves it to slog.
func (h *jsonHandler) writePlain(now time.Time, level slog.Level, message string, attrs []slog.Attr) bool {
	pooled := linePool.Get().(*[]byte)
	line, ok := appendPlain((*pooled)[:0], now, level, message, attrs)
	if ok {
		_, _ = h.out.Write(line) // a failure of the log cannot be logged
	}
	if cap(line) <= maxPooledLine {
		*pooled = line
		linePool.Put(pooled)
	}
	return ok
}

// appendPlain appends a line as slog's handler for JSON writes it. It returns false for
// text that must be escaped and for values that are not text or common numbers.
func appendPlain(b []byte, now time.Time, level slog.Level, message string, attrs []slog.Attr) ([]byte, bool) {
	if !isPlain(message) {
		return b, false
	}
	b = now.AppendFormat(append(b, `{"time":"`...), time.RFC3339Nano)
	b = append(append(b, `","level":"`...), level.String()...)
	b = append(append(b, `","msg":"`...), message...)
	b = append(b, '"')
	for _, a := range attrs {
		if !isPlain(a.Key) {
			return b, false
		}
		b = append(append(b, `,"`...), a.Key...)
		b = append(b, `":`...)
		switch a.Value.Kind() {
		case slog.KindString:
			text := a.Value.String()
			if !isPlain(text) {
				return b, false
			}
			b = append(append(append(b, '"'), text...), '"')
		case slog.KindInt64:
			b = strconv.AppendInt(b, a.Value.Int64(), 10)
		case slog.KindFloat64:
			f := a.Value.Float64()
			if !(f >= 1e-6 && f < 1e21) { // encoding/json writes others with an exponent
				return b, false
			}
			b = strconv.AppendFloat(b, f, 'f', -1, 64)
		default:
			return b, false
		}
	}
	return append(b, "}\n"...), true
}

// isPlain reports whether JSON has s as it is: slog escapes control characters, quotes,
// backslashes, what is not UTF-8, and the separators of lines and paragraphs.
func isPlain(s string) bool {
	switch size := len(s); {
	case size >= 8:
		last := s[size-8:] // most of its characters may be in the word before it too
		for len(s) >= 8 && isPlainWord(halfWord(s)|halfWord(s[4:])<<32) {
			s = s[8:]
		}
		if len(s) < 8 && isPlainWord(halfWord(last)|halfWord(last[4:])<<32) {
			return true
		}
	case size >= 4 && isPlainWord(halfWord(s)|halfWord(s[size-4:])<<32):
		return true
	}
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c < ' ' || c == '"' || c == '\\' {
				return false
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 || r == '\u2028' || r == '\u2029' {
			return false
		}
		i += size
	}
	return true
}

// halfWord returns the first four bytes of s.
func halfWord(s string) uint64 {
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24
}

// isPlainWord reports whether eight bytes are plain and ASCII. A subtraction sets the highest
// bit of a byte that is too small, and in a word without any, no byte borrows from the next.
func isPlainWord(word uint64) bool {
	const ones = 0x0101010101010101
	control := word - ' '*ones
	quote, backslash := (word^'"'*ones)-ones, (word^'\\'*ones)-ones
	return (word|control|quote|backslash)&(0x80*ones) == 0
}
