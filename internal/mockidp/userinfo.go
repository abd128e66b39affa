package mockidp

import (
	"net/http"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// userInfo answers GET and POST /oidc/userinfo for an access token of Microsoft Graph ("Userinfo
// endpoint"; OpenID Connect Core, section 5.3).
func (s *Server) userInfo(r *http.Request) answer {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return noUserInfo("", "The request has no access token.")
	}
	var claims assertionClaims
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithStrictDecoding(), jwt.WithExpirationRequired())
	if _, err := parser.ParseWithClaims(token, &claims, s.ownKey); err != nil {
		return noUserInfo("invalid_token", "The access token is not valid.")
	}
	graph := s.dir().app(graphID)
	user, client := s.dir().user(claims.ObjectID), s.dir().app(claims.AppID+claims.AZP)
	if graph == nil || !graph.isAudience(claims.Audience) || user == nil || client == nil || claims.Scopes == "" {
		return noUserInfo("invalid_token", "The access token is not one of a user for Microsoft Graph.")
	}
	// sub is that of the client's ID token (OpenID Connect Core, section 5.3.2).
	a := jsonAnswer(http.StatusOK, map[string]string{
		"sub": pairwise(user, client), "name": user.Name, "email": user.Username,
	})
	a.header["Cache-Control"] = "no-store"
	s.allowOrigin(r, client.ClientID, a.header)
	return a
}

// noUserInfo refuses a token as RFC 6750, section 3, has it.
func noUserInfo(code, text string) answer {
	a := jsonAnswer(http.StatusUnauthorized, map[string]any{"error": map[string]string{
		"code": "InvalidAuthenticationToken", "message": text,
	}})
	a.header["WWW-Authenticate"] = `Bearer realm="userinfo"`
	if code != "" {
		a.header["WWW-Authenticate"] += `, error="` + code + `"`
	}
	a.header["Cache-Control"] = "no-store"
	a.refusal = &refusal{code: "invalid_token"}
	return a
}
