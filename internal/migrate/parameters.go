package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
)

// parameters is what the parameters.json of Microsoft's samples for Python holds.
type parameters struct {
	Authority      string   `json:"authority"`
	ClientID       string   `json:"client_id"`
	Scope          []string `json:"scope"`
	Secret         string   `json:"secret"`
	Thumbprint     string   `json:"thumbprint"`
	PrivateKeyFile string   `json:"private_key_file"`
	Endpoint       string   `json:"endpoint"`
}

var parameterNames = []string{"authority", "client_id", "scope", "secret", "thumbprint", "private_key_file", "endpoint"}

func isJSON(text []byte) bool {
	text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\ufeff")))
	return bytes.HasPrefix(text, []byte("{"))
}

// isParameters reports whether the text is that of a parameters.json.
func isParameters(text []byte) bool {
	all, err := parseObject(text)
	return err == nil && all["client_id"] != nil && all["authority"] != nil
}

// parseObject reads a JSON object, perhaps with comments.
func parseObject(text []byte) (map[string]json.RawMessage, error) {
	text = append(bytes.Clone(bytes.TrimPrefix(text, []byte("\ufeff"))), '\n')
	standard, err := hujson.Standardize(text)
	if err != nil {
		return nil, errors.New("is not valid JSON") // the parser's error quotes the text
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(standard, &all) != nil {
		return nil, errors.New("is not a JSON object")
	}
	return all, nil
}

// FromParameters reads the parameters.json of a daemon for Python. file returns the path
// of a file with a secret by its name.
func FromParameters(path string, text []byte, file func(name string) string) (Result, error) {
	all, err := parseObject(text)
	if err != nil {
		return Result{}, err
	}
	p, problems := readParameters(all)
	d := daemon{from: path, clientID: p.ClientID}
	problems = append(problems, checkValues(map[string]string{
		"authority": p.Authority, "client_id": p.ClientID, "endpoint": p.Endpoint, "scope": strings.Join(p.Scope, " "),
	}))
	problems = append(problems, d.credentialOfParameters(p, file))
	if err := errors.Join(problems...); err != nil {
		return Result{}, err
	}
	authority, err := url.Parse(p.Authority)
	tenant := ""
	if err == nil {
		tenant, _, _ = strings.Cut(strings.Trim(authority.Path, "/"), "/")
	}
	if err != nil || authority.Host == "" || authority.Scheme != "https" {
		return Result{}, errors.New("authority must be https://HOST/TENANT")
	}
	d.instance, d.tenant = "https://"+authority.Host+"/", tenant
	if subdomain, external := strings.CutSuffix(authority.Host, ".ciamlogin.com"); external && tenant == "" {
		d.tenant = subdomain + ".onmicrosoft.com"
	}
	if d.tenant == "" {
		return Result{}, errors.New("authority must end in the tenant, as https://HOST/TENANT")
	}
	if err := checkTenant("authority", d.tenant); err != nil {
		return Result{}, err
	}
	if d.api, err = apiOfParameters(p); err != nil {
		return Result{}, err
	}
	if _, query, _ := strings.Cut(p.Endpoint, "?"); odataOf(query) != query {
		d.notes = append(d.notes, "endpoint: query parameters that may be keys are left out of the call.")
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !slices.Contains(parameterNames, name) {
			d.notes = append(d.notes, name+": this program has nothing of this name.")
		}
	}
	return d.result(), nil
}

// readParameters reads the members that are known. A scope may be one text.
func readParameters(all map[string]json.RawMessage) (p parameters, problems []error) {
	for name, into := range map[string]any{
		"authority": &p.Authority, "client_id": &p.ClientID, "secret": &p.Secret,
		"thumbprint": &p.Thumbprint, "private_key_file": &p.PrivateKeyFile, "endpoint": &p.Endpoint,
	} {
		if raw := all[name]; raw != nil && json.Unmarshal(raw, into) != nil {
			problems = append(problems, fmt.Errorf("%s must be text", name))
		}
	}
	var one string
	if raw := all["scope"]; raw != nil && json.Unmarshal(raw, &p.Scope) != nil {
		if json.Unmarshal(raw, &one) != nil {
			problems = append(problems, errors.New("scope must be a list of texts"))
		}
		p.Scope = strings.Fields(one)
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return p, problems
}

// credentialOfParameters sets the credential, of which p must hold one.
func (d *daemon) credentialOfParameters(p parameters, file func(string) string) error {
	certificate := p.Thumbprint != "" || p.PrivateKeyFile != ""
	switch {
	case p.Secret != "" && certificate, p.Secret == "" && !certificate:
		return errors.New("needs either secret, or thumbprint with private_key_file")
	case p.Secret != "":
		d.secret(p.Secret, file)
		return checkValues(map[string]string{"secret": p.Secret})
	}
	d.certificate(p.Thumbprint, filepath.ToSlash(p.PrivateKeyFile), nil)
	return checkValues(map[string]string{"thumbprint": p.Thumbprint, "private_key_file": p.PrivateKeyFile})
}

// apiOfParameters returns the API of the endpoint. Its base URL is the endpoint's origin
// and first segment; the rest is the path of the call.
func apiOfParameters(p parameters) (daemonAPI, error) {
	if len(p.Scope) != 1 {
		return daemonAPI{}, errors.New("scope must be one, such as [RESOURCE/.default]: client credentials are for one resource")
	}
	endpoint, err := url.Parse(p.Endpoint)
	if err != nil || endpoint.Host == "" || endpoint.Scheme != "https" && endpoint.Scheme != "http" {
		return daemonAPI{}, errors.New("endpoint must be a URL, such as https://graph.microsoft.com/v1.0/users")
	}
	first, rest, _ := strings.Cut(strings.TrimPrefix(endpoint.EscapedPath(), "/"), "/")
	base := endpoint.Scheme + "://" + endpoint.Host + "/"
	if rest != "" { // the last segment is that of the call
		base += first + "/"
	} else {
		rest = first
	}
	call := "/" + rest
	if query := odataOf(endpoint.RawQuery); query != "" {
		call = "'" + call + "?" + strings.ReplaceAll(query, "'", "%27") + "'"
	}
	return daemonAPI{name: resourceName(p.Scope[0], endpoint.Hostname()), baseURL: base, scope: p.Scope[0], call: call}, nil
}

// odataOf returns the parameters of a query that are OData's own, such as $top. Others may be
// secrets, such as the key of an Azure function.
func odataOf(query string) string {
	var own []string
	for parameter := range strings.SplitSeq(query, "&") {
		if strings.HasPrefix(parameter, "$") {
			own = append(own, parameter)
		}
	}
	return strings.Join(own, "&")
}

// resourceName returns a short name for the API: graph for https://graph.microsoft.com,
// todo for api://todo. A resource that is a GUID is named by its host.
func resourceName(scope, host string) string {
	resource := strings.TrimSuffix(scope, "/.default")
	if _, after, found := strings.Cut(resource, "://"); found {
		resource = after
	}
	resource, _, _ = strings.Cut(resource, "/")
	for _, candidate := range []string{resource, host} {
		name, _, _ := strings.Cut(candidate, ".")
		name, _, _ = strings.Cut(name, ":")
		if apiName.MatchString(name) && !guid.MatchString(name) && name != "localhost" && strings.Trim(name, "0123456789") != "" {
			return strings.ToLower(name)
		}
	}
	return "api"
}
