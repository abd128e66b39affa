package mockidp

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// claimsRequest is the claims parameter ("Claims challenges, claims requests and client
// capabilities"; OpenID Connect Core, section 5.5).
type claimsRequest struct {
	capable  bool       // the client declared the capability cp1, which puts xms_cc into the token
	contexts [][]string // authentication contexts to meet (acrs): one of each list
}

// contextName is the form of an authentication context, such as c1.
var contextName = regexp.MustCompile(`^[A-Za-z0-9:._-]{1,64}$`)

// requestedClaim is one entry of a claims request.
type requestedClaim struct {
	Value  string   `json:"value"`
	Values []string `json:"values"`
}

// parseClaims reads the claims parameter. Claims that the platform does not know are
// ignored.
func parseClaims(text string) (claimsRequest, *refusal) {
	var parsed claimsRequest
	if text == "" {
		return parsed, nil
	}
	type token struct {
		Capabilities requestedClaim  `json:"xms_cc"`
		Contexts     *requestedClaim `json:"acrs"`
	}
	var request struct {
		AccessToken token `json:"access_token"`
		IDToken     token `json:"id_token"`
	}
	if err := json.Unmarshal([]byte(text), &request); err != nil {
		return parsed, refuse(90013, "The 'claims' request parameter is not valid JSON of a claims request.")
	}
	parsed.capable = slices.ContainsFunc(request.AccessToken.Capabilities.Values, func(value string) bool {
		return strings.EqualFold(value, "cp1")
	})
	for _, asked := range []*requestedClaim{request.AccessToken.Contexts, request.IDToken.Contexts} {
		if asked == nil {
			continue
		}
		names := asked.Values
		if asked.Value != "" {
			names = []string{asked.Value}
		}
		for _, name := range names {
			if !contextName.MatchString(name) {
				return parsed, refuse(90013, "The 'claims' request parameter asks for an authentication context that does not exist.")
			}
		}
		if len(names) > 0 {
			parsed.contexts = append(parsed.contexts, names)
		}
	}
	return parsed, nil
}

// unmet returns the contexts that the sign-in has yet to meet: the first of each list of
// which it has none.
func (c claimsRequest) unmet(in signIn) []string {
	var unmet []string
	for _, names := range c.contexts {
		met := slices.ContainsFunc(names, func(name string) bool { return slices.Contains(in.Contexts, name) })
		if !met && !slices.Contains(unmet, names[0]) {
			unmet = append(unmet, names[0])
		}
	}
	return unmet
}

// mustProve refuses a token until the user has met the authentication contexts, at most two.
// Its claims are for the client to send with an authorization request.
func mustProve(contexts []string, resource *App) *refusal {
	refused := refuse(50076, "Due to a configuration change made by your administrator, or because you moved to a new location, "+
		"you must use multi-factor authentication to access '%s'.", resource.ClientID)
	refused.suberror = "basic_action"
	// A list of values would ask for one of them only.
	var tokens []string
	for i, token := range []string{"access_token", "id_token"} {
		if i < len(contexts) {
			tokens = append(tokens, fmt.Sprintf(`%q:{"acrs":{"essential":true,"value":%q}}`, token, contexts[i]))
		}
	}
	refused.claims = "{" + strings.Join(tokens, ",") + "}"
	return refused
}
