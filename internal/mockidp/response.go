package mockidp

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// issueResponse is the response to a request that the user met.
func (s *Server) issueResponse(r *http.Request, in signingIn, who account, user *User) answer {
	a := in.authorization
	if a.device != "" {
		return s.approveDevice(r, in, who)
	}
	parameters := url.Values{}
	g := userGrant{
		tokenRequest: tokenRequest{tenant: s.dir().tenants[strings.ToLower(user.TenantID)], client: a.client, now: a.now},
		user:         user, requested: a.requested, signIn: who.signIn, nonce: a.query.Get("nonce"),
	}
	if a.code {
		parameters.Set("code", s.sealer.Load().seal(sealedCode, codeRecord{
			ClientID: a.client.ClientID, TenantID: user.TenantID, ObjectID: user.ObjectID,
			RedirectURI: a.redirectURI, Platform: a.platform, Challenge: a.query.Get("code_challenge"),
			Scope: a.query.Get("scope"), Nonce: g.nonce, Capable: a.claims.capable, SignIn: who.signIn,
			Expires: a.now.Add(codeLifetime), ID: randomID(16),
		}))
	}
	if a.idToken {
		claims := s.idTokenClaims(g)
		if a.code {
			claims["c_hash"] = halfHash(parameters.Get("code"))
		}
		parameters.Set("id_token", s.Sign(claims))
	}
	if a.query.Get("client_info") == "1" {
		parameters.Set("client_info", clientInfo(user))
	}
	parameters.Set("session_state", who.signIn.SessionID)
	s.sessions.join(in.browser, user.ObjectID, a.client.ClientID)
	return s.send(r, a, parameters)
}

// halfHash is how an ID token names the code beside it (OpenID Connect Core, section
// 3.3.2.11).
func halfHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

// clientInfo tells Microsoft's libraries the account's ids.
func clientInfo(user *User) string {
	info, _ := json.Marshal(map[string]string{"uid": user.ObjectID, "utid": user.TenantID}) // strings always encode
	return base64.RawURLEncoding.EncodeToString(info)
}

// sendRefusal sends an error to the redirect URI (RFC 6749, section 4.1.2.1).
func (s *Server) sendRefusal(r *http.Request, a *authorization, refused *refusal) answer {
	if a.device != "" {
		return s.refuseDevice(r, a, refused)
	}
	report := refused.report(r)
	parameters := url.Values{"error": {refused.code}, "error_description": {report.description}}
	if len(refused.numbers) > 0 {
		parameters.Set("error_uri", refused.uri(s.URL()))
	}
	if refused.suberror != "" {
		parameters.Set("error_subcode", refused.suberror)
	}
	if refused.claims != "" {
		parameters.Set("claims", refused.claims)
	}
	answer := s.send(r, a, parameters)
	answer.refusal = refused
	return answer
}

// send sends the parameters to the redirect URI as the request wanted.
func (s *Server) send(r *http.Request, a *authorization, parameters url.Values) answer {
	if state, has := a.query["state"]; has {
		parameters["state"] = state
	}
	switch a.mode {
	case "form_post":
		return s.formPost(a, parameters)
	case "fragment":
		return redirect(r, withFragment(a.redirectURI, parameters))
	}
	return redirect(r, withQuery(a.redirectURI, parameters))
}

// redirect sends the browser on with a GET.
func redirect(r *http.Request, location string) answer {
	status := http.StatusFound
	if r.Method == http.MethodPost {
		status = http.StatusSeeOther
	}
	return answer{status: status, header: map[string]string{
		"Location": location, "Cache-Control": "no-store, no-cache", "Pragma": "no-cache", "Referrer-Policy": "strict-origin",
	}}
}
