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
	// originLogInterval is how long an origin that was logged is not logged again.
	originLogInterval = time.Minute

	// maxLoggedOrigins is how many origins are logged in that time: anybody can send any.
	maxLoggedOrigins = 100

	// maxOriginLength is how much of an origin is logged, in bytes: a host's name has
	// 253 at the most (RFC 1035, section 2.3.4).
	maxOriginLength = 280
)

// refusedOrigins limits how often refused CORS origins are logged.
type refusedOrigins struct {
	mu          sync.Mutex           // guards what follows
	logged      map[string]time.Time // when
	firstLogged time.Time            // of logged
}

func newRefusedOrigins() *refusedOrigins { return &refusedOrigins{logged: map[string]time.Time{}} }

// shouldLog reports whether origin is to be logged now, and counts it as logged then.
func (o *refusedOrigins) shouldLog(origin string) bool {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	if at, ok := o.logged[origin]; ok && now.Sub(at) < originLogInterval {
		return false
	}
	if len(o.logged) >= maxLoggedOrigins {
		if now.Sub(o.firstLogged) < originLogInterval {
			return false
		}
		clear(o.logged) // all at once, and once a minute at most: anybody can fill it
	}
	if len(o.logged) == 0 {
		o.firstLogged = now
	}
	o.logged[origin] = now
	return true
}

// logRefusedOrigin logs the origin of a page whose browser will not let it read the
// answer, so that somebody finds out what to configure.
func (s *Server) logRefusedOrigin(r *http.Request, origin string) {
	if r.Header.Get("Sec-Fetch-Site") == "same-origin" || strings.HasPrefix(s.baseURL(r)+"/", origin+"/") {
		return // a page of our own
	}
	if name := printable(origin); s.refusedOrigins.shouldLog(name) {
		s.config.Log.LogAttrs(r.Context(), slog.LevelWarn, "a page of an origin that server.cors.allowedOrigins does not list was refused", slog.String("origin", name))
	}
}

// logRefusedOrigins is middleware that does so where no origin is listed.
func (s *Server) logRefusedOrigins(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if r := c.Request(); r.Header["Origin"] != nil {
			s.logRefusedOrigin(r, r.Header.Get("Origin"))
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
