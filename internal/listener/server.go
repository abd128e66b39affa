package listener

import (
	"log/slog"
	"net/http"
	"time"
)

const (
	// ReadHeaderTimeout ends connections that never finish their first lines, and
	// TLS handshakes.
	ReadHeaderTimeout = 10 * time.Second

	// idleTimeout is longer than that of usual load balancers, so that they
	// close first and no request meets a closing connection.
	idleTimeout = 90 * time.Second

	// maxStreams is how many requests may run on one HTTP/2 connection: the least
	// that RFC 9113, section 6.5.2, recommends. It also bounds how many handlers
	// run for streams that were reset already.
	maxStreams = 100

	// pingAfter is how long an HTTP/2 connection is silent until it gets a ping: without
	// one, a stream to a caller that is gone would stay.
	pingAfter = 30 * time.Second

	// maxReadFrame is the largest frame that callers may send: the least that
	// RFC 9113, section 4.2, allows. Each connection may have to hold one.
	maxReadFrame = 16 << 10
)

// NewServer returns a server that answers with handler, whose headers may have
// maxHeaderSize bytes. With h2c it accepts HTTP/2 without TLS too.
func NewServer(handler http.Handler, maxHeaderSize int, h2c bool, log *slog.Logger) *http.Server {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(h2c)
	return &http.Server{
		Handler: protocolHandler{handler}, ReadHeaderTimeout: ReadHeaderTimeout, IdleTimeout: idleTimeout,
		// Beyond this net/http answers 431 by itself, in plain text. Package api
		// answers first, as the contract says.
		MaxHeaderBytes: max(2*maxHeaderSize, http.DefaultMaxHeaderBytes),
		Protocols:      protocols,
		ConnContext:    connContext,
		ConnState:      connState,
		HTTP2:          &http.HTTP2Config{MaxConcurrentStreams: maxStreams, SendPingTimeout: pingAfter, MaxReadFrameSize: maxReadFrame},
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
