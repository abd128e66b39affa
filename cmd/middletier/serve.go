package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"middletier/internal/door"
	"middletier/internal/listener"
	"middletier/internal/telemetry"
)

// serveCommand runs the service until a signal stops it.
type serveCommand struct {
	configFlag
}

func (c serveCommand) run(ctx context.Context, std streams) error {
	f, doc, err := c.load(os.Environ(), checkServing, checkSite(c.files()), checkRoots(os.Environ()))
	if err != nil {
		return err
	}
	// Otherwise the process would end when the reader of the log closes the pipe.
	signal.Ignore(syscall.SIGPIPE)
	logQueue := telemetry.NewLogQueue(f.Logging.Format, std.out)
	defer logQueue.Close()
	log, level := telemetry.NewLog(f.Logging.Level, f.Logging.Format, logQueue)
	logWarnings(log, doc)
	p, err := build(ctx, f, newProviderTransport(f.AzureAd.MaxConcurrentExchanges), log)
	if err != nil {
		return err
	}
	if err := logQueue.Register(p.telemetry.Meter()); err != nil {
		return err
	}
	listeners, err := p.listenAll(f.Server, doc, level, log)
	if err != nil {
		return err
	}
	stop := logSIGHUP(log)
	defer stop()
	return serve(ctx, f.Server, p, listeners, log)
}

// listenAll opens all listeners, and logs where they are. The error names the key of the
// one that cannot be opened.
func (p *program) listenAll(s server, doc document, level *slog.LevelVar, log *slog.Logger) (map[net.Listener]http.Handler, error) {
	listeners := map[net.Listener]http.Handler{}
	timed := func(l net.Listener) net.Listener { return listener.WithWriteTimeout(l, door.StallTimeout, log) }
	for _, l := range []struct {
		key, address, message string
		limited               func(net.Listener) net.Listener
		handler               func() http.Handler
	}{
		{
			"server.address", s.Address, "listening",
			func(l net.Listener) net.Listener { return p.limited(l, s, log) }, func() http.Handler { return p.api },
		},
		{"server.sidecarAddress", s.SidecarAddress, "listening for the application", timed, func() http.Handler { return p.sidecar }},
		{"server.adminAddress", s.AdminAddress, "listening for operators", timed, func() http.Handler { return p.api.Admin(level) }},
	} {
		if l.address == "" {
			continue
		}
		opened, err := listener.Listen(l.address)
		if err != nil {
			return nil, errors.Join(doc.mistakeAt(l.key, err), closeAll(listeners))
		}
		listeners[l.limited(opened)] = l.handler()
		log.Info(l.message, "address", opened.Addr().String(), "version", version)
	}
	return listeners, nil
}

// closeAll closes listeners that served nothing.
func closeAll(listeners map[net.Listener]http.Handler) error {
	var errs []error
	for l := range listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// limited adds the limits of the public listener, and TLS, to l.
func (p *program) limited(l net.Listener, s server, log *slog.Logger) net.Listener {
	if s.MaxConnections > 0 {
		l = listener.Limit(l, s.MaxConnections)
	}
	l = listener.WithWriteTimeout(l, door.StallTimeout, log)
	if p.certificate != nil {
		l = tls.NewListener(l, p.certificate.Config())
	}
	return l
}

// logSIGHUP logs, at each SIGHUP, that it has no effect: other programs read their
// configuration again then. It ends with stop.
func logSIGHUP(log *slog.Logger) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	var group sync.WaitGroup
	group.Go(func() {
		for range signals {
			log.Warn("SIGHUP has no effect: credentials and TLS files are read again when they change, " +
				"PUT /loglevel on server.adminAddress sets the log level, and everything else needs a restart")
		}
	})
	return func() {
		signal.Stop(signals)
		close(signals)
		group.Wait()
	}
}

// noticeTime is how long load balancers may take to notice that the service is not
// ready: Kubernetes takes a second or two. Until then, new connections are served.
func (s server) noticeTime() time.Duration { return min(5*time.Second, s.ShutdownGrace/3) }

// finalLogTimeout is how long canceled requests may take to be logged.
const finalLogTimeout = time.Second

const (
	// probeWindow is the time in which a load balancer, if there is one, probes or
	// sends something. Kubernetes probes every ten seconds by default.
	probeWindow = time.Minute

	// idleTimeout is how long the shutdown waits for connections without a request if
	// there is no load balancer: net/http waits 5 s for a new connection.
	idleTimeout = 200 * time.Millisecond
)

// serve answers on the listeners until ctx ends, then shuts down gracefully. Bodies have
// no deadline here: streams may take any time, and other requests are timed where they
// are forwarded.
func serve(ctx context.Context, s server, p *program, listeners map[net.Listener]http.Handler, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The program's own goroutines end after the last request.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	runErr := make(chan error, 1)
	go func() { runErr <- p.run(background) }()

	requests, cancelRequests := context.WithCancelCause(context.Background())
	defer cancelRequests(nil)
	var group errgroup.Group
	var servers []*http.Server
	for l, handler := range listeners {
		srv := listener.NewServer(handler, int(s.MaxHeaderSize), s.H2C, log)
		srv.BaseContext = func(net.Listener) context.Context { return requests }
		servers = append(servers, srv)
		group.Go(func() error {
			defer cancel() // if one listener fails, the program stops
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
	}
	group.Go(func() error {
		<-ctx.Done()
		return p.shutdown(s, servers, cancelRequests, log)
	})
	err := group.Wait()
	stop()
	err = errors.Join(err, <-runErr)
	log.Info("stopped")
	return err
}

// shutdown stops the servers. If requests run or a load balancer uses the service, it
// serves for noticeTime, then closes WebSockets and lets running requests finish, within
// s.ShutdownGrace in total. Requests that take longer are canceled.
func (p *program) shutdown(s server, servers []*http.Server, cancelRequests context.CancelCauseFunc, log *slog.Logger) error {
	p.api.Drain()
	p.sidecar.Drain()
	graceCtx, stop := context.WithTimeout(context.Background(), s.ShutdownGrace)
	defer stop()
	running, loadBalanced := p.inFlight(), p.api.BehindLoadBalancer(probeWindow)
	graceful := running > 0 || loadBalanced
	if graceful && s.ShutdownGrace > 0 {
		log.Info("shutting down: new connections are served until load balancers have noticed, "+
			"then running requests finish; a second signal stops the process at once",
			"noticeTime", s.noticeTime().String(), "runningRequests", running, "upTo", s.ShutdownGrace.String())
		time.Sleep(s.noticeTime())
	}
	p.api.CloseWebSockets() // now clients that connect again reach another replica
	var group errgroup.Group
	for _, srv := range servers {
		group.Go(func() error {
			if !graceful && p.shutdownIdle(srv, cancelRequests) {
				return srv.Close()
			}
			if err := srv.Shutdown(graceCtx); err != nil {
				log.Warn("requests were still running at the end of server.shutdownGrace")
				cancelRequests(door.ErrShutdown)
				finalCtx, stop := context.WithTimeout(context.Background(), finalLogTimeout)
				defer stop()
				_ = srv.Shutdown(finalCtx) // the remaining requests are canceled
				return srv.Close()
			}
			return nil
		})
	}
	err := group.Wait()
	p.awaitWebSockets(graceCtx, cancelRequests)
	return err
}

// awaitWebSockets waits until the WebSockets have ended, which http.Server does not, until
// graceCtx ends and they had finalLogTimeout.
func (p *program) awaitWebSockets(graceCtx context.Context, cancelRequests context.CancelCauseFunc) {
	const poll = 10 * time.Millisecond
	for p.inFlight() > 0 && graceCtx.Err() == nil {
		time.Sleep(poll)
	}
	for end := time.Now().Add(finalLogTimeout); p.inFlight() > 0 && time.Now().Before(end); {
		cancelRequests(door.ErrShutdown)
		time.Sleep(poll)
	}
}

// inFlight returns how many requests are being answered on all listeners.
func (p *program) inFlight() int { return p.api.InFlight() + p.sidecar.InFlight() }

// shutdownIdle shuts srv down, and reports whether it did: it does not if a request has
// arrived meanwhile. It cancels connections that still read a caller's body: srv.Close
// would wait for them one after the other.
func (p *program) shutdownIdle(srv *http.Server, cancelRequests context.CancelCauseFunc) bool {
	idleCtx, stop := context.WithTimeout(context.Background(), idleTimeout)
	defer stop()
	if srv.Shutdown(idleCtx) == nil {
		return true
	}
	if p.inFlight() > 0 {
		return false
	}
	cancelRequests(door.ErrShutdown)
	return true
}
