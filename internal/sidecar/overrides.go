package sidecar

import (
	"encoding/json"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"middletier/internal/downstream"
	"middletier/internal/obo"
	"middletier/internal/problem"
	"middletier/internal/validate"
)

// overrides are what the query of one request changes. A field that is empty changes
// nothing.
type overrides struct {
	Scopes          []string
	RequestAppToken bool
	ForceRefresh    bool
	Tenant          string // GUID or domain name
	Claims          string // a JSON object
	CorrelationID   string // GUID
	FMIPath         string
	SessionKey      string // LongRunningWebApiSessionKey

	RelativePath string
	HTTPMethod   string // in upper case
	AcceptHeader string
	ContentType  string
	ExtraHeader  map[string]string // by canonical name
	ExtraQuery   map[string]string

	ignored []string // what was given and never counts
}

// Limits of what a query may ask for. They are far above what clients send.
const (
	maxScopes  = 64
	maxScope   = 512
	maxValue   = 4 << 10 // bytes of one value, except claims
	maxClaims  = 16 << 10
	maxSession = 256
	maxMethod  = 32
	maxDomain  = 253 // of a domain name as text (RFC 1035, section 2.3.4)
)

// Prefixes, in lower case, of names that end with the name of a header or a parameter.
const (
	extraHeader = "extraheaderparameters."
	extraQuery  = "extraqueryparameters."
)

// override is one that is known: its canonical name, and what reads it.
type override struct {
	name string
	set  func(o *overrides, value string) error
}

// known are the overrides by their names in lower case. Scopes, which is a list, and names
// with a prefix are read separately.
var known = map[string]override{
	"scopes": {"Scopes", nil},
	"requestapptoken": {"RequestAppToken", func(o *overrides, v string) (err error) {
		o.RequestAppToken, err = readBool(v, errAppToken)
		return err
	}},
	"baseurl": {"BaseUrl", func(o *overrides, _ string) error { // where our token goes is configured, never asked for
		o.ignored = append(o.ignored, "BaseUrl")
		return nil
	}},
	"relativepath": {"RelativePath", func(o *overrides, v string) error { o.RelativePath = v; return nil }},
	"httpmethod":   {"HttpMethod", (*overrides).setMethod},
	"acceptheader": {"AcceptHeader", (*overrides).setAccept},
	"contenttype":  {"ContentType", (*overrides).setContentType},

	"acquiretokenoptions.tenant": {"AcquireTokenOptions.Tenant", func(o *overrides, v string) error {
		o.Tenant = strings.ToLower(v) // one tenant has one place in the cache
		return unless(validate.IsGUID(v) || isDomain(v), errTenant)
	}},
	"acquiretokenoptions.claims": {"AcquireTokenOptions.Claims", (*overrides).setClaims},
	"acquiretokenoptions.forcerefresh": {"AcquireTokenOptions.ForceRefresh", func(o *overrides, v string) (err error) {
		o.ForceRefresh, err = readBool(v, errRefresh)
		return err
	}},
	"acquiretokenoptions.correlationid": {"AcquireTokenOptions.CorrelationId", func(o *overrides, v string) error {
		var ok bool
		o.CorrelationID, ok = parseGUID(v)
		return unless(ok, errCorrelation)
	}},
	"acquiretokenoptions.fmipath": {"AcquireTokenOptions.FmiPath", func(o *overrides, v string) error {
		o.FMIPath = v
		return unless(isPrintable(v) && !strings.Contains(v, " "), errFMIPath)
	}},
	sessionKeyField: {"AcquireTokenOptions.LongRunningWebApiSessionKey", func(o *overrides, v string) error {
		o.SessionKey = v
		return unless(len(v) <= maxSession && isPrintable(v), errSessionKey)
	}},
}

var (
	errUnknown     = invalid("The query has an optionsOverride that is not known.")
	errControl     = invalid("A value in the query has a line break or another control character.")
	errLongValue   = invalid("A value in the query is too long.")
	errScopes      = invalid("optionsOverride.Scopes must be scopes of one resource, such as api://RESOURCE/.default.")
	errAppToken    = invalid("optionsOverride.RequestAppToken must be true or false.")
	errRefresh     = invalid("optionsOverride.AcquireTokenOptions.ForceRefresh must be true or false.")
	errMethod      = invalid("optionsOverride.HttpMethod is not a method that is sent to APIs.")
	errAccept      = invalid("optionsOverride.AcceptHeader must be a list of media types.")
	errContentType = invalid("optionsOverride.ContentType must be a media type.")
	errExtraHeader = invalid("An optionsOverride.ExtraHeaderParameters is not a header that can be sent. " +
		"Content-Type has an override of its own.")
	errTenant      = invalid("optionsOverride.AcquireTokenOptions.Tenant must be a GUID or a domain name.")
	errClaims      = invalid("optionsOverride.AcquireTokenOptions.Claims must be a claims request, a JSON object.")
	errCorrelation = invalid("optionsOverride.AcquireTokenOptions.CorrelationId must be a GUID.")
	errFMIPath     = invalid("optionsOverride.AcquireTokenOptions.FmiPath must be text without spaces.")
	errSessionKey  = invalid("optionsOverride.AcquireTokenOptions.LongRunningWebApiSessionKey is not a key of this service.")
)

// overrides reads the values of all options.
func (q query) overrides() (overrides, error) {
	if len(q.options) == 0 { // first, as o needs an allocation
		return overrides{}, nil
	}
	var o overrides
	for _, option := range q.options {
		if !option.given() {
			continue
		}
		if err := checkText(option); err != nil && option.key != "baseurl" {
			return overrides{}, err
		}
		if err := o.set(option); err != nil {
			return overrides{}, err
		}
	}
	return o, nil
}

// checkText refuses text that no value may have, also one that does not count.
func checkText(option option) error {
	for _, value := range option.values {
		if hasControl(value) || hasControl(option.name) {
			return errControl
		}
		if len(value) > maxValue && !(option.key == "acquiretokenoptions.claims" && len(value) <= maxClaims) {
			return errLongValue
		}
	}
	return nil
}

func (o *overrides) set(option option) error {
	key := option.key
	if key == "scopes" {
		return o.setScopes(option.values)
	}
	value := option.last()
	if known, ok := known[key]; ok {
		if value == "" {
			return nil
		}
		return known.set(o, value)
	}
	switch {
	case len(key) > len(extraHeader) && strings.HasPrefix(key, extraHeader):
		return o.setHeader(option.name[len(extraHeader):], value)
	case len(key) > len(extraQuery) && strings.HasPrefix(key, extraQuery):
		if value != "" {
			if o.ExtraQuery == nil {
				o.ExtraQuery = map[string]string{}
			}
			o.ExtraQuery[option.name[len(extraQuery):]] = value
		}
		return nil
	}
	return errUnknown
}

// oidcScopes are those that every token request has, and that name no resource.
var oidcScopes = []string{"openid", "profile", "offline_access"}

// setScopes reads a list: each value may hold several scopes, between blanks.
func (o *overrides) setScopes(values []string) error {
	for _, value := range values {
		for scope := range strings.FieldsSeq(value) {
			if !slices.Contains(oidcScopes, scope) && !slices.Contains(o.Scopes, scope) {
				o.Scopes = append(o.Scopes, scope)
			}
			if len(scope) > maxScope || !isPrintable(scope) || len(o.Scopes) > maxScopes {
				return errScopes
			}
		}
	}
	return unless(len(o.Scopes) > 0, errScopes)
}

func (o *overrides) setMethod(value string) error {
	method := strings.ToUpper(value)
	if !httpguts.ValidHeaderFieldName(method) || len(method) > maxMethod { // both are tokens (RFC 9110, section 9.1)
		return errMethod
	}
	switch method {
	case "TRACE", "TRACK", http.MethodConnect: // the first two may echo our token
		return errMethod
	}
	o.HTTPMethod = method
	return nil
}

func (o *overrides) setAccept(value string) error {
	for entry := range strings.SplitSeq(value, ",") {
		if !isMediaType(strings.TrimSpace(entry)) {
			return errAccept
		}
	}
	o.AcceptHeader = strings.TrimSpace(value)
	return nil
}

func (o *overrides) setContentType(value string) error {
	o.ContentType = strings.TrimSpace(value)
	return unless(isMediaType(o.ContentType) && !strings.Contains(o.ContentType, "*"), errContentType)
}

// setClaims accepts a claims request (OpenID Connect Core 1.0, section 5.5). What it says
// of this service's own capabilities is left out: they are configured, and added later.
func (o *overrides) setClaims(value string) error {
	var request, ofToken map[string]json.RawMessage
	if json.Unmarshal([]byte(value), &request) != nil || request == nil {
		return errClaims
	}
	o.Claims = strings.Trim(value, " ")
	if request[accessToken] == nil {
		return nil
	}
	if json.Unmarshal(request[accessToken], &ofToken) != nil || ofToken == nil {
		return errClaims
	}
	if ofToken[capabilities] == nil {
		return nil
	}
	delete(ofToken, capabilities)
	changed := map[string]any{}
	for name, member := range request {
		changed[name] = member
	}
	changed[accessToken] = ofToken
	claims, err := json.Marshal(changed)
	o.Claims = string(claims)
	return err
}

// Members of a claims request: what is asked of access tokens, and there what the client
// is capable of.
const (
	accessToken  = "access_token"
	capabilities = "xms_cc"
)

// setHeader reads a header for the API. Those that this service sets itself, or that an
// API could take for a proxy's word, are not sent; the client of this listener may be an
// older one that does not know.
func (o *overrides) setHeader(name, value string) error {
	if !httpguts.ValidHeaderFieldName(name) || !isPrintable(value) {
		return errExtraHeader
	}
	name = http.CanonicalHeaderKey(name)
	switch {
	case strings.HasPrefix(name, "Content-"), name == "Transfer-Encoding", name == "Allow", name == "Expires", name == "Last-Modified":
		return errExtraHeader
	case value == "":
		return nil
	case isNeverSent(name):
		o.ignored = append(o.ignored, "ExtraHeaderParameters")
		return nil
	}
	if o.ExtraHeader == nil {
		o.ExtraHeader = map[string]string{}
	}
	o.ExtraHeader[name] = strings.TrimSpace(value)
	return nil
}

// agentParameters reads the agent parameters. given reports whether there are any. If
// AgentUsername is there, AgentUserId is ignored.
func (q query) agentParameters() (agent obo.Agent, given bool, err error) {
	identity, username := strings.TrimSpace(q.agent[agentIdentity]), strings.TrimSpace(q.agent[agentUsername])
	userID, hasUserID := q.agent[agentUserID]
	userID = strings.TrimSpace(userID)
	if identity == "" && username == "" && userID == "" {
		return obo.Agent{}, false, nil
	}
	var ok bool
	agent.ID, ok = parseGUID(identity)
	switch {
	case identity == "":
		return obo.Agent{}, true, errNoAgent
	case !ok:
		return obo.Agent{}, true, errAgent
	case username != "":
		agent.User = username
		agent.Check(func(string, string) { err = errAgentUser })
		return agent, true, err
	case hasUserID: // also without a value: its absence would give the agent's own token
		agent.User, ok = parseGUID(userID)
		return agent, true, unless(ok, errAgentUserID)
	}
	return agent, true, nil
}

var (
	errNoAgent     = invalid("AgentUsername and AgentUserId need AgentIdentity.")
	errAgent       = invalid("AgentIdentity must be the client ID of an agent identity, a GUID.")
	errAgentUser   = invalid("AgentUsername is not a user name.")
	errAgentUserID = invalid("AgentUserId must be the object ID of a user, a GUID other than zeros.")
)

// hasSessionKey reports whether q names a long-running session.
func (q query) hasSessionKey() bool {
	return slices.ContainsFunc(q.options, func(o option) bool { return o.key == sessionKeyField && o.given() })
}

// names returns the canonical names of the overrides that are given, for the log, each
// once. A name that is not known is the caller's text and is left out.
func (q query) names() []string {
	var names []string
	for _, option := range q.options {
		if !option.given() {
			continue
		}
		name := "unknown"
		switch {
		case strings.HasPrefix(option.key, extraHeader):
			name = "ExtraHeaderParameters"
		case strings.HasPrefix(option.key, extraQuery):
			name = "ExtraQueryParameters"
		case known[option.key].name != "":
			name = known[option.key].name
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// invalid returns the error of a request that the caller must correct.
func invalid(detail string) error { return problem.New("invalid-request", detail) }

// unless returns err unless ok.
func unless(ok bool, err error) error {
	if ok {
		return nil
	}
	return err
}

func readBool(value string, err error) (bool, error) {
	switch toLower(strings.TrimSpace(value)) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, err
}

// hasControl reports whether s has a control character. A line break in a header would
// begin another header.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' })
}

// isPrintable reports whether s is printable ASCII.
func isPrintable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// isMediaType reports whether s is a media type with parameters, or a range of those
// (RFC 9110, section 12.5.1).
func isMediaType(s string) bool {
	media, _, err := mime.ParseMediaType(s)
	kind, sub, _ := strings.Cut(media, "/")
	return err == nil && isPrintable(s) && kind != "" && sub != ""
}

// isNeverSent reports whether a header is left out of a call: this service sets it, or
// servers and frameworks believe it of the proxies in front of them.
func isNeverSent(name string) bool {
	name = http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
	switch name {
	case "Accept", "Te", "Trailer", "X-Rewrite-Url", "X-Real-Ip":
		return true
	}
	return downstream.IsReserved(name) || strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "X-Original-")
}

// isDomain reports whether s can be the domain of a tenant. It has a dot: one word, such
// as common, names no tenant.
func isDomain(s string) bool { return len(s) <= maxDomain && domain.MatchString(s) }

var domain = regexp.MustCompile(`^(?i:[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+(?i:[a-z]([a-z0-9-]{0,61}[a-z0-9])?)$`)

// parseGUID returns a GUID in lower case with hyphens. It accepts the common other forms:
// 32 digits, and braces or parentheses around it. Zeros are no id of anything.
func parseGUID(s string) (guid string, ok bool) {
	s = strings.TrimSpace(s)
	if n := len(s); n == 38 && (s[0] == '{' && s[n-1] == '}' || s[0] == '(' && s[n-1] == ')') {
		s = s[1 : n-1]
	}
	if len(s) == 32 && !strings.Contains(s, "-") {
		s = s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
	}
	return strings.ToLower(s), validate.IsGUID(s) && strings.Trim(s, "0-") != ""
}
