package api

import (
	"net/http"
	"net/netip"

	"middletier/internal/door"
	"middletier/internal/facade"
	"middletier/internal/validate"
)

// facadeListener is what this listener has for the authorization servers of APIs.
func (s *Server) facadeListener() facade.Listener {
	return facade.Listener{
		BaseURL: s.baseURL, BasePath: s.config.BasePath, Address: s.clientAddress, SetCacheable: s.door.SetCacheableIfFixed,
		Validate: func(event *door.Event, token string) (*validate.Caller, error) {
			return s.door.Validate(event, token, nil)
		},
		Telemetry: s.config.Telemetry,
	}
}

// clientAddress returns the address of the client of r, as far as trusted proxies know it, or
// the zero value.
func (s *Server) clientAddress(r *http.Request) netip.Addr {
	if hops := s.proxies.Client(r).For; len(hops) > 0 {
		return hops[0]
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return peer.Addr()
}

// issuerOf returns the issuer of the authorization server where clients of a resource get
// tokens: the provider's, unless an API has one of its own. That is for users, and, if the API
// has an MCP endpoint, for that alone: its scopes are those of the endpoint.
func (s *Server) issuerOf(of resource) (string, error) {
	if of.app || of.endpoint == "" && of.api != "" && s.config.APIs[of.api].MCP != nil {
		return s.config.Validator.Issuer()
	}
	if issuer, ok := s.config.Facade.Issuer(of.base, of.api); ok {
		return issuer, nil
	}
	return s.config.Validator.Issuer()
}
