package sidecar

import (
	"reflect"
	"strings"
	"testing"

	"middletier/internal/obo"
)

const (
	agentGUID = "7a7a7a7a-0000-4000-8000-00000000000a"
	userGUID  = "7a7a7a7a-0000-4000-8000-00000000000b"
	tenantID  = "99999999-9999-4999-8999-999999999999"
)

// oo is what every override begins with.
const oo = "optionsOverride."

func TestOverridesAreRead(t *testing.T) {
	for _, row := range []struct {
		name, query string // ~ stands for optionsOverride.
		want        overrides
	}{
		{"nothing", "", overrides{}},
		{"other parameters", "foo=bar&optionsOverridden.Scopes=x&Scopes=y", overrides{}},
		{
			"scopes repeat, split at blanks, and blank ones are dropped",
			"~Scopes=api://a/x&~Scopes=&~Scopes=%20&optionsoverride.scopes=api://a/y%20%20api://a/z",
			overrides{Scopes: []string{"api://a/x", "api://a/y", "api://a/z"}},
		},
		{"a comma does not split", "~Scopes=api://a/x,y", overrides{Scopes: []string{"api://a/x,y"}}},
		{"scopes of sign-in name no resource", "~Scopes=openid%20profile%20User.Read%20offline_access", overrides{Scopes: []string{"User.Read"}}},
		{"names in any case", "OPTIONSOVERRIDE.acquiretokenoptions.TENANT=Contoso.Example", overrides{Tenant: "contoso.example"}},
		{"the last value wins, in any spelling", "~HttpMethod=GET&OptionsOverride.httpmethod=post", overrides{HTTPMethod: "POST"}},
		{"the last value may be absent", "~HttpMethod=GET&~HttpMethod=", overrides{}},
		{"empty values are absent", "~Scopes=&~RequestAppToken=&~HttpMethod=&" +
			"~AcquireTokenOptions.Tenant=&~AcquireTokenOptions.Claims=&~AcquireTokenOptions.CorrelationId=%20&" +
			"~ExtraHeaderParameters.X=&~ExtraQueryParameters.x=&~AcquireTokenOptions.ForceRefresh", overrides{}},
		{
			"booleans padded and in any case", "~RequestAppToken=%20True%20&~AcquireTokenOptions.ForceRefresh=TRUE",
			overrides{RequestAppToken: true, ForceRefresh: true},
		},
		{"false changes nothing", "~RequestAppToken=false&~AcquireTokenOptions.ForceRefresh=False", overrides{}},
		{"BaseUrl never counts", "~BaseUrl=https://evil.example/", overrides{ignored: []string{"BaseUrl"}}},
		{
			"a call", "~RelativePath=items%3Fa=b&~HttpMethod=patch&~AcceptHeader=text/csv,%20*/*;q=0.1&" +
				"~ContentType=application/json;%20charset=utf-8",
			overrides{
				RelativePath: "items?a=b", HTTPMethod: "PATCH", AcceptHeader: "text/csv, */*;q=0.1",
				ContentType: "application/json; charset=utf-8",
			},
		},
		{
			"headers and query of a call", "~ExtraHeaderParameters.x-a=1&optionsoverride.extraheaderparameters.X-A=2&" +
				"~ExtraQueryParameters.$top=3&~ExtraQueryParameters.$Top=4&optionsoverride.EXTRAQUERYPARAMETERS.$top=5",
			overrides{ExtraHeader: map[string]string{"X-A": "2"}, ExtraQuery: map[string]string{"$top": "5", "$Top": "4"}},
		},
		{
			"a token", "~AcquireTokenOptions.Tenant=" + strings.ToUpper(tenantID) +
				"&~AcquireTokenOptions.Claims=%7B%22access_token%22:%7B%7D%7D&~AcquireTokenOptions.CorrelationId=" + userGUID +
				"&~AcquireTokenOptions.FmiPath=a/b&~AcquireTokenOptions.LongRunningWebApiSessionKey=AllocateForMe",
			overrides{Tenant: tenantID, Claims: `{"access_token":{}}`, CorrelationID: userGUID, FMIPath: "a/b", SessionKey: "AllocateForMe"},
		},
		{
			"capabilities among the claims are ours", "~AcquireTokenOptions.Claims=%7B%22id_token%22:%7B%7D," +
				"%22access_token%22:%7B%22xms_cc%22:null,%22nbf%22:%7B%22value%22:%221%22%7D%7D%7D",
			overrides{Claims: `{"access_token":{"nbf":{"value":"1"}},"id_token":{}}`},
		},
	} {
		q, err := readQuery(strings.ReplaceAll(row.query, "~", oo))
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		got, err := q.overrides()
		if err != nil || !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s: got %+v, %v, want %+v", row.name, got, err, row.want)
		}
	}
}

func TestOverridesAreRefused(t *testing.T) {
	for _, row := range []struct {
		query string
		want  error
	}{
		{oo + "Scope=x", errUnknown},
		{oo + "Scopes[0]=x", errUnknown},
		{"optionsOverride=x", errUnknown},
		{"optionsOverride[Scopes]=x", errUnknown},
		{oo + "=x", errUnknown},
		{oo + "ExtraHeaderParameters=x", errUnknown},
		{oo + "ExtraHeaderParameters.=x", errUnknown},
		{oo + "ExtraQueryParameters.=x", errUnknown},
		{oo + "ProtocolScheme=x", errUnknown},
		{oo + "AcquireTokenOptions.PopPublicKey=x", errUnknown},
		{oo + "AcquireTokenOptions.PopClaim=x", errUnknown},
		{oo + "AcquireTokenOptions.UserFlow=x", errUnknown},
		{oo + "AcquireTokenOptions.AuthenticationOptionsName=x", errUnknown},
		{oo + "AcquireTokenOptions.ManagedIdentity.UserAssignedClientId=" + userGUID, errUnknown},
		{oo + "\u017fcopes=x", errUnknown}, // a letter whose upper case is S
		{oo + "Scopes=openid", errScopes},
		{oo + "Scopes=api://\u00e9/x", errScopes},
		{oo + "RequestAppToken=yes", errAppToken},
		{oo + "RequestAppToken=1", errAppToken},
		{oo + "AcquireTokenOptions.ForceRefresh=0", errRefresh},
		{oo + "HttpMethod=TRACE", errMethod},
		{oo + "HttpMethod=connect", errMethod},
		{oo + "HttpMethod=track", errMethod},
		{oo + "HttpMethod=GET%20/x", errMethod},
		{oo + "AcceptHeader=json", errAccept},
		{oo + "AcceptHeader=a/b,,", errAccept},
		{oo + "ContentType=json", errContentType},
		{oo + "ContentType=*/*", errContentType},
		{oo + "ExtraHeaderParameters.X%20A=1", errExtraHeader},
		{oo + "ExtraHeaderParameters.X:A=1", errExtraHeader},
		{oo + "ExtraHeaderParameters.X-A=\u00e9", errExtraHeader},
		{oo + "ExtraHeaderParameters.Content-Type=text/plain", errExtraHeader},
		{oo + "ExtraHeaderParameters.Content-Length=1", errExtraHeader},
		{oo + "ExtraHeaderParameters.Transfer-Encoding=chunked", errExtraHeader},
		{oo + "AcquireTokenOptions.Tenant=common", errTenant},
		{oo + "AcquireTokenOptions.Tenant=organizations", errTenant},
		{oo + "AcquireTokenOptions.Tenant=../x", errTenant},
		{oo + "AcquireTokenOptions.Tenant=a.example/x", errTenant},
		{oo + "AcquireTokenOptions.Tenant=a.example%3Fx", errTenant},
		{oo + "AcquireTokenOptions.Tenant=-a.example", errTenant},
		{oo + "AcquireTokenOptions.Tenant=127.0.0.1", errTenant},
		{oo + "AcquireTokenOptions.Tenant=a..example", errTenant},
		{oo + "AcquireTokenOptions.Claims=x", errClaims},
		{oo + "AcquireTokenOptions.Claims=null", errClaims},
		{oo + "AcquireTokenOptions.Claims=[]", errClaims},
		{oo + "AcquireTokenOptions.Claims=%7B%7D%7B%7D", errClaims},
		{oo + "AcquireTokenOptions.Claims=%7B%22access_token%22:null%7D", errClaims},
		{oo + "AcquireTokenOptions.Claims=%7B%22access_token%22:%22x%22%7D", errClaims},
		{oo + "AcquireTokenOptions.CorrelationId=x", errCorrelation},
		{oo + "AcquireTokenOptions.FmiPath=a%20b", errFMIPath},
		{oo + "AcquireTokenOptions.FmiPath=%C3%A9", errFMIPath},
		{oo + "AcquireTokenOptions.LongRunningWebApiSessionKey=%C3%A9", errSessionKey},
		{oo + "ExtraHeaderParameters.X-A=1%0D%0AX-B:%202", errControl},
		{oo + "ExtraHeaderParameters.X-A=1%0A&" + oo + "ExtraHeaderParameters.X-A=2", errControl}, // also where another value counts
		{oo + "ExtraHeaderParameters.X%0A=1", errControl},
		{oo + "ExtraQueryParameters.a=1%0D", errControl},
		{oo + "RelativePath=a%0D%0Ab", errControl},
		{oo + "Scopes=a%0Ab", errControl},
		{oo + "AcceptHeader=a/b%00", errControl},
		{oo + "AcquireTokenOptions.Tenant=a.example%0A", errControl},
		{oo + "AcquireTokenOptions.Claims=%7B%0A%7D", errControl},
		{oo + "BaseUrl=%0A", nil},
		{oo + "RelativePath=" + strings.Repeat("a", maxValue+1), errLongValue},
		{oo + "AcquireTokenOptions.Claims=" + strings.Repeat("a", maxClaims+1), errLongValue},
		{strings.Repeat(oo+"Scopes=api://a/b&", maxParameters+1), errManyParameters},
		{oo + "Scopes=%zz", errQuery},
		{oo + "Scopes=%ff", errQuery},
		{"%ff=1", errQuery},
	} {
		q, err := readQuery(row.query)
		if err == nil {
			_, err = q.overrides()
		}
		if err != row.want {
			t.Errorf("%.100s: got %v, want %v", row.query, err, row.want)
		}
	}
}

// Old clients send these, and the API never sees them.
func TestHeadersThatAreLeftOut(t *testing.T) {
	for _, name := range []string{
		"Authorization", "Cookie", "Host", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Anything", "X-Original-URL", "X-Original-Host",
		"X-MS-CLIENT-PRINCIPAL", "X-MS-CLIENT-PRINCIPAL-ID", "X-MS-TOKEN-AAD-ACCESS-TOKEN", "Accept", "Connection", "TE", "Upgrade", "Forwarded",
		"Proxy-Authorization", "Keep-Alive", "authorization", "X_Forwarded_For",
	} {
		q, err := readQuery(oo + "ExtraHeaderParameters." + name + "=x")
		if err != nil {
			t.Fatal(err)
		}
		if o, err := q.overrides(); err != nil || len(o.ExtraHeader) > 0 || len(o.ignored) != 1 {
			t.Errorf("%s: got %+v, %v, want it left out", name, o, err)
		}
	}
}

func TestAgentParameters(t *testing.T) {
	for _, row := range []struct {
		query string
		agent obo.Agent
		given bool
		err   error
	}{
		{"", obo.Agent{}, false, nil},
		{"AgentIdentity=&AgentUsername=%20&agentuserid=", obo.Agent{}, false, nil},
		{"AgentIdentity=" + agentGUID, obo.Agent{ID: agentGUID}, true, nil},
		{"AGENTIDENTITY=%7B" + strings.ToUpper(agentGUID) + "%7D", obo.Agent{ID: agentGUID}, true, nil},
		{"AgentIdentity=x&agentidentity=" + agentGUID, obo.Agent{ID: agentGUID}, true, nil},
		{"AgentIdentity=" + agentGUID + "&AgentUserId=" + userGUID, obo.Agent{ID: agentGUID, User: userGUID}, true, nil},
		{"AgentIdentity=" + agentGUID + "&AgentUserId=(" + userGUID + ")", obo.Agent{ID: agentGUID, User: userGUID}, true, nil},
		{
			"AgentIdentity=" + agentGUID + "&AgentUserId=" + strings.ReplaceAll(userGUID, "-", ""),
			obo.Agent{ID: agentGUID, User: userGUID},
			true, nil,
		},
		{"AgentIdentity=" + agentGUID + "&AgentUsername=a@b.example&AgentUserId=x", obo.Agent{ID: agentGUID, User: "a@b.example"}, true, nil},
		{"AgentIdentity=" + agentGUID + "&AgentUsername=&AgentUserId=" + userGUID, obo.Agent{ID: agentGUID, User: userGUID}, true, nil},

		{"AgentUserId=" + userGUID, obo.Agent{}, true, errNoAgent},
		{"AgentUsername=a@b.example", obo.Agent{}, true, errNoAgent},
		{"AgentIdentity=%20&AgentUsername=a@b.example", obo.Agent{}, true, errNoAgent},
		{"AgentIdentity=x", obo.Agent{}, true, errAgent},
		{"AgentIdentity=00000000-0000-0000-0000-000000000000", obo.Agent{}, true, errAgent},
		{"AgentIdentity=" + agentGUID + "&AgentUserId=", obo.Agent{}, true, errAgentUserID},
		{"AgentIdentity=" + agentGUID + "&AgentUserId=x", obo.Agent{}, true, errAgentUserID},
		{"AgentIdentity=" + agentGUID + "&AgentUserId=00000000-0000-0000-0000-000000000000", obo.Agent{}, true, errAgentUserID},
		{"AgentIdentity=" + agentGUID + "&AgentUserId=00000000000000000000000000000000", obo.Agent{}, true, errAgentUserID},
		{"AgentIdentity=" + agentGUID + "&AgentUsername=a", obo.Agent{}, true, errAgentUser},
		{"AgentIdentity=" + agentGUID + "&AgentUsername=a@b%0A.example", obo.Agent{}, true, errAgentUser},
		{"AgentIdentity=" + agentGUID + "&AgentUsername=" + strings.Repeat("a", 400) + "@b.example", obo.Agent{}, true, errAgentUser},
	} {
		q, err := readQuery(row.query)
		if err != nil {
			t.Fatal(err)
		}
		agent, given, err := q.agentParameters()
		if err != row.err || given != row.given || err == nil && agent != row.agent {
			t.Errorf("%s: got %+v, %v, %v, want %+v, %v, %v", row.query, agent, given, err, row.agent, row.given, row.err)
		}
	}
}

// What a query brings into a call is one line of valid text, whatever the query is.
func FuzzOverrides(f *testing.F) {
	f.Add(oo + "Scopes=a%20b&" + oo + "ExtraHeaderParameters.X=1&AgentIdentity=" + agentGUID)
	f.Add(oo + "AcquireTokenOptions.Tenant=a.example&" + oo + "HttpMethod=get&\u0130ptionsoverride.x=y")
	f.Add(oo + "\u0130xtraQueryParameters.x=y&" + oo + "ExtraQueryParameters.\u0130=%0a")
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := readQuery(raw)
		if err != nil {
			return
		}
		for _, name := range q.names() {
			if hasControl(name) || len(name) > 64 {
				t.Errorf("%q: the log names %q", raw, name)
			}
		}
		if agent, _, err := q.agentParameters(); err == nil && hasControl(agent.ID+agent.User) {
			t.Errorf("%q: agent %+v", raw, agent)
		}
		o, err := q.overrides()
		if err != nil {
			return
		}
		texts := append([]string{
			o.Tenant, o.Claims, o.CorrelationID, o.FMIPath, o.SessionKey, o.RelativePath, o.HTTPMethod, o.AcceptHeader,
			o.ContentType,
		}, o.Scopes...)
		for name, value := range o.ExtraHeader {
			if isNeverSent(name) {
				t.Errorf("%q: sends %s", raw, name)
			}
			texts = append(texts, name, value)
		}
		for name, value := range o.ExtraQuery {
			texts = append(texts, name, value)
		}
		for _, text := range texts {
			if hasControl(text) {
				t.Errorf("%q: %q has a control character", raw, text)
			}
		}
	})
}
