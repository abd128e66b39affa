package sidecar

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"middletier/internal/forwarded"
	"middletier/internal/problem"
	"middletier/internal/secretfile"
)

// isApplication reports whether a token request is the application's own. A proxy on this
// machine passes the caller check, as what it forwards for clients elsewhere does: so where
// there are such clients, a request that a proxy has forwarded is a client's. That makes
// less of the request, never more, whoever wrote the headers.
func (s *Server) isApplication(r *http.Request) bool {
	return s.callers.check(r) == nil && (len(s.config.TokenClients) == 0 || !isForwarded(r.Header))
}

// isForwarded reports whether a proxy says of itself that it has forwarded a request.
func isForwarded(h http.Header) bool {
	for name := range h {
		if forwarded.IsHeader(name) || name == "Via" || name == "X-Real-Ip" {
			return true
		}
	}
	return false
}

// authenticateClient returns the client of a request from another machine. It
// authenticates with its secret, by HTTP Basic or in the form (RFC 6749, section 2.3.1).
func (s *Server) authenticateClient(r *http.Request, form form) (*TokenClient, error) {
	given, err := clientCredentials(r.Header["Authorization"], form)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(s.config.TokenClients, func(client TokenClient) bool { return slices.Contains(given.ids, client.ClientID) })
	if i < 0 {
		return nil, errClient
	}
	client := s.config.TokenClients[i]
	secret, err := client.secret()
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(given.secrets, func(given string) bool { return equal(given, secret) }) {
		return nil, errClient
	}
	return &client, nil
}

// credentials are those of a client, with each meaning that they may have: in Basic,
// clients should encode both parts like a form, and many do not.
type credentials struct{ ids, secrets []string }

// clientCredentials reads the credentials of a request.
func clientCredentials(authorization []string, form form) (credentials, error) {
	id, secret := form.get("client_id"), form.get("client_secret")
	if len(authorization) == 0 {
		return credentials{[]string{id}, []string{secret}}, nil
	}
	user, password, ok := (&http.Request{Header: http.Header{"Authorization": authorization}}).BasicAuth()
	if !ok || len(authorization) > 1 {
		return credentials{}, errClient
	}
	given := credentials{meanings(user), meanings(password)}
	switch {
	case secret != "":
		return credentials{}, invalidForm("The client authenticates in two ways.") // RFC 6749, section 2.3
	case id != "" && !slices.Contains(given.ids, id):
		return credentials{}, invalidForm("client_id is not the client that authenticates.")
	case id != "":
		given.ids = []string{id}
	}
	return given, nil
}

// meanings returns text as it is, and decoded.
func meanings(text string) []string {
	decoded, err := url.QueryUnescape(text)
	if err != nil || decoded == text {
		return []string{text}
	}
	return []string{decoded, text}
}

// secret reads the client's secret, each time: its file may have changed.
func (c TokenClient) secret() (string, error) {
	secret, err := secretfile.ReadSecret(c.ClientSecretFile)
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w", errSecretFile, c.ClientSecretFile, err)
	}
	return secret, nil
}

var errSecretFile = problem.New("misconfigured", "The client's secret cannot be read here.")

// equal compares secrets in constant time, whatever their lengths. An empty one is equal
// to none.
func equal(given, secret string) bool {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && secret != ""
}

// tokenPath is the path of the token endpoint.
const tokenPath = "/oauth2/token"

// isTokenRequest reports whether r asks for a token at the token endpoint, plainly: other
// spellings of the path are for the application.
func isTokenRequest(r *http.Request) bool {
	return r.Method == http.MethodPost && asksFor(r, tokenPath)
}
