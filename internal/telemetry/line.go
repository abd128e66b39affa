package telemetry

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// Line is a line of the log, formed field by field. It leaves out its place in the source,
// which would always be the same. Message and keys must need no escape in JSON.
//
// If the log writes JSON, the line is formed here, in a sixth of slog's time: every request
// has one. It has the same bytes.
type Line struct {
	json []byte        // the line so far
	out  *lockedWriter // for json

	handler slog.Handler // of another format, which gets attrs; nil for JSON
	record  slog.Record  // for handler, without attrs
	attrs   []slog.Attr
}

// linePool keeps lines for their buffers.
var linePool = sync.Pool{New: func() any { return &Line{json: make([]byte, 0, 1<<10)} }}

// maxPooledLine bounds the buffers that are kept, as slog does.
const maxPooledLine = 16 << 10

// NewLine begins a line, which its Write writes to log, whatever the level of log.
func NewLine(log *slog.Logger, now time.Time, level slog.Level, message string) *Line {
	l := linePool.Get().(*Line)
	h, ok := log.Handler().(*jsonHandler)
	if !ok {
		l.handler, l.record = log.Handler(), slog.NewRecord(now, level, message, 0)
		return l
	}
	l.out = h.out
	b := now.AppendFormat(append(l.json[:0], `{"time":"`...), time.RFC3339Nano)
	b = append(append(b, `","level":"`...), level.String()...)
	b = append(append(b, `","msg":"`...), message...)
	l.json = append(b, '"')
	return l
}

// Text adds a field.
func (l *Line) Text(key, text string) {
	switch {
	case l.handler != nil:
		l.attrs = append(l.attrs, slog.String(key, text))
	case isPlain(text):
		l.json = append(append(append(l.appendKey(key), '"'), text...), '"')
	default:
		l.json = appendEscaped(l.appendKey(key), text)
	}
}

// OptionalText adds a field that has a text.
func (l *Line) OptionalText(key, text string) {
	if text != "" {
		l.Text(key, text)
	}
}

// Int adds a field.
func (l *Line) Int(key string, n int64) {
	if l.handler != nil {
		l.attrs = append(l.attrs, slog.Int64(key, n))
		return
	}
	l.json = strconv.AppendInt(l.appendKey(key), n, 10)
}

// Millis adds a field with a time in milliseconds, to the microsecond.
func (l *Line) Millis(key string, took time.Duration) {
	micros := max(took.Microseconds(), 0)
	if l.handler != nil {
		l.attrs = append(l.attrs, slog.Float64(key, float64(micros)/1e3))
		return
	}
	b := strconv.AppendInt(l.appendKey(key), micros/1e3, 10)
	if rest := micros % 1e3; rest > 0 {
		b = append(b, '.', byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
		b = bytes.TrimRight(b, "0")
	}
	l.json = b
}

func (l *Line) appendKey(key string) []byte {
	return append(append(append(l.json, `,"`...), key...), `":`...)
}

// Write writes the line, which must not be used later.
func (l *Line) Write(ctx context.Context) {
	if l.handler != nil {
		l.record.AddAttrs(l.attrs...)
		_ = l.handler.Handle(ctx, l.record) // a failure of the log cannot be logged
		clear(l.attrs)
		*l = Line{json: l.json, attrs: l.attrs[:0]}
	} else {
		l.json = append(l.json, "}\n"...)
		_, _ = l.out.Write(l.json) // the same
	}
	if cap(l.json) <= maxPooledLine {
		linePool.Put(l)
	}
}

// appendEscaped appends a text in quotes, escaped by slog, as the message of a line.
func appendEscaped(b []byte, text string) []byte {
	const before, after = `{"level":"INFO","msg":`, "}\n"
	var line bytes.Buffer
	record := slog.NewRecord(time.Time{}, slog.LevelInfo, text, 0)
	_ = slog.NewJSONHandler(&line, nil).Handle(context.Background(), record) // a buffer returns no error
	return append(b, line.Bytes()[len(before):line.Len()-len(after)]...)
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
