package mockidp

import (
	"net/http"
	"strings"
)

// wrongPassword is what no user has as a password. Any other that is not empty is right: the
// platform keeps no passwords.
const wrongPassword = "wrong"

// password answers the grant in which the app itself asks for the password ("Resource Owner
// Password Credentials"). No real app should.
func (s *Server) password(r tokenRequest) (map[string]any, *refusal) {
	for _, name := range []string{"username", "password"} {
		if r.form.Get(name) == "" {
			return nil, missing(name)
		}
	}
	if r.path == "common" {
		return nil, notOnCommon()
	}
	if refused := notForAgents(r.client); refused != nil {
		return nil, refused
	}
	username := r.form.Get("username")
	user := s.dir().usernames[strings.ToLower(username)]
	if user == nil || r.tenant.ID != "" && !strings.EqualFold(user.TenantID, r.tenant.ID) {
		return nil, unknownUser(username, r.path)
	}
	if r.form.Get("password") == wrongPassword {
		return nil, refuse(50126, "Error validating credentials due to invalid username or password.")
	}
	return s.userAnswer(r, user, r.form.Get("scope"), signIn{Time: r.now})
}

// userAnswer gives the client what it asked for of a user who has signed in.
func (s *Server) userAnswer(r tokenRequest, user *User, scope string, in signIn) (map[string]any, *refusal) {
	if r.tenant.ID == "" {
		r.tenant = s.dir().tenants[strings.ToLower(user.TenantID)]
	}
	g := userGrant{tokenRequest: r, user: user, signIn: in}
	if refused := s.grantScopes(&g, scope); refused != nil {
		return nil, refused
	}
	return s.userTokens(g), nil
}

func unknownUser(name, tenant string) *refusal {
	return refuse(50034, "The user account %s does not exist in the %s directory. "+
		"To sign into this application, the account must be added to the directory.", name, tenant)
}

// userRealm answers GET /common/userrealm/{user}, which libraries ask before they send a
// password: whether the user's domain signs in here, or elsewhere.
func (s *Server) userRealm(r *http.Request) answer {
	username := r.PathValue("user")
	name, domain, found := strings.Cut(username, "@")
	if !found || name == "" || domain == "" {
		return refuse(90023, "The user name '%s' is not a user principal name.", username).answer(s.URL(), r)
	}
	realm := map[string]any{
		"ver": "1.0", "account_type": "Unknown",
		"cloud_instance_name": "microsoftonline.com", "cloud_audience_urn": "urn:federation:MicrosoftOnline",
	}
	// Whether the user exists is not said, as at Entra.
	if tenant, known := s.dir().tenants[strings.ToLower(domain)]; known && strings.EqualFold(tenant.Domain, domain) {
		realm["account_type"], realm["domain_name"] = "Managed", domain
	}
	return jsonAnswer(http.StatusOK, realm)
}
