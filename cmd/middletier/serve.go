package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"

	"golang.org/x/sync/errgroup"
)

// serveCommand runs the service until it is told to end.
type serveCommand struct {
	Config string `help:"The configuration file." default:"config.yaml"`
}

func (c serveCommand) run(ctx context.Context, std streams) error {
	f, err := load(c.Config, os.Environ(), checkServing)
	if err != nil {
		return err
	}
	log := newLog(f.Logging, std.out)
	p, err := build(f, http.DefaultTransport.(*http.Transport).Clone(), log)
	if err != nil {
		return err
	}
	public, err := p.listen(f.Server, log)
	if err != nil {
		return fmt.Errorf("server.address: %w", err)
	}
	listeners := map[net.Listener]http.Handler{public: p.api}
	log.Info("listening", "address", public.Addr().String(), "version", version)
	if f.Server.AdminAddress != "" {
		admin, err := net.Listen("tcp", f.Server.AdminAddress)
		if err != nil {
			return errors.Join(fmt.Errorf("server.adminAddress: %w", err), public.Close())
		}
		listeners[admin] = p.api.Admin()
		log.Info("listening for operators", "address", admin.Addr().String())
	}
	return serve(ctx, f.Server, p, listeners, log)
}

// serve answers on the listeners until ctx ends, then lets running requests
// finish for the grace that s gives. Bodies have no deadline here: streams may
// take as long as they take, and other requests are timed where they are
// forwarded.
func serve(ctx context.Context, s server, p *program, listeners map[net.Listener]http.Handler, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// What runs behind requests ends after the last of them.
	behind, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ran := make(chan error, 1)
	go func() { ran <- p.run(behind) }()

	var group errgroup.Group
	for listener, handler := range listeners {
		srv := newServer(s, handler, log)
		group.Go(func() error {
			defer cancel() // one listener's end is the program's
			if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			p.api.Drain()
			grace, stop := context.WithTimeout(context.Background(), s.ShutdownGrace)
			defer stop()
			if err := srv.Shutdown(grace); err != nil {
				log.Warn("requests were still running at the end of server.shutdownGrace")
				return srv.Close()
			}
			return nil
		})
	}
	err := group.Wait()
	stop()
	err = errors.Join(err, <-ran)
	log.Info("stopped")
	return err
}
