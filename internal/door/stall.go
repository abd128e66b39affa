package door

import (
	"net/http"
	"time"
)

// StallTimeout is how long a caller may take to read one chunk of an answer, at most 60
// KiB. A caller that reads nothing, or less than about 2 KiB per second, is
// disconnected. A stream that sends nothing may stay open without limit.
const StallTimeout = 30 * time.Second

// stallWriter writes an answer on an HTTP/2 stream, with a write deadline. The
// connection has a limit too, but it continues while the reader of one stream blocks.
type stallWriter struct{ http.ResponseWriter }

func (s stallWriter) Write(p []byte) (int, error) {
	s.setDeadline(time.Now().Add(StallTimeout))
	defer s.setDeadline(time.Time{})
	return s.ResponseWriter.Write(p)
}

// FlushError is Flush for http.ResponseController.
func (s stallWriter) FlushError() error {
	s.setDeadline(time.Now().Add(StallTimeout))
	defer s.setDeadline(time.Time{})
	return http.NewResponseController(s.ResponseWriter).Flush()
}

// end sets the deadline for what net/http has buffered and sends after the handler.
func (s stallWriter) end() { s.setDeadline(time.Now().Add(StallTimeout)) }

func (s stallWriter) setDeadline(t time.Time) {
	_ = http.NewResponseController(s.ResponseWriter).SetWriteDeadline(t) // HTTP/2 supports it
}

func (s stallWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
