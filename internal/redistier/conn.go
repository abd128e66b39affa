package redistier

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"syscall"

	"github.com/redis/go-redis/v9"

	"middletier/internal/failure"
)

// dialFunc makes a connection.
type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// dialer returns how connections to the servers of o are made: as the client library
// makes them, but what comes is checked. dial makes those without TLS; nil: net.Dialer.
func dialer(o *redis.UniversalOptions, dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		isSentinel := o.MasterName != "" && slices.Contains(o.Addrs, address)
		direct := &net.Dialer{Timeout: o.DialTimeout}
		if o.TLSConfig != nil {
			conn, err := (&tls.Dialer{NetDialer: direct, Config: o.TLSConfig}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return checked(conn, isSentinel), nil
		}
		connect := dial
		if connect == nil {
			connect = direct.DialContext
		}
		conn, err := connect(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if socket, ok := conn.(syscall.Conn); ok {
			return plainConn{checked(conn, isSentinel), socket}, nil
		}
		return checked(conn, isSentinel), nil
	}
}

// checkedConn is a connection to Redis. It is closed in the sense that nothing can
// be read any more once something has come that is too large or not the protocol.
type checkedConn struct {
	net.Conn
	check  replyCheck
	broken error // of the check
}

func checked(conn net.Conn, isSentinel bool) *checkedConn {
	c := &checkedConn{Conn: conn}
	if isSentinel {
		c.check.sentinel = &sentinelCheck{}
	}
	return c
}

// Read reads what the check has let pass. One goroutine reads at a time.
func (c *checkedConn) Read(b []byte) (int, error) {
	if c.broken != nil {
		return 0, c.broken
	}
	n, err := c.Conn.Read(b)
	if c.broken = c.check.feed(b[:n]); c.broken != nil {
		return 0, c.broken
	}
	return n, err
}

func (c *checkedConn) Write(b []byte) (int, error) {
	if c.check.sentinel != nil {
		c.check.sentinel.sent(b)
	}
	return c.Conn.Write(b)
}

// plainConn is a checkedConn without TLS. The client library asks the socket whether
// an idle connection was closed.
type plainConn struct {
	*checkedConn
	syscall.Conn
}

// errRedisPanic stands for a panic in the client library, which expects certain
// answers of Redis. Its text could quote one.
var errRedisPanic = failure.New("the client library does not understand what came from Redis")

// safely returns errRedisPanic if run panics.
func safely(run func() error) error {
	return failure.OfPanic(run, func(any) error { return errRedisPanic })
}

// recovering makes errors of panics in the client library, also in goroutines of its
// own: those of a cluster's nodes.
type recovering struct{}

// recoverFrom adds the hook to everything that asks a server.
func recoverFrom(client redis.UniversalClient) {
	client.AddHook(recovering{})
	if cluster, ok := client.(*redis.ClusterClient); ok {
		cluster.OnNewNode(func(node *redis.Client) { node.AddHook(recovering{}) })
	}
}

// DialHook implements redis.Hook.
func (recovering) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = safely(func() (err error) {
			conn, err = next(ctx, network, address)
			return err
		})
		return conn, err
	}
}

// ProcessHook implements redis.Hook.
func (recovering) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, command redis.Cmder) error {
		err := safely(func() error { return next(ctx, command) })
		if errors.Is(err, errRedisPanic) {
			command.SetErr(err)
		}
		return err
	}
}

// ProcessPipelineHook implements redis.Hook.
func (recovering) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		err := safely(func() error { return next(ctx, commands) })
		if errors.Is(err, errRedisPanic) {
			for _, command := range commands {
				command.SetErr(err)
			}
		}
		return err
	}
}
