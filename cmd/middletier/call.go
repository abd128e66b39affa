package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"middletier/internal/config"
	"middletier/internal/diagnosis"
	"middletier/internal/downstream"
	"middletier/internal/obo"
)

// callCommand calls an API as the application itself, without the service.
type callCommand struct {
	configFlag
	Name   string   `arg:"" help:"The API's name under downstreamApis."`
	Path   string   `arg:"" help:"The path below the API's baseUrl, percent-encoded, with the query if there is one."`
	Method string   `short:"X" help:"The request's method; default: GET, or POST with a body." placeholder:"METHOD"`
	Data   *string  `short:"d" help:"The request's body, or @FILE, or - for standard input." placeholder:"BODY"`
	Header []string `short:"H" sep:"none" help:"A header of the request, in the form 'Name: value'; may be repeated." placeholder:"NAME: VALUE"`
}

func (c callCommand) run(ctx context.Context, std streams) error {
	f, doc, err := c.load(os.Environ(), checkLoading, checkRoots(os.Environ()))
	if err != nil {
		return err
	}
	printWarnings(std.err, doc)
	return c.call(ctx, f, http.DefaultTransport.(*http.Transport).Clone(), downstream.NewTransport(), std)
}

// call makes the call of the command line. provider connects to the identity provider,
// and sender to the API.
func (c callCommand) call(ctx context.Context, f file, provider, sender http.RoundTripper, std streams) error {
	d, known := f.DownstreamAPIs[c.Name]
	if !known {
		names := config.Closest(c.Name, slices.Collect(maps.Keys(f.DownstreamAPIs)))
		return fmt.Errorf("downstreamApis has no %q; the nearest are: %s",
			c.Name, strings.Join(names[:min(len(names), 5)], ", "))
	}
	if d.BaseURL == "" {
		return fmt.Errorf("downstreamApis.%s.baseUrl: must be set, to call the API", c.Name)
	}
	req, err := c.request(ctx, f, d, std.in)
	if err != nil {
		return err
	}
	token, err := appToken(ctx, f, d, c.Name, newClient(provider))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return send(req, newClient(sender), d.Timeout, std)
}

// request makes the request, without a token.
func (c callCommand) request(ctx context.Context, f file, d downstreamAPI, stdin io.Reader) (*http.Request, error) {
	client, err := downstream.New(f.downstreamConfig(d))
	if err != nil {
		return nil, err
	}
	raw, query, _ := strings.Cut(c.Path, "?")
	if raw != "" && raw[0] != '/' {
		raw = "/" + raw
	}
	path, err := client.ParsePath(raw)
	if err != nil {
		return nil, fmt.Errorf("PATH: %w", err)
	}
	if strings.ContainsFunc(query, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' }) {
		return nil, errors.New("PATH: special characters in the query must be percent-encoded")
	}
	body, err := c.body(ctx, stdin)
	if err != nil {
		return nil, fmt.Errorf("-d: %w", err)
	}
	method := http.MethodGet
	if c.Data != nil {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, cmp.Or(c.Method, method), d.BaseURL, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("-X: %w", err) // the base URL is valid
	}
	req.URL = client.URL(path, query)
	if c.Data != nil {
		req.Header.Set("Content-Type", contentType(body))
	}
	for name, value := range d.RequestHeaders.Set { // the service sets them too
		req.Header.Set(name, value)
	}
	if err := addHeaders(req.Header, c.Header); err != nil {
		return nil, fmt.Errorf("-H: %w", err)
	}
	return req, nil
}

// reservedHeaders are set by this command or by net/http.
var reservedHeaders = []string{"Authorization", "Connection", "Content-Length", "Host", "Transfer-Encoding"}

// addHeaders adds lines of the form 'Name: value'. The first line of a name replaces the
// values that h has. Errors do not quote values, which may be secrets.
func addHeaders(h http.Header, lines []string) error {
	seen := map[string]bool{}
	for _, line := range lines {
		name, value, colon := strings.Cut(line, ":")
		name, value = http.CanonicalHeaderKey(strings.TrimSpace(name)), strings.Trim(value, " \t")
		switch {
		case !colon || !httpguts.ValidHeaderFieldName(name):
			return errors.New("must be 'Name: value'")
		case !httpguts.ValidHeaderFieldValue(value):
			return fmt.Errorf("the value of %s holds a line break or another control character", name)
		case slices.Contains(reservedHeaders, name):
			return fmt.Errorf("%s cannot be set: call sets it", name)
		case !seen[name]:
			h.Del(name)
		}
		seen[name] = true
		h.Add(name, value)
	}
	return nil
}

// body returns the body that -d gives.
func (c callCommand) body(ctx context.Context, stdin io.Reader) ([]byte, error) {
	if c.Data == nil {
		return nil, nil
	}
	name, isFile := strings.CutPrefix(*c.Data, "@")
	switch {
	case name == "-":
		return readAll(ctx, stdin)
	case isFile:
		return os.ReadFile(name)
	}
	return []byte(*c.Data), nil
}

// readAll reads r to its end, or until ctx ends: input from a terminal may never end.
func readAll(ctx context.Context, r io.Reader) ([]byte, error) {
	type all struct {
		data []byte
		err  error
	}
	read := make(chan all, 1)
	go func() {
		data, err := io.ReadAll(r)
		read <- all{data, err}
	}()
	select {
	case a := <-read:
		return a.data, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// contentType guesses. Malformed JSON counts as JSON: the API can report what is wrong
// with it.
func contentType(body []byte) string {
	start := bytes.TrimLeft(body, " \t\r\n")
	if json.Valid(body) || bytes.HasPrefix(start, []byte("{")) || bytes.HasPrefix(start, []byte("[")) {
		return "application/json"
	}
	return "text/plain; charset=utf-8"
}

// appToken gets the token with which applications' calls reach the API d.
func appToken(ctx context.Context, f file, d downstreamAPI, name string, client *http.Client) (string, error) {
	request, err := f.appTokenRequest(d)
	if err != nil {
		return "", fmt.Errorf("downstreamApis.%s.%w", name, err)
	}
	c := f.oboConfig()
	c.Client = client
	exchanger, err := obo.NewClient(ctx, c)
	if err != nil {
		return "", err
	}
	token, err := exchanger.NewToken(ctx, request)
	if err != nil {
		return "", fmt.Errorf("no token for %s: %s", strings.Join(request.Scopes, " "), diagnosis.Reason(err))
	}
	return token, nil
}

// errAlreadyReported is a failure that the command has printed already.
var errAlreadyReported = errors.New("reported already")

var errNoAnswer = errors.New("the answer did not arrive in time")

// send makes the call and prints its answer as it arrives. The response headers must
// arrive within timeout; the body has no limit.
func send(req *http.Request, client *http.Client, timeout time.Duration, std streams) error {
	ctx, cancel := context.WithCancelCause(req.Context())
	defer cancel(nil)
	timer := time.AfterFunc(timeout, func() { cancel(errNoAnswer) })
	defer timer.Stop()
	resp, err := client.Do(req.WithContext(ctx))
	if err != nil {
		if errors.Is(context.Cause(ctx), errNoAnswer) {
			err = errNoAnswer
		}
		return fmt.Errorf("%s: %s", req.URL.Host, diagnosis.Reason(err))
	}
	timer.Stop()
	defer resp.Body.Close()
	if _, err := fmt.Fprintln(std.err, resp.Proto, diagnosis.Clean(resp.Status, 100)); err != nil {
		return err
	}
	if _, err := io.Copy(std.out, resp.Body); err != nil {
		return fmt.Errorf("the answer was cut short, or could not be printed: %s", diagnosis.Reason(err))
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return errAlreadyReported
	}
	return nil
}
