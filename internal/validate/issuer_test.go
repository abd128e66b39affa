package validate_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/validate"
)

// personal is the tenant of personal accounts.
const personal = "9188040d-6c67-4c5b-b112-36a304b66dad"

// cloud is an identity provider with the names of a real one.
type cloud struct {
	host, name string // name is its cloud_instance_name
	v2, v1     string // issuers; no v1: it has no such metadata
	keys       []any
}

// The clouds, as their metadata and Microsoft's page "National clouds" say. An
// External ID tenant's issuer has the tenant's GUID for a subdomain.
var clouds = map[string]cloud{
	"public":        {"login.microsoftonline.com", "microsoftonline.com", "https://login.microsoftonline.com/{tenantid}/v2.0", "https://sts.windows.net/{tenantid}/", nil},
	"US Government": {"login.microsoftonline.us", "microsoftonline.us", "https://login.microsoftonline.us/{tenantid}/v2.0", "https://sts.windows.net/{tenantid}/", nil},
	"China":         {"login.partner.microsoftonline.cn", "partner.microsoftonline.cn", "https://login.partner.microsoftonline.cn/{tenantid}/v2.0", "https://sts.chinacloudapi.cn/{tenantid}/", nil},
	"France":        {"login.sovcloud-identity.fr", "sovcloud-identity.fr", "https://login.sovcloud-identity.fr/{tenantid}/v2.0", "", nil},
	"External ID":   {"contoso.ciamlogin.com", "", "https://{tenantid}.ciamlogin.com/{tenantid}/v2.0", "", nil},
}

// RoundTrip answers with metadata and keys. Where the URL names a tenant, so
// does the issuer in the metadata, as Entra's.
func (c cloud) RoundTrip(r *http.Request) (*http.Response, error) {
	tenant := strings.Split(r.URL.Path, "/")[1]
	if validate.IsMultiTenant(tenant) {
		tenant = "{tenantid}"
	}
	if tenant == "contoso.example" || strings.EqualFold(tenant, contoso) {
		tenant = contoso
	}
	issuer := c.v1
	if strings.Contains(r.URL.Path, "/v2.0/") {
		issuer = c.v2
	}
	switch {
	case r.URL.Host != c.host || issuer == "":
		return respond(r, 404, "{}"), nil
	case strings.HasSuffix(r.URL.Path, "/keys"):
		return respond(r, 200, encode(map[string]any{"keys": c.keys})), nil
	}
	return respond(r, 200, encode(map[string]any{
		"issuer": strings.ReplaceAll(issuer, "{tenantid}", tenant), "cloud_instance_name": c.name,
		"jwks_uri": "https://" + c.host + r.URL.Path[:strings.Index(r.URL.Path, "/.well-known")] + "/keys",
	})), nil
}

// start runs a validator at the cloud until the test, which must be in a bubble,
// ends.
func (c cloud) start(t testing.TB, tenant string, allowed ...string) *validate.Validator {
	config := validate.Config{
		Instance: "https://" + c.host + "/", TenantID: tenant, ClientID: apiID, AllowedTenants: allowed, Client: &http.Client{Transport: c},
	}
	config.Check(func(key, problem string) { t.Fatalf("config: %s %s", key, problem) })
	v := validate.New(config)
	run(t, v)
	time.Sleep(time.Minute) // until it is sure that there is nothing of v1.0, where there is not
	return v
}

// v2Of and v1Of make a token one of the tenant, as the cloud issues them.
func (c cloud) v2Of(tenant string) change {
	return all(claim("tid", tenant), claim("iss", strings.ReplaceAll(c.v2, "{tenantid}", tenant)))
}

func (c cloud) v1Of(tenant string) change {
	return all(v1Form, claim("tid", tenant), claim("iss", strings.ReplaceAll(c.v1, "{tenantid}", tenant)))
}

// withKey returns c with one key that is like Entra's.
func (c cloud) withKey(members ...any) cloud {
	c.keys = []any{jwk("a", keyA(), append([]any{"issuer", c.v2, "cloud_instance_name", c.name}, members...)...)}
	return c
}

func TestEveryCloudHasItsOwnIssuers(t *testing.T) {
	for name, c := range clouds {
		for _, tenant := range []string{contoso, "contoso.example", "organizations", "common"} {
			if name == "External ID" && validate.IsMultiTenant(tenant) {
				continue // it has one tenant
			}
			bubble(t, name+", "+tenant, func(t *testing.T) {
				c := c.withKey()
				var allowed []string
				if validate.IsMultiTenant(tenant) {
					allowed = []string{contoso}
				}
				v := c.start(t, tenant, allowed...)
				accept(t, v, signed("a", keyA(), c.v2Of(contoso)))
				if c.v1 != "" {
					accept(t, v, signed("a", keyA(), c.v1Of(contoso)))
				}
				for _, elsewhere := range clouds {
					if elsewhere.v2 != c.v2 {
						refuse(t, v, signed("a", keyA(), elsewhere.v2Of(contoso)), validate.WrongIssuer)
					}
					if elsewhere.v1 != c.v1 && elsewhere.v1 != "" {
						refuse(t, v, signed("a", keyA(), elsewhere.v1Of(contoso)), validate.WrongIssuer)
					}
				}
				refuse(t, v, signed("a", keyA(), claim("iss", c.v2)), validate.WrongIssuer)
			})
		}
	}
}

func TestIssuerIsThatOfTheMetadata(t *testing.T) {
	public := func(tenant string) string { return "https://login.microsoftonline.com/" + tenant + "/v2.0" }
	for _, row := range []struct {
		cloud, tenant string
		allowed       []string
		want          string
	}{
		{"public", contoso, nil, public(contoso)},
		{"public", strings.ToUpper(contoso), nil, public(contoso)},
		{"public", "contoso.example", nil, public(contoso)},
		{"public", "contoso.example", []string{contoso, fabrikam}, public(contoso)},
		{"public", "organizations", []string{strings.ToUpper(fabrikam)}, public(fabrikam)},
		{"public", "common", []string{personal}, public(personal)},
		{"public", "organizations", []string{contoso, fabrikam}, public("organizations")},
		{"public", "Common", []string{"*"}, public("Common")},
		{"China", "contoso.example", nil, "https://login.partner.microsoftonline.cn/" + contoso + "/v2.0"},
		{"External ID", "contoso.example", nil, "https://" + contoso + ".ciamlogin.com/" + contoso + "/v2.0"},
	} {
		bubble(t, row.cloud+", "+row.tenant+", "+strings.Join(row.allowed, " "), func(t *testing.T) {
			c := clouds[row.cloud].withKey()
			if got, err := c.start(t, row.tenant, row.allowed...).Issuer(); got != row.want || err != nil {
				t.Errorf("Issuer: got %q, %v, want %q", got, err, row.want)
			}
		})
	}
}

func TestIssuerIsUnknownUntilMetadataIsFetched(t *testing.T) {
	bubble(t, "outage", func(t *testing.T) {
		p := newProvider(jwk("a", keyA()))
		p.fail(only("/v2.0/", outages["says 500"]))
		v := p.start(t, nil)
		if got, err := v.Issuer(); got != "" || !errors.Is(err, validate.ErrKeysUnavailable) {
			t.Errorf("Issuer in an outage: got %q, %v, want ErrKeysUnavailable", got, err)
		}
		p.fail(nil)
		time.Sleep(10 * time.Second)
		if got, err := v.Issuer(); got != "https://login.example/"+contoso+"/v2.0" || err != nil {
			t.Errorf("Issuer after it: got %q, %v", got, err)
		}
		p.fail(outages["refuses"])
		time.Sleep(3 * time.Hour)
		if _, err := v.Issuer(); err != nil {
			t.Errorf("Issuer in the next outage: got %v", err)
		}
	})
}

func TestKeysOfAnotherCloudAreNotUsed(t *testing.T) {
	for name, row := range map[string]struct {
		metadata, key any
		good          bool
	}{
		"the same": {"microsoftonline.com", "microsoftonline.com", true},
		"another":  {"microsoftonline.com", "microsoftonline.us", false},
		"no key's": {"microsoftonline.com", nil, true},
		"none":     {"", "microsoftonline.us", true},
	} {
		bubble(t, name, func(t *testing.T) {
			c := clouds["public"].withKey("cloud_instance_name", row.key)
			c.name = row.metadata.(string)
			c.keys = append(c.keys, jwk("b", keyB())) // so that the set is never empty
			v := c.start(t, contoso)
			if token := signed("a", keyA(), c.v2Of(contoso)); row.good {
				accept(t, v, token)
			} else {
				refuse(t, v, token, validate.BadSig)
			}
		})
	}
}

func TestTenantsThatAreAllowed(t *testing.T) {
	c := clouds["public"].withKey()
	const initech = "eeeeeeee-3333-4333-8333-33333333abcd"
	for _, row := range []struct {
		name, tenant string
		allowed      []string
		in, out      []string // tenants whose tokens are accepted, or refused
	}{
		{"organizations, a list", "organizations", []string{contoso, strings.ToUpper(fabrikam)}, []string{contoso, fabrikam}, []string{initech, personal}},
		{"organizations, any", "organizations", []string{"*"}, []string{contoso, fabrikam, initech}, []string{personal}},
		{"in another case", "Organizations", []string{"*"}, []string{contoso}, []string{personal}},
		{"common, a list", "common", []string{contoso}, []string{contoso}, []string{fabrikam, personal}},
		{"common, any", "common", []string{"*"}, []string{contoso, fabrikam, personal}, nil},
		{"common, personal accounts only", "common", []string{personal}, []string{personal}, []string{contoso}},
		{"a domain, a list", "contoso.example", []string{fabrikam}, nil, []string{contoso}},
		{"one tenant, in its list", contoso, []string{fabrikam, contoso}, []string{contoso}, nil},
	} {
		bubble(t, row.name, func(t *testing.T) {
			v := c.start(t, row.tenant, row.allowed...)
			for _, form := range []func(string) change{c.v2Of, c.v1Of} {
				for _, tenant := range row.in {
					if caller := accept(t, v, signed("a", keyA(), form(tenant))); caller.TenantID() != tenant {
						t.Errorf("TenantID: got %s, want %s", caller.TenantID(), tenant)
					}
				}
				for _, tenant := range row.out {
					token := signed("a", keyA(), form(tenant))
					for range 2 { // the refusal is not remembered as anything else
						if _, err := v.Validate(context.Background(), token); !errors.Is(err, validate.ErrTenantNotAllowed) {
							t.Errorf("a token of %s: got %v, want ErrTenantNotAllowed", tenant, err)
						}
					}
					// Nothing is said of tenants to who has no token of theirs.
					refuse(t, v, signed("a", keyB(), form(tenant)), validate.BadSig)
				}
			}
		})
	}
}

// In a multi-tenant API nothing but the token itself says whose it is, so all of
// it must agree.
func TestTenantOfATokenIsOne(t *testing.T) {
	c := clouds["public"]
	fixed := strings.ReplaceAll(c.v2, "{tenantid}", personal)
	for _, row := range []struct {
		name   string
		keyOf  string // the key's issuer
		change change
		want   validate.Reason // "": accepted
	}{
		{"all of one tenant", c.v2, c.v2Of(fabrikam), ""},
		{"the issuer of another", c.v2, all(c.v2Of(contoso), claim("tid", fabrikam)), validate.WrongIssuer},
		{"v1.0, the issuer of another", c.v2, all(c.v1Of(contoso), claim("tid", fabrikam)), validate.WrongIssuer},
		{"the template for an issuer", c.v2, claim("iss", c.v2), validate.WrongIssuer},
		{"the template for a tenant", c.v2, c.v2Of("{tenantid}"), validate.Malformed},
		{"a domain for a tenant", c.v2, c.v2Of("contoso.example"), validate.Malformed},
		{"organizations for a tenant", c.v2, c.v2Of("organizations"), validate.Malformed},
		{"no tenant", c.v2, all(c.v2Of(contoso), noClaim("tid")), validate.Malformed},
		{"a GUID in braces", c.v2, c.v2Of("{" + contoso + "}"), validate.Malformed},
		{"an issuer in upper case", c.v2, all(c.v2Of(contoso), claim("iss", strings.ToUpper(c.v2))), validate.WrongIssuer},
		{"v1.0's issuer in a v2.0 token", c.v2, all(c.v1Of(contoso), claim("ver", "2.0")), validate.WrongIssuer},
		{"v2.0's issuer in a v1.0 token", c.v2, all(c.v2Of(contoso), claim("ver", "1.0")), validate.WrongIssuer},
		{"personal accounts' key for its own", fixed, c.v2Of(personal), ""},
		{"personal accounts' key for an organization", fixed, c.v2Of(contoso), validate.WrongIssuer},
		{"personal accounts' key for an organization, v1.0", fixed, c.v1Of(contoso), validate.WrongIssuer},
		{"one tenant's key for another", strings.ReplaceAll(c.v2, "{tenantid}", contoso), c.v2Of(fabrikam), validate.WrongIssuer},
		{"another cloud's key", clouds["China"].v2, c.v2Of(contoso), validate.WrongIssuer},
	} {
		bubble(t, row.name, func(t *testing.T) {
			v := c.withKey("issuer", row.keyOf).start(t, "common", "*")
			if token := signed("a", keyA(), row.change); row.want == "" {
				accept(t, v, token)
			} else {
				refuse(t, v, token, row.want)
			}
		})
	}
}

// Where only a domain is configured, nothing but the metadata says whose tokens are
// ours.
func TestDomainsMetadataMustNameOneIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clouds["public"].withKey()
		c.v2 = "https://login.microsoftonline.com/{tenantId}/v2.0" // which RoundTrip leaves as it is
		p := transport(func(r *http.Request) (*http.Response, error) {
			resp, err := c.RoundTrip(r)
			if err == nil && !strings.HasSuffix(r.URL.Path, "/keys") {
				body, _ := io.ReadAll(resp.Body)
				resp.Body = io.NopCloser(strings.NewReader(strings.ReplaceAll(string(body), "{tenantId}", "{tenantid}")))
			}
			return resp, err
		})
		v := validate.New(validate.Config{
			Instance: "https://" + c.host, TenantID: "contoso.example",
			ClientID: apiID, Client: &http.Client{Transport: p},
		})
		run(t, v)
		time.Sleep(time.Minute)
		if err := v.Ready(); !errors.Is(err, validate.ErrKeysUnavailable) {
			t.Errorf("Ready with an issuer for all tenants: got %v, want ErrKeysUnavailable", err)
		}
	})
}

func TestExternalIDHasNoMultiTenantServices(t *testing.T) {
	var got []string
	config := validate.Config{Instance: "https://Contoso.ciamlogin.com/", TenantID: "common", ClientID: apiID, AllowedTenants: []string{"*"}}
	config.Check(func(key, _ string) { got = append(got, key) })
	if strings.Join(got, " ") != "tenantId" {
		t.Errorf("got mistakes in %q, want tenantId", got)
	}
}

func TestCheckOfTenants(t *testing.T) {
	for _, row := range []struct {
		tenant  string
		allowed []string
		want    string // keys of the mistakes
	}{
		{contoso, nil, ""},
		{contoso, []string{strings.ToUpper(contoso)}, ""},
		{contoso, []string{fabrikam}, "allowedTenants"},
		{"contoso.example", []string{contoso}, ""},
		{"organizations", []string{contoso, fabrikam}, ""},
		{"Common", []string{"*"}, ""},
		{"common", []string{personal}, ""},
		{"organizations", nil, "allowedTenants"},
		{"common", []string{}, "allowedTenants"},
		{"consumers", nil, "tenantId"},
		{"contoso", nil, "tenantId"},
		{"common.", nil, "tenantId"},
		{"..", nil, "tenantId"},
		{"*", nil, "tenantId"},
		{"{tenantid}", nil, "tenantId"},
		{strings.ReplaceAll(contoso, "-", ""), nil, "tenantId"},
		{"organizations", []string{"contoso.example"}, "allowedTenants[0]"},
		{"organizations", []string{contoso, ""}, "allowedTenants[1]"},
		{"organizations", []string{contoso, "*"}, "allowedTenants[1]"},
		{"organizations", []string{personal}, "allowedTenants[0]"},
	} {
		var got []string
		config := validate.Config{Instance: "https://login.example", TenantID: row.tenant, ClientID: apiID, AllowedTenants: row.allowed}
		config.Check(func(key, _ string) { got = append(got, key) })
		if strings.Join(got, " ") != row.want {
			t.Errorf("%s %q: got mistakes in %q, want %q", row.tenant, row.allowed, got, row.want)
		}
	}
}
