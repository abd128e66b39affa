package mockidp

import (
	"net/http"
	"strings"
)

// exposedHeaders are the headers that scripts of another origin may read.
const exposedHeaders = "x-ms-request-id, client-request-id, Retry-After, WWW-Authenticate"

// allowPages lets pages of other origins read the answer, a refusal or a fault too, where they
// may. Metadata and keys are no secret.
func (s *Server) allowPages(r *http.Request, seen Request, header map[string]string) {
	switch {
	case seen.token:
		s.allowOrigin(r, seen.Form.Get("client_id"), header)
	case seen.Flow == "userinfo" && header["Vary"] == "": // else the token's client has decided
		s.allowOrigin(r, "", header)
	case seen.Flow == "metadata" || seen.Flow == "keys":
		header["Access-Control-Allow-Origin"] = "*"
		header["Access-Control-Expose-Headers"] = exposedHeaders
	}
}

// allowOrigin lets the page that asked read the answer, if one of the client's redirect URIs
// for single-page applications has its origin; without client, one of any app's.
func (s *Server) allowOrigin(r *http.Request, clientID string, header map[string]string) {
	header["Vary"] = "Origin"
	origin := r.Header.Get("Origin")
	if origin == "" {
		return
	}
	for _, app := range s.dir().apps {
		if (clientID == "" || strings.EqualFold(app.ClientID, clientID)) && app.spaOrigin(origin) {
			header["Access-Control-Allow-Origin"] = origin
			header["Access-Control-Expose-Headers"] = exposedHeaders
			return
		}
	}
}

// preflight answers OPTIONS of what pages of single-page applications call (Fetch standard,
// "CORS-preflight fetch"). It does not know the client yet.
func (s *Server) preflight(methods string) func(*http.Request) answer {
	return func(r *http.Request) answer {
		a := answer{status: http.StatusNoContent, header: map[string]string{}}
		s.allowOrigin(r, "", a.header)
		if a.header["Access-Control-Allow-Origin"] != "" {
			a.header["Access-Control-Allow-Methods"] = methods
			if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
				a.header["Access-Control-Allow-Headers"] = asked
			}
		}
		return a
	}
}

// publicPreflight answers OPTIONS of a public document.
func publicPreflight(r *http.Request) answer {
	a := answer{status: http.StatusNoContent, header: map[string]string{}}
	a.header["Access-Control-Allow-Methods"] = "GET, OPTIONS"
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		a.header["Access-Control-Allow-Headers"] = asked
	}
	return a
}
