package api

import (
	"net/http"
	"time"
)

// StallTimeout is how long a caller may take to take a piece of an answer, which
// is 32 KiB at the most: one that takes nothing, or less than about 1 KiB a
// second, is cut off. A stream that has nothing to send may be silent for ever.
const StallTimeout = 30 * time.Second

// stallWriter is the answer on an HTTP/2 stream, whose reader can hold it up while the
// connection, which has a limit of its own, moves on.
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

// end bounds what net/http has kept to send after the handler.
func (s stallWriter) end() { s.setDeadline(time.Now().Add(StallTimeout)) }

func (s stallWriter) setDeadline(t time.Time) {
	_ = http.NewResponseController(s.ResponseWriter).SetWriteDeadline(t) // HTTP/2 can
}

func (s stallWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
