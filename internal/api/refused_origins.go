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
	// originLogInterval is how long a logged origin is not logged again.
	originLogInterval = time.Minute

	// maxLoggedOrigins limits the origins that are logged in that time: a client can
	// send any origin.
	maxLoggedOrigins = 100

	// maxOriginLength is how much of an origin is logged, in bytes. A host name has at
	// most 253 (RFC 1035, section 2.3.4).
	maxOriginLength = 280
)

// refusedOrigins limits how often refused CORS origins are logged.
type refusedOrigins struct {
	mu          sync.Mutex           // guards the fields below
	logged      map[string]time.Time // when each was last logged
	firstLogged time.Time            // the oldest in logged
}

func newRefusedOrigins() *refusedOrigins { return &refusedOrigins{logged: map[string]time.Time{}} }

// shouldLog reports whether to log origin now, and records it as logged.
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
		clear(o.logged) // clients can fill it with any origins, so it is cleared as a whole
	}
	if len(o.logged) == 0 {
		o.firstLogged = now
	}
	o.logged[origin] = now
	return true
}

// logRefusedOrigin logs the origin of a page whose browser does not let it read the
// answer, so that operators see what to configure.
func (s *Server) logRefusedOrigin(r *http.Request, origin string) {
	if r.Header.Get("Sec-Fetch-Site") == "same-origin" || s.isOwnOrigin(r, origin) {
		return // a page of this service
	}
	if name := printable(origin); s.refusedOrigins.shouldLog(name) {
		s.config.Log.LogAttrs(r.Context(), slog.LevelWarn,
			"a page of an origin that server.cors.allowedOrigins does not list was refused", slog.String("origin", name))
	}
}

// logRefusedOrigins is middleware that does the same if no origin is allowed, except to
// read metadata.
func (s *Server) logRefusedOrigins(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if s.isSessionRequest(r) {
			return next(c)
		}
		if methods := s.openMethods(r); methods != nil {
			return s.answerAnyOrigin(c, next, methods)
		}
		if r.Header["Origin"] != nil {
			s.logRefusedOrigin(r, r.Header.Get("Origin"))
		}
		return next(c)
	}
}

// printable returns the beginning of an origin, with a question mark for each character
// that an origin cannot contain.
func printable(origin string) string {
	origin = origin[:min(len(origin), maxOriginLength)]
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`"'\<>`+"`", r) {
			return '?'
		}
		return r
	}, origin)
}
