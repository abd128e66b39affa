package mockidp

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// An agent identity is an app without a credential. Its blueprint, the app that has it among
// its Agents, gets a token T1 that vouches for it, which is the agent's client assertion.
// With T1 the agent gets tokens of its own and on behalf of users, and T2, which vouches for
// it in turn when it asks for a token of one of its own users ("Microsoft Entra Agent ID",
// "Agent identity authentication protocols").

// The resource for which T1 and T2 are issued, in every tenant.
const (
	tokenExchangeID  = "fb60f99c-7a34-4190-8149-302f77469936"
	tokenExchangeURI = "api://AzureADTokenExchange"
)

func newTokenExchange() *App {
	return &App{
		Name: "AzureADTokenExchange", MultiTenant: true, ClientID: tokenExchangeID, ObjectID: tokenExchangeID,
		IDURIs: []string{tokenExchangeURI}, OptionalClaims: []string{"idtyp"},
	}
}

// newAgentApp returns the app that an agent identity is for the token endpoint. Its service
// principal's object id is its client id, as at Entra.
func newAgentApp(blueprint *App, agent Agent) *App {
	return &App{
		Name: agent.Name, TenantID: blueprint.TenantID, MultiTenant: blueprint.MultiTenant,
		ClientID: agent.ClientID, ObjectID: agent.ClientID, blueprint: blueprint, agentUsers: agent.Users,
	}
}

// mayActAs reports whether the user is one of the agent's own.
func (a *App) mayActAs(user *User) bool {
	return slices.ContainsFunc(a.agentUsers, func(name string) bool { return strings.EqualFold(name, user.Username) })
}

// agentSubject is the sub claim of a T1.
func agentSubject(tenantID, blueprintID, agentID string) string {
	return "/eid1/c/pub/t/" + packGUID(tenantID) + "/a/" + packGUID(blueprintID) + "/" + strings.ToLower(agentID)
}

// packGUID writes a GUID as base64url, in the byte order of Windows.
func packGUID(text string) string {
	bytes, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(bytes) != 16 {
		return text // which the directory does not have
	}
	slices.Reverse(bytes[:4])
	slices.Reverse(bytes[4:6])
	slices.Reverse(bytes[6:8])
	return base64.RawURLEncoding.EncodeToString(bytes)
}

// Facets of actors and subjects in tokens ("Token claims reference for agents"); 11 is an
// agent identity and 13 an agent's user.
const (
	agentActor       = "3 9 11"
	agentSubjectApp  = "9 3 11"
	agentSubjectUser = "13"
)

// addAgent adds what the token of an agent says beside the usual.
func (i issue) addAgent(claims map[string]any) {
	claims["xms_par_app_azp"], claims["xms_act_fct"] = i.client.blueprint.ClientID, agentActor
	switch {
	case i.user == nil:
		claims["idtyp"], claims["xms_sub_fct"] = "app", agentSubjectApp
	case i.client.mayActAs(i.user):
		claims["idtyp"], claims["xms_sub_fct"] = "user", agentSubjectUser
	default:
		claims["idtyp"] = "user"
	}
}

// exchangeClaims are the claims of T1 and T2 that the platform reads.
type exchangeClaims struct {
	jwt.RegisteredClaims
	TenantID string `json:"tid"`
	AZP      string `json:"azp"`
	Type     string `json:"idtyp"`
}

// checkT1 accepts the token with which the blueprint vouches for the agent.
func (s *Server) checkT1(r tokenRequest, assertion string) *refusal {
	claims, refused := s.readExchange(r, assertion)
	if refused != nil {
		return refused
	}
	blueprint := r.client.blueprint
	if !strings.EqualFold(claims.AZP, blueprint.ClientID) ||
		claims.Subject != agentSubject(r.tenant.ID, blueprint.ClientID, r.client.ClientID) {
		return noFederation(700213, claims.RegisteredClaims)
	}
	return nil
}

// checkT2 accepts the token with which the agent vouches for itself.
func (s *Server) checkT2(r tokenRequest, assertion string) *refusal {
	claims, refused := s.readExchange(r, assertion)
	if refused != nil {
		return refused
	}
	if r.client.blueprint == nil || !strings.EqualFold(claims.AZP, r.client.ClientID) ||
		!strings.EqualFold(claims.Subject, r.client.ObjectID) {
		return noFederation(700213, claims.RegisteredClaims)
	}
	return nil
}

// readExchange checks what T1 and T2 have in common: this platform issued them in this
// tenant, for the exchange, to an app.
func (s *Server) readExchange(r tokenRequest, assertion string) (exchangeClaims, *refusal) {
	var claims exchangeClaims
	if _, _, err := jwt.NewParser().ParseUnverified(assertion, &claims); err != nil || hasLineBreak(assertion) {
		return claims, malformed()
	}
	if claims.Issuer != s.issuer(r.tenant.ID, 2) {
		return claims, noFederation(700211, claims.RegisteredClaims)
	}
	claims = exchangeClaims{}
	if err := parseClientAssertion(assertion, &claims, s.ownKey, r.now, "RS256"); err != nil {
		return claims, refuseClientAssertion(err)
	}
	switch {
	case len(claims.Audience) != 1 || !strings.EqualFold(claims.Audience[0], tokenExchangeID):
		return claims, noFederation(700212, claims.RegisteredClaims)
	case claims.Type != "app" || !strings.EqualFold(claims.TenantID, r.tenant.ID):
		return claims, noFederation(700213, claims.RegisteredClaims)
	}
	return claims, nil
}

// notForAgents refuses a sign-in of people to an agent: they sign in to clients, which call the
// agent's blueprint.
func notForAgents(client *App) *refusal {
	if client.blueprint == nil {
		return nil
	}
	return refuse(82014, "Agentic application '%s' is not permitted to sign users in.", client.ClientID)
}

// vouchedAgent returns the sub claim of the token that a blueprint asked for with fmi_path,
// or "" if it asked for none.
func (s *Server) vouchedAgent(r tokenRequest) (string, *refusal) {
	path := r.form.Get("fmi_path")
	if path == "" {
		return "", nil
	}
	agent := s.dir().app(path)
	if agent == nil || agent.blueprint == nil || !strings.EqualFold(agent.blueprint.ClientID, r.client.ClientID) {
		return "", unknownApp(path, r.tenant)
	}
	return agentSubject(r.tenant.ID, r.client.ClientID, agent.ClientID), nil
}

// userFIC gives an agent a token of one of its own users.
func (s *Server) userFIC(r tokenRequest) (map[string]any, *refusal) {
	return s.agentUser(r, "user_federated_identity_credential")
}

// agentUser is userFIC with the name of the parameter that holds T2.
func (s *Server) agentUser(r tokenRequest, parameter string) (map[string]any, *refusal) {
	assertion, id, username := r.form.Get(parameter), r.form.Get("user_id"), r.form.Get("username")
	switch {
	case assertion == "":
		return nil, missing(parameter)
	case id == "" && username == "":
		return nil, missing("username")
	case id != "" && username != "":
		return nil, refuse(90013, "The parameters 'user_id' and 'username' exclude each other.")
	}
	if refused := s.checkT2(r, assertion); refused != nil {
		return nil, refused
	}
	user := s.dir().usernames[strings.ToLower(username)]
	if guid.MatchString(id) {
		user = s.dir().users[strings.ToLower(id)]
	}
	switch {
	case user == nil || !strings.EqualFold(user.TenantID, r.tenant.ID):
		return nil, unknownUser(id+username, r.tenant.ID)
	case !r.client.mayActAs(user):
		return nil, refuse(700213, "No matching federated identity record found for presented assertion subject '%s': "+
			"the user '%s' is not of this agent identity.", r.client.ObjectID, id+username)
	}
	return s.userAnswer(r, user, r.form.Get("scope"), signIn{Time: r.now})
}
