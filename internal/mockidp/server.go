// Package mockidp is a small, strict identity platform modelled on Microsoft Entra, for
// tests and demonstrations: it rejects what Entra rejects.
package mockidp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxBody limits a request body. The largest legitimate request is a token request
	// with a 32 KiB assertion.
	maxBody = 1 << 20
	// headerTimeout limits reading a request's headers. There are no other timeouts:
	// they would cut off an answer that a Fault delays.
	headerTimeout = 30 * time.Second
)

// Server is the platform. It is an http.Handler, which Start serves over TLS.
type Server struct {
	current     atomic.Pointer[directory] // as it is now; see change
	sealer      atomic.Pointer[sealer]
	keys        *keyring
	authority   *authority
	faults      faults
	journal     journal
	usedIDs     usedIDs
	devices     devices
	sessions    sessions
	consents    consents
	revocations revocations
	store       *store    // nil: nothing outlives the process
	restored    time.Time // when Open read the state of an earlier process; else zero
	protocol    *http.ServeMux
	manage      http.Handler // the routes under /mock/

	mu          sync.RWMutex // guards the fields below
	url         string
	address     string // of the listener, once it has one
	certificate tls.Certificate
	running     *running          // nil while stopped
	presets     map[string]Preset // by name in lower case
	registered  Directory         // what current was made of
	initial     Directory         // what New got, for Reset
}

// running is the HTTP server between Start or Restart and Stop.
type running struct {
	server *http.Server
	done   chan struct{} // closed when it accepts no more connections
}

// New returns a platform for the directory, which it checks. It does not listen yet.
// Until Start its URL is https://localhost.
func New(dir Directory) (*Server, error) {
	if _, err := newDirectory(dir); err != nil { // before the keys, which take long
		return nil, fmt.Errorf("directory: %w", err)
	}
	authority, err := newAuthority()
	if err != nil {
		return nil, err
	}
	sealer, err := newSealer(newSealingKey())
	if err != nil {
		return nil, err
	}
	keys := &keyring{}
	if _, err := keys.rotate(dir.SigningKey, false); err != nil {
		return nil, err
	}
	return newServer(dir, authority, sealer, keys)
}

func newServer(dir Directory, authority *authority, sealer *sealer, keys *keyring) (*Server, error) {
	s := &Server{
		keys:      keys,
		authority: authority,
		url:       "https://localhost",
		presets:   map[string]Preset{},
		initial:   dir,
	}
	s.sealer.Store(sealer)
	if err := s.change(func(registered *Directory) { *registered = dir }); err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	s.protocol, s.manage = s.protocolRoutes(), s.manageRoutes()
	return s, nil
}

func (s *Server) protocolRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", s.recorded("metadata", s.metadata(2)))
	mux.HandleFunc("GET /{tenant}/.well-known/openid-configuration", s.recorded("metadata", s.metadata(1)))
	mux.HandleFunc("GET /common/discovery/instance", s.recorded("metadata", s.instance))
	mux.HandleFunc("OPTIONS /{tenant}/v2.0/.well-known/openid-configuration", s.recorded("metadata", publicPreflight))
	mux.HandleFunc("OPTIONS /{tenant}/discovery/{path...}", s.recorded("metadata", publicPreflight))
	mux.HandleFunc("GET /{tenant}/discovery/v2.0/keys", s.recorded("keys", s.publishedKeys(2)))
	mux.HandleFunc("GET /{tenant}/discovery/keys", s.recorded("keys", s.publishedKeys(1)))
	mux.HandleFunc("OPTIONS /{tenant}/oauth2/v2.0/token", s.recorded("", s.preflight("POST, OPTIONS")))
	mux.HandleFunc("/{tenant}/oauth2/v2.0/token", s.token)
	mux.HandleFunc("GET /{tenant}/oauth2/v2.0/authorize", s.authorize)
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/authorize", s.authorize)
	mux.HandleFunc("POST /{tenant}/login", s.continueSignIn)
	mux.HandleFunc("GET /{tenant}/oauth2/v2.0/logout", s.logout)
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/logout", s.logout)
	mux.HandleFunc("POST /{tenant}/logout", s.continueSignOut)
	mux.HandleFunc("OPTIONS /oidc/userinfo", s.recorded("", s.preflight("GET, POST, OPTIONS")))
	mux.HandleFunc("GET /oidc/userinfo", s.recorded("userinfo", s.userInfo))
	mux.HandleFunc("POST /oidc/userinfo", s.recorded("userinfo", s.userInfo))
	mux.HandleFunc("/{tenant}/oauth2/v2.0/devicecode", s.deviceCode)
	mux.HandleFunc("/common/oauth2/deviceauth", s.recorded("", s.devicePage))
	for _, spelling := range []string{"userrealm", "UserRealm"} { // MSAL Go writes the second
		mux.HandleFunc("GET /common/"+spelling+"/{user}", s.recorded("userrealm", s.userRealm))
	}
	mux.HandleFunc("GET /error", s.recorded("", explainError))
	mux.HandleFunc("/", s.recorded("", notFound))
	return mux
}

// manageRoutes are for the programs of this machine. A page of another origin, which a
// browser would let post to them, is refused.
func (s *Server) manageRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /mock/tokens", s.signToken)
	mux.HandleFunc("GET /mock/tokens/{name}", s.presetToken)
	mux.HandleFunc("POST /mock/faults", s.postFault)
	mux.HandleFunc("DELETE /mock/faults", s.deleteFaults)
	mux.HandleFunc("POST /mock/keys", s.postKeys)
	mux.HandleFunc("POST /mock/users", s.postUser)
	mux.HandleFunc("POST /mock/apps", s.postApp)
	mux.HandleFunc("POST /mock/grants", s.postGrant)
	mux.HandleFunc("POST /mock/reset", s.postReset)
	mux.HandleFunc("GET /mock/requests", s.getRequests)
	mux.HandleFunc("DELETE /mock/requests", s.deleteRequests)
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "a page of another origin must not change the platform", http.StatusForbidden)
	}))
	return guard.Handler(mux)
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/mock/") {
		s.manage.ServeHTTP(w, r)
		return
	}
	s.protocol.ServeHTTP(w, r)
}

// Start serves over TLS on the address, such as "127.0.0.1:0", with a certificate of the
// platform's own CA. It returns when clients can connect. The certificate includes
// names; the first of them is the host in the platform's URL. Without names that is the
// host of address.
func (s *Server) Start(address string, names ...string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("address %q: %w", address, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost" // all interfaces: clients need a name the certificate has
	}
	names = append(slices.Clone(names), host)
	certificate, err := s.authority.issue(names...)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.address != "" {
		return errors.New("already started")
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	s.url = platformURL(names[0], port)
	s.address = listener.Addr().String()
	s.certificate = certificate
	s.serve(listener)
	return nil
}

// platformURL leaves out the default port, as libraries do.
func platformURL(host, port string) string {
	return "https://" + strings.TrimSuffix(net.JoinHostPort(host, port), ":443")
}

// Restart listens again, on the same address, after Stop.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.address == "" || s.running != nil {
		return errors.New("not stopped")
	}
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		return err
	}
	s.serve(listener)
	return nil
}

// serve starts accepting; the caller holds mu. Failed handshakes are logged at
// debug level: a client that does not trust the CA sees the error itself.
func (s *Server) serve(listener net.Listener) {
	r := &running{
		server: &http.Server{
			Handler:           s,
			TLSConfig:         &tls.Config{Certificates: []tls.Certificate{s.certificate}, MinVersion: tls.VersionTLS12},
			ReadHeaderTimeout: headerTimeout,
			ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
		},
		done: make(chan struct{}),
	}
	s.running = r
	go func() {
		defer close(r.done)
		if err := r.server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			slog.Error("mockidp stopped", "error", err)
		}
	}()
}

// Stop simulates an outage: it closes the listener and every connection at once.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return
	}
	_ = s.running.server.Close() // errors of closing connections do not matter
	<-s.running.done
	s.running = nil
}

// Close stops serving, and lets another process have the directory of Open.
func (s *Server) Close() {
	s.Stop()
	if s.store != nil {
		_ = s.store.lock.Close() // of a file that nothing was written to
	}
}

// URL is the platform's URL: https://host:port, without a slash at the end.
func (s *Server) URL() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.url
}

// issuer is the iss claim of a tenant's tokens of one version, and the issuer
// in that version's metadata.
func (s *Server) issuer(tenantID string, version int) string {
	if version == 1 {
		return s.URL() + "/" + tenantID + "/"
	}
	return s.URL() + "/" + tenantID + "/v2.0"
}

// recorded returns a handler that records the request and answers with respond.
func (s *Server) recorded(flow string, respond func(*http.Request) answer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		seen := Request{Method: r.Method, Path: r.URL.Path, Flow: flow}
		s.respond(w, r, seen, func() answer { return respond(r) })
	}
}

// respond handles every request except those to /mock/. It records the request when it
// arrives, applies a Fault if one matches, and records the outcome before it sends the
// answer, so that a client that has its answer also finds the record.
func (s *Server) respond(w http.ResponseWriter, r *http.Request, seen Request, respond func() answer) {
	seen.Time = time.Now()
	record := s.journal.open(seen)
	fault := s.faults.take(seen)
	if !wait(r.Context(), fault.Delay) {
		// The client left. net/http would answer 200 for a handler that returns, and
		// who closes TLS may still read it.
		panic(http.ErrAbortHandler)
	}
	if fault.Drop {
		panic(http.ErrAbortHandler) // net/http's way to close without an answer
	}
	var a answer
	if fault.answers() {
		a = fault.answer(s.URL(), r, seen.refuse)
	} else {
		a = respond()
	}
	a.identify(r)
	s.allowPages(r, seen, a.header)
	s.journal.finish(record, a)
	a.write(w)
}

// wait reports whether the delay passed before the context ended.
func wait(ctx context.Context, delay time.Duration) bool {
	if delay <= 0 {
		return true
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
