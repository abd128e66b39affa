package api

import (
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

const (
	// originPause is how long nothing more is said of an origin that was named.
	originPause = time.Minute

	// maxOrigins is how many origins are named in that time: anybody can send any.
	maxOrigins = 100

	// maxOriginLength is how much of an origin is named, in bytes: a host's name has
	// 253 at the most (RFC 1035, section 2.3.4).
	maxOriginLength = 280
)

// origins are those of pages that were refused, and when each was named in the log.
type origins struct {
	mu    sync.Mutex // guards what follows
	named map[string]time.Time
	first time.Time // when the first of named was
}

func newOrigins() *origins { return &origins{named: map[string]time.Time{}} }

// isNew reports whether origin has not been named for a while, and is to be named
// now.
func (o *origins) isNew(origin string) bool {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	if at, ok := o.named[origin]; ok && now.Sub(at) < originPause {
		return false
	}
	if len(o.named) >= maxOrigins {
		if now.Sub(o.first) < originPause {
			return false
		}
		clear(o.named) // all at once, and once a minute at most: anybody can fill it
	}
	if len(o.named) == 0 {
		o.first = now
	}
	o.named[origin] = now
	return true
}

// noticeOrigin names the origin of a page whose browser will not let it read the
// answer, so that somebody finds out what to configure.
func (s *Server) noticeOrigin(r *http.Request, origin string) {
	if r.Header.Get("Sec-Fetch-Site") == "same-origin" || strings.HasPrefix(s.baseURL(r)+"/", origin+"/") {
		return // a page of our own
	}
	if name := printable(origin); s.strange.isNew(name) {
		s.config.Log.LogAttrs(r.Context(), slog.LevelWarn, "a page of an origin that server.cors.allowedOrigins does not list was refused", slog.String("origin", name))
	}
}

// noticeOrigins is middleware that does so where no origin is listed.
func (s *Server) noticeOrigins(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if r := c.Request(); r.Header["Origin"] != nil {
			s.noticeOrigin(r, r.Header.Get("Origin"))
		}
		return next(c)
	}
}

// printable returns the beginning of an origin, with a question mark for each
// character that no origin has.
func printable(origin string) string {
	origin = origin[:min(len(origin), maxOriginLength)]
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`"'\<>`+"`", r) {
			return '?'
		}
		return r
	}, origin)
}
