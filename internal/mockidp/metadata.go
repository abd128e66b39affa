package mockidp

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
)

// findTenant resolves the tenant of a URL. For common or organizations it returns the
// word as path, and no tenant.
func (s *Server) findTenant(name string) (tenant Tenant, path string, refused *refusal) {
	name = strings.ToLower(name)
	if name == "common" || name == "organizations" {
		return Tenant{}, name, nil
	}
	tenant, known := s.dir().tenants[name]
	if !known && name == s.externalTenant() {
		tenant, known = s.dir().first, true
	}
	if !known {
		return Tenant{}, "", refuse(90002, "Tenant '%s' not found. Check to make sure you have the correct tenant ID.", name)
	}
	return tenant, tenant.ID, nil
}

// externalTenant is the name by which libraries ask for the tenant of an external directory
// whose authority is the host alone: SUB.onmicrosoft.com at SUB.ciamlogin.com. Here it is the
// first tenant.
func (s *Server) externalTenant() string {
	address, err := url.Parse(s.URL())
	if err != nil {
		return ""
	}
	name, external := strings.CutSuffix(strings.ToLower(address.Hostname()), ".ciamlogin.com")
	if !external {
		return ""
	}
	return name + ".onmicrosoft.com"
}

// unknownTenant is the refusal of discovery. Its error code differs from the token
// endpoint's.
func (s *Server) unknownTenant(r *http.Request, refused *refusal) answer {
	refused.code = "invalid_tenant"
	return refused.answer(s.URL(), r)
}

// metadata answers OpenID Connect discovery in the form of version 1 or 2.
func (s *Server) metadata(version int) func(*http.Request) answer {
	return func(r *http.Request) answer {
		tenant, path, refused := s.findTenant(r.PathValue("tenant"))
		if refused != nil {
			return s.unknownTenant(r, refused)
		}
		issuer := s.issuer("{tenantid}", version) // the literal, for common and organizations
		if tenant.ID != "" {
			issuer = s.issuer(tenant.ID, version)
		}
		return jsonAnswer(http.StatusOK, s.metadataDocument(path, issuer, version))
	}
}

// metadataDocument lists what works, in Entra's words. The endpoints of version 1 do not
// exist here, and code_challenge_methods_supported is left out as it is at Entra: who relies
// on it shall notice.
func (s *Server) metadataDocument(path, issuer string, version int) map[string]any {
	base := s.URL() + "/" + path
	document := map[string]any{
		"issuer":                                issuer,
		"jwks_uri":                              base + "/discovery/keys",
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"tenant_region_scope":                   nil,
		"cloud_instance_name":                   "microsoftonline.com",
		"cloud_graph_host_name":                 "graph.windows.net",
		"msgraph_host":                          "graph.microsoft.com",
		"rbac_url":                              "https://pas.windows.net",
	}
	if version == 1 {
		return document
	}
	maps.Copy(document, map[string]any{
		"authorization_endpoint":                base + "/oauth2/v2.0/authorize",
		"token_endpoint":                        base + "/oauth2/v2.0/token",
		"device_authorization_endpoint":         base + "/oauth2/v2.0/devicecode",
		"end_session_endpoint":                  base + "/oauth2/v2.0/logout",
		"userinfo_endpoint":                     s.URL() + "/oidc/userinfo",
		"jwks_uri":                              base + "/discovery/v2.0/keys",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"response_modes_supported":              responseModes,
		"response_types_supported":              responseTypes,
		"scopes_supported":                      openIDScopes,
		"claims_supported": []string{
			"sub", "iss", "aud", "exp", "iat", "nonce", "preferred_username", "name", "tid", "ver", "c_hash", "email",
		},
		"request_uri_parameter_supported": false,
		"http_logout_supported":           true,
		"frontchannel_logout_supported":   true,
	})
	return document
}

// publishedKeys answers with the JWKS whose issuers are of version 1 or 2.
func (s *Server) publishedKeys(version int) func(*http.Request) answer {
	return func(r *http.Request) answer {
		if _, _, refused := s.findTenant(r.PathValue("tenant")); refused != nil {
			return s.unknownTenant(r, refused)
		}
		return jsonAnswer(http.StatusOK, s.keys.document(s.issuer("{tenantid}", version)))
	}
}

// instance answers instance discovery: whether an authority's host is genuine,
// and where the metadata of its tenant is.
func (s *Server) instance(r *http.Request) answer {
	endpoint, err := url.Parse(r.URL.Query().Get("authorization_endpoint"))
	if err != nil || endpoint.Host == "" {
		return missing("authorization_endpoint").answer(s.URL(), r)
	}
	host := strings.TrimPrefix(s.URL(), "https://")
	if endpoint.Scheme != "https" || !strings.EqualFold(strings.TrimSuffix(endpoint.Host, ":443"), host) {
		return refuse(50049, "Unknown or invalid instance.").answer(s.URL(), r)
	}
	tenant, version, _ := strings.Cut(strings.TrimPrefix(endpoint.Path, "/"), "/oauth2/")
	infix := ""
	if strings.HasPrefix(version, "v2.0/") {
		infix = "/v2.0"
	}
	return jsonAnswer(http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": s.URL() + "/" + tenant + infix + "/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata": []map[string]any{
			{"preferred_network": host, "preferred_cache": host, "aliases": []string{host}},
		},
	})
}
