package sidecar

import (
	"cmp"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"middletier/internal/door"
)

// Limits of a request at the token endpoint.
const (
	maxForm       = 64 << 10 // twice the longest token
	maxFormFields = 50
	maxTargets    = 16

	// formTimeout is how long the form may take to arrive.
	formTimeout = 10 * time.Second
)

// form is the body of a request at the token endpoint. A field without a value is absent
// (RFC 6749, section 3.1).
type form url.Values

// repeatable are the fields of which a request may have several (RFC 8693, section 2.1).
var repeatable = []string{"audience", "resource"}

// readForm reads the body of r.
func readForm(r *http.Request) (form, error) {
	kind, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := strings.ToLower(cmp.Or(parameters["charset"], "utf-8"))
	if err != nil || kind != "application/x-www-form-urlencoded" || charset != "utf-8" || r.Header["Content-Encoding"] != nil {
		return nil, invalidForm("The body must be application/x-www-form-urlencoded.")
	}
	event := door.EventOf(r)
	if event.Upload == nil {
		return form{}, nil
	}
	body, err := event.Upload.ReadAll(maxForm, event.Start.Add(formTimeout))
	if err != nil {
		return nil, err
	}
	return parseForm(string(body))
}

func parseForm(body string) (form, error) {
	if strings.Count(body, "&") >= maxFormFields {
		return nil, invalidForm("The body has too many fields.")
	}
	fields, err := url.ParseQuery(body)
	if err != nil {
		return nil, invalidForm("The body is not application/x-www-form-urlencoded.")
	}
	for name, values := range fields {
		if len(values) > 1 && !slices.Contains(repeatable, name) {
			return nil, invalidForm("A field is there more than once.")
		}
		fields[name] = slices.DeleteFunc(values, func(value string) bool { return value == "" })
	}
	return form(fields), nil
}

// get returns the value of a field, "" if it is absent.
func (f form) get(name string) string { return url.Values(f).Get(name) }

// subject returns the token to trade, and the type of the one to issue.
func (f form) subject() (token, issued string, err error) {
	issued = cmp.Or(f.get("requested_token_type"), typeAccessToken)
	token = f.get("subject_token")
	switch kind := f.get("subject_token_type"); {
	case token == "":
		err = invalidForm("subject_token is missing.")
	case kind != typeAccessToken && kind != typeJWT:
		err = invalidForm("subject_token_type must be " + typeAccessToken + " or " + typeJWT + ".")
	case f.get("actor_token") != "" || f.get("actor_token_type") != "":
		err = invalidForm("actor_token is not supported: the provider names this service as the actor.")
	case issued != typeAccessToken && issued != typeJWT:
		err = invalidForm("requested_token_type must be " + typeAccessToken + " or " + typeJWT + ".")
	}
	return token, issued, err
}

// scopes returns the scopes that are asked for. Those of OpenID Connect name no resource,
// and are ignored.
func (f form) scopes() ([]string, error) {
	var scopes []string
	for scope := range strings.FieldsSeq(f.get("scope")) {
		if !slices.Contains(oidcScopes, scope) && !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	if len(scopes) > maxScopes {
		return nil, invalidForm("scope has too many scopes.")
	}
	return scopes, nil
}

// targets returns the names of the API: audiences and resources.
func (f form) targets() ([]string, error) {
	targets := slices.Concat(f["audience"], f["resource"])
	if len(targets) > maxTargets {
		return nil, invalidForm("There are too many audiences and resources.")
	}
	return targets, nil
}
