package downstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
)

// maxOwn bounds the connections of requests that are likely to offend: callers choose
// how many those are. Others wait.
const maxOwn = 32

// ownKey marks the context of a dial for onOwn.
type ownKey struct{}

// onOwn sends r once, on a connection that nobody else uses.
func (l *lane) onOwn(r *http.Request, offends bool) (resp *http.Response, err error) {
	release := func() {}
	if offends {
		select {
		case l.own <- struct{}{}:
			release = sync.OnceFunc(func() { <-l.own })
		case <-r.Context().Done():
			if r.Body != nil {
				_ = r.Body.Close() // of one attempt
			}
			return nil, r.Context().Err()
		}
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	address := net.JoinHostPort(r.URL.Hostname(), portOf(r.URL))
	conn, err := l.transportFor(r).NewClientConn(context.WithValue(r.Context(), ownKey{}, true), r.URL.Scheme, address)
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // of one attempt
		}
		return nil, err
	}
	resp, err = conn.RoundTrip(r)
	if err != nil {
		_ = conn.Close() // err says more
		return nil, err
	}
	resp.Body = &ownBody{resp.Body, conn, release}
	return resp, nil
}

// ownBody is an answer on a connection of its own, which ends with it.
type ownBody struct {
	io.ReadCloser
	conn    *http.ClientConn
	release func()
}

func (b *ownBody) Close() error {
	defer b.release()
	return errors.Join(b.ReadCloser.Close(), b.conn.Close())
}
