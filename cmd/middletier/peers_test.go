package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"middletier/internal/downstream"
)

// The servers that ours is measured beside. They keep as many connections to
// the API as ours does, so they share the settings of its transport; nothing else.

// proxy is the floor: it sends every request on with one fixed token, checks
// nothing and logs nothing. Its arguments are the API's URL and the token, and, for
// TLS, the files of its certificate and key. Then it has HTTP/2 on both sides. Without a
// token it passes on that of the caller.
// Without a pool, ReverseProxy makes a buffer for every body, which is a third of
// its cost.
func proxy(pool httputil.BufferPool) error {
	api, err := url.Parse(os.Args[1])
	if err != nil {
		return err
	}
	authorization := os.Args[2]
	if authorization != "" {
		authorization = "Bearer " + authorization
	}
	return listenAndServe(&httputil.ReverseProxy{
		BufferPool: pool,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(api)
			p.SetXForwarded()
			if authorization != "" {
				p.Out.Header.Set("Authorization", authorization)
			}
		},
		Transport: downstream.NewTransport().Transport, // net/http's, without what ours adds
	}, os.Args[3:]...)
}

// copyBuffers are those of the proxy that has a pool.
type copyBuffers struct{ sync.Pool }

func newCopyBuffers() *copyBuffers {
	return &copyBuffers{sync.Pool{New: func() any { return new([32 << 10]byte) }}}
}

func (c *copyBuffers) Get() []byte  { return c.Pool.Get().(*[32 << 10]byte)[:] }
func (c *copyBuffers) Put(b []byte) { c.Pool.Put((*[32 << 10]byte)(b)) }

// obvious is the middle tier that the documentation of Echo, keyfunc and MSAL
// leads to. MSAL remembers the tokens that it got. Its arguments are the
// authority, the client's id and secret, and the API's URL.
func obvious() error {
	authority, clientID, secret, api := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	keys, err := keyfunc.NewDefaultCtx(context.Background(), []string{authority + "/discovery/v2.0/keys"})
	if err != nil {
		return err
	}
	credential, err := confidential.NewCredFromSecret(secret)
	if err != nil {
		return err
	}
	msal, err := confidential.New(authority, clientID, credential, confidential.WithInstanceDiscovery(false))
	if err != nil {
		return err
	}
	client := &http.Client{Transport: downstream.NewTransport().Transport}

	e := echo.New()
	e.Use(middleware.RequestID(), middleware.RequestLogger(), middleware.Recover())
	todo := e.Group("/api/todo", authenticated(keys, authority+"/v2.0", clientID))
	todo.GET("/*", func(c echo.Context) error {
		ctx := c.Request().Context()
		token, err := msal.AcquireTokenOnBehalfOf(ctx, c.Get("token").(*jwt.Token).Raw, []string{"api://todo/.default"})
		if err != nil {
			return echo.NewHTTPError(http.StatusBadGateway, "no token for the API").SetInternal(err)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, api+"/"+c.Param("*"), nil)
		if err != nil {
			return err
		}
		req.Header.Set("Accept", c.Request().Header.Get("Accept"))
		req.Header.Set("Authorization", "Bearer "+token.AccessToken)
		resp, err := client.Do(req)
		if err != nil {
			return echo.NewHTTPError(http.StatusBadGateway, "the API does not answer").SetInternal(err)
		}
		defer resp.Body.Close()
		return c.Stream(resp.StatusCode, resp.Header.Get("Content-Type"), resp.Body)
	})
	return listenAndServe(e)
}

type accessClaims struct {
	jwt.RegisteredClaims
	Scopes string `json:"scp"`
}

// authenticated lets on who brings a good token with the scope to read.
func authenticated(keys keyfunc.Keyfunc, issuer, audience string) echo.MiddlewareFunc {
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(issuer),
		jwt.WithAudience(audience), jwt.WithExpirationRequired())
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			raw, ok := strings.CutPrefix(c.Request().Header.Get("Authorization"), "Bearer ")
			if !ok {
				return echo.NewHTTPError(http.StatusUnauthorized, "no bearer token")
			}
			var claims accessClaims
			token, err := parser.ParseWithClaims(raw, &claims, keys.Keyfunc)
			if err != nil {
				return echo.NewHTTPError(http.StatusUnauthorized, "invalid token").SetInternal(err)
			}
			if !slices.Contains(strings.Fields(claims.Scopes), "ToDoList.Read") {
				return echo.NewHTTPError(http.StatusForbidden, "insufficient scope")
			}
			c.Set("token", token)
			return next(c)
		}
	}
}

// bareAnswer is one answer of the service.
type bareAnswer struct {
	Header http.Header
	Body   []byte
}

// bare is the floor of the sidecar listener: it answers each path with what the service
// answered one user, and does nothing else. Its argument is a file with the answers.
func bare() error {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	var answers map[string]bareAnswer
	if err := json.Unmarshal(text, &answers); err != nil {
		return err
	}
	return listenAndServe(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := answers[r.URL.Path]
		maps.Copy(w.Header(), answer.Header)
		_, _ = w.Write(answer.Body) // the load sees what is missing
	}))
}

// listenAndServe answers on a free port, which it logs as the service does. It answers over
// TLS if it gets the files of a certificate and its key.
func listenAndServe(handler http.Handler, pair ...string) error {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stdout, nil)))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	slog.Info("listening", "address", listener.Addr().String())
	if len(pair) == 2 {
		err = http.ServeTLS(listener, handler, pair[0], pair[1])
	} else {
		err = http.Serve(listener, handler)
	}
	return errors.Join(err, errors.New("stopped"))
}

// peer makes a role of a server.
func peer(serve func() error) func() int {
	return func() int {
		fmt.Fprintln(os.Stderr, serve())
		return exitError
	}
}
