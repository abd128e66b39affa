package downstream

import (
	"context"
	"io"
	"net/http"
)

// uploadTransport sends requests whose bodies are read from the caller meanwhile. Closing
// the response to one first cancels the request: otherwise HTTP/2 would wait for more of
// the body, which the caller may hold back until it has the whole response (RFC 9113,
// section 8.1: a response may be complete before its request is).
type uploadTransport struct{ http.RoundTripper }

func (t uploadTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil || r.GetBody != nil {
		return t.RoundTripper.RoundTrip(r)
	}
	ctx, cancel := context.WithCancel(r.Context())
	resp, err := t.RoundTripper.RoundTrip(r.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Body = &cancelingBody{resp.Body, cancel}
	return resp, nil
}

// cancelingBody is a response that may be complete before the upload is.
type cancelingBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *cancelingBody) Close() error {
	b.cancel()
	return b.ReadCloser.Close()
}
