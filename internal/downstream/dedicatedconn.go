package downstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
)

// maxDedicated bounds the dedicated connections of risky requests, because callers decide
// how many of those they send. Further requests wait.
const maxDedicated = 32

// dedicatedKey marks the context of a dial for newDedicated.
type dedicatedKey struct{}

// onDedicated sends r once, on a connection that no other request uses.
func (p *connPool) onDedicated(r *http.Request, risky bool) (*http.Response, error) {
	conn, release, err := p.newDedicated(r, risky)
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // ends this attempt
		}
		return nil, err
	}
	resp, err := conn.RoundTrip(r)
	if err != nil {
		_ = conn.Close() // err says more
		release()
		return nil, err
	}
	resp.Body = &dedicatedBody{resp.Body, conn, release}
	return resp, nil
}

// newDedicated connects to the API of r. A risky request waits until fewer than
// maxDedicated connections of such requests are open. release ends its part of them.
func (p *connPool) newDedicated(r *http.Request, risky bool) (conn *http.ClientConn, release func(), err error) {
	release = func() {}
	if risky {
		select {
		case p.dedicatedSlots <- struct{}{}:
			release = sync.OnceFunc(func() { <-p.dedicatedSlots })
		case <-r.Context().Done():
			return nil, nil, r.Context().Err()
		}
	}
	conn, err = p.transportFor(r).NewClientConn(context.WithValue(r.Context(), dedicatedKey{}, true), r.URL.Scheme, addressOf(r.URL))
	if err != nil {
		release()
		return nil, nil, err
	}
	return conn, release, nil
}

// dedicatedBody is the body of a response on a dedicated connection, which is closed with it.
type dedicatedBody struct {
	io.ReadCloser
	conn    *http.ClientConn
	release func()
}

func (b *dedicatedBody) Close() error {
	defer b.release()
	return errors.Join(b.ReadCloser.Close(), b.conn.Close())
}
