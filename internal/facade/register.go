package facade

import (
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/labstack/echo/v4"

	"middletier/internal/door"
)

// registration is what a client says about itself (RFC 7591, section 2), as far as it matters.
type registration struct {
	RedirectURIs []string `json:"redirect_uris"`
}

// registered is the client that every client is. It has no secret: the one of the registration
// at the provider never leaves this service.
type registered struct {
	ClientID      string   `json:"client_id"`
	RedirectURIs  []string `json:"redirect_uris"`
	Method        string   `json:"token_endpoint_auth_method"`
	Grants        []string `json:"grant_types"`
	ResponseTypes []string `json:"response_types"`
	Scope         string   `json:"scope"`
}

// register answers a registration (RFC 7591, section 3.2.1) with the client that is configured.
// Nothing is registered, and the answer to the same request is always the same.
func (s *Server) register(as *server, c echo.Context) error {
	body, err := readBody(c.Request(), "application/json")
	if err != nil {
		return s.refuse(c, err)
	}
	var client registration
	if err := json.Unmarshal(body, &client); err != nil {
		return s.refuse(c, &oauthError{"invalid_client_metadata", "The body is not a JSON object that describes a client."})
	}
	isForbidden := func(uri string) bool { return !as.redirects.allows(uri) }
	if len(client.RedirectURIs) == 0 || slices.ContainsFunc(client.RedirectURIs, isForbidden) {
		return s.refuse(c, errRegistered)
	}
	return door.RespondJSON(c, http.StatusCreated, registered{
		ClientID: as.ClientID, RedirectURIs: client.RedirectURIs, Method: "none", Grants: grantTypes, ResponseTypes: responseTypes,
		Scope: strings.Join(slices.Concat(as.scopes.full, openIDScopes), " "),
	})
}
