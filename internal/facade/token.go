package facade

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"middletier/internal/door"
	"middletier/internal/obo"
)

// The grants that are relayed (RFC 6749, sections 4.1.3 and 6).
const (
	grantCode    = "authorization_code"
	grantRefresh = "refresh_token"
)

// verifierForm is a code verifier (RFC 7636, section 4.1).
var verifierForm = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)

// token relays a request to the provider's token endpoint.
func (s *Server) token(as *server, c echo.Context) error {
	answer, err := s.redeem(as, c.Request())
	if err != nil {
		return s.refuse(c, err)
	}
	return door.RespondJSON(c, http.StatusOK, answer)
}

// redeem gets the tokens that r asks for. They are passed on only if this service accepts the
// access token: a code may have been issued for another resource, by the provider's own
// authorization endpoint.
func (s *Server) redeem(as *server, r *http.Request) (obo.Relayed, error) {
	if r.Header["Authorization"] != nil {
		return obo.Relayed{}, errClientProof
	}
	asked, err := readForm(r)
	if err != nil {
		return obo.Relayed{}, err
	}
	if asked.get("client_id") != as.ClientID {
		return obo.Relayed{}, errClient
	}
	if asked.namesForeign(s.listener.BaseURL(r), r.Host) {
		return obo.Relayed{}, errTarget
	}
	wanted, err := as.grant(asked)
	if err != nil {
		return obo.Relayed{}, err
	}
	answer, err := s.relay(as, r, wanted)
	if err != nil {
		return obo.Relayed{}, err
	}
	event := door.EventOf(r)
	if event.Caller, err = s.listener.Validate(event, answer.AccessToken); err != nil && !isUnavailable(err) {
		err = errors.Join(errForeign, err)
	}
	if err != nil {
		return obo.Relayed{}, err
	}
	answer.Scope = as.scopes.withoutEverything(answer.Scope)
	return answer, nil
}

// grant is a form for the provider. It has no parameter that the client need not send.
type grant struct {
	form url.Values
	all  bool // it asks for all scopes, since the client named none
}

// grant returns the form for the provider.
func (as *server) grant(asked parameters) (*grant, error) {
	wanted := &grant{}
	switch kind := asked.get("grant_type"); {
	case kind == "":
		return nil, invalidRequest("grant_type is missing.")
	case kind == grantCode && asked.get("code") == "":
		return nil, invalidRequest("code is missing.")
	case kind == grantCode && !verifierForm.MatchString(asked.get("code_verifier")):
		return nil, invalidRequest("code_verifier is missing or malformed.")
	case kind == grantCode && !as.redirects.allows(asked.get("redirect_uri")):
		return nil, &oauthError{"invalid_grant", "The redirect URI is not one that this authorization server allows."}
	case kind == grantCode:
		wanted.form = selected(asked, "grant_type", "code", "code_verifier", "redirect_uri")
	case kind == grantRefresh && asked.get("refresh_token") == "":
		return nil, invalidRequest("refresh_token is missing.")
	case kind == grantRefresh:
		wanted.form = selected(asked, "grant_type", "refresh_token")
	default:
		return nil, &oauthError{"unsupported_grant_type", "grant_type must be authorization_code or refresh_token."}
	}
	ours, beside, err := as.scopes.read(asked.get("scope"))
	switch {
	case err != nil:
		return nil, err
	case ours != nil:
		wanted.form.Set("scope", strings.Join(slices.Concat(ours, beside), " "))
	case wanted.form.Has("refresh_token"): // at the provider it is good for any resource
		wanted.all = true
		wanted.form.Set("scope", strings.Join(append(slices.Clone(as.scopes.full), offlineAccess), " "))
	} // a code has the scopes that it was issued for
	return wanted, nil
}

// selected returns the parameters of these names.
func selected(asked parameters, names ...string) url.Values {
	form := url.Values{}
	for _, name := range names {
		form.Set(name, asked.get(name))
	}
	return form
}

// relay sends a form to the provider. If it asks for all scopes, it is refused as soon as the
// user has not agreed to one of them; then those are asked for that the user has agreed to.
func (s *Server) relay(as *server, r *http.Request, wanted *grant) (obo.Relayed, error) {
	event := door.EventOf(r)
	answer, err := s.relayOnce(event, as, r, wanted.form)
	var refused *obo.Error
	if !wanted.all || !errors.As(err, &refused) || refused.Kind != obo.ConsentRequired {
		return answer, err
	}
	wanted.form.Set("scope", as.scopes.everything+" "+offlineAccess)
	return s.relayOnce(event, as, r, wanted.form)
}

func (s *Server) relayOnce(ctx context.Context, as *server, r *http.Request, form url.Values) (obo.Relayed, error) {
	answer, err := as.Relay(ctx, networkOf(s.listener.Address(r)).String(), form)
	flow, _ := obo.RelayFlow(form.Get("grant_type"))
	s.listener.Telemetry.Token(ctx, string(flow), string(obo.IdentityProvider), obo.Outcome(err))
	return answer, err
}
