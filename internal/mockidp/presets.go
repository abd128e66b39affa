package mockidp

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Preset is an access token that GET /mock/tokens/NAME answers with: of a user, or without
// one of the client itself.
type Preset struct {
	User             string
	Client, Resource string   // apps, by name or client id
	Scopes, Roles    []string // of a user, of an app
}

// AddPreset makes GET /mock/tokens/{name} answer with such a token, made for each request.
// Other names are those of users and apps.
func (s *Server) AddPreset(name string, preset Preset) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.presets[strings.ToLower(name)] = preset
}

// The parameters of GET /mock/tokens/{name} that are no claims: names of apps.
const (
	clientParameter   = "client"
	resourceParameter = "resource"
)

// presetToken answers GET /mock/tokens/{name}?claim=value. The token stands alone, without
// a line break, so that it can be used as it is.
func (s *Server) presetToken(w http.ResponseWriter, r *http.Request) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		http.Error(w, "the query cannot be read: "+err.Error(), http.StatusBadRequest)
		return
	}
	now := time.Now()
	claims, err := s.presetClaims(r.PathValue("name"), query, now)
	if errors.Is(err, errNoPreset) {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	if err == nil {
		err = override(claims, query, now)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = io.WriteString(w, s.Sign(claims)) // a client that left does not need it
}

var errNoPreset = errors.New("no preset, user or app has this name")

// presetClaims returns the claims of a preset, or of any user or app: those of the first
// grant that fits.
func (s *Server) presetClaims(name string, query url.Values, now time.Time) (map[string]any, error) {
	dir := s.dir()
	s.mu.RLock()
	preset, known := s.presets[strings.ToLower(name)]
	s.mu.RUnlock()
	if !known {
		preset.User = name
		if app := dir.apps[strings.ToLower(name)]; app != nil && dir.user(name) == nil {
			preset = Preset{Client: name}
		}
	}
	user := dir.user(preset.User)
	if preset.User != "" && user == nil {
		return nil, errNoPreset
	}
	client, err := dir.named(clientParameter, cmp.Or(query.Get(clientParameter), preset.Client))
	if err != nil {
		return nil, err
	}
	resource, err := dir.named(resourceParameter, cmp.Or(query.Get(resourceParameter), preset.Resource))
	if err != nil {
		return nil, err
	}
	i := issue{user: user, client: client, resource: resource, scopes: preset.Scopes, roles: preset.Roles, capable: true, now: now}
	if !known || query.Get(resourceParameter) != "" {
		if err := dir.complete(&i); err != nil {
			return nil, err
		}
	}
	i.tenantID, i.strength = i.client.TenantID, i.client.strength()
	if user != nil {
		i.tenantID = user.TenantID
	}
	return s.claims(i), nil
}

// named returns the app that a parameter names, or nil if it names none.
func (d *directory) named(parameter, name string) (*App, error) {
	app := d.apps[strings.ToLower(name)]
	if name != "" && app == nil {
		return nil, fmt.Errorf("%s: there is no app %q", parameter, name)
	}
	return app, nil
}

// complete sets what is missing of client and resource to those of the first grant that
// fits, and scopes and roles to what is granted. Without a grant, a client and a resource
// that were both named get every scope.
func (d *directory) complete(i *issue) error {
	i.scopes, i.roles = nil, nil
	for _, grant := range d.ordered {
		client, resource := d.apps[strings.ToLower(grant.Client)], d.apps[strings.ToLower(grant.Resource)]
		if i.client != nil && i.client != client || i.resource != nil && i.resource != resource {
			continue
		}
		if i.user == nil && len(grant.Roles) > 0 {
			i.client, i.resource, i.roles = client, resource, d.granted(client, resource, nil).Roles
			return nil
		}
		ours := grant.User == "" || d.user(grant.User) == i.user
		if i.user != nil && ours && len(grant.Scopes) > 0 {
			i.client, i.resource, i.scopes = client, resource, d.granted(client, resource, i.user).Scopes
			return nil
		}
	}
	switch {
	case i.user != nil && i.client != nil && i.resource != nil:
		i.scopes = i.resource.Scopes
	case i.user != nil:
		return errors.New("no app is granted a scope for this user: name both, such as ?client=web&resource=todo")
	case i.resource == nil:
		return errors.New("the app is granted no app role: name an API, such as ?resource=todo")
	}
	return nil
}

var (
	timeClaims = []string{"exp", "nbf", "iat", "auth_time", "xms_tcdt"}
	listClaims = []string{"roles", "wids", "groups", "amr", "acrs", "xms_cc"}
)

// override replaces claims by the parameters of a query. An empty value removes a claim.
func override(claims map[string]any, query url.Values, now time.Time) error {
	issued, expires := claims["iat"].(int64), claims["exp"].(int64)
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if name == clientParameter || name == resourceParameter {
			continue
		}
		value, err := overridden(name, query[name], now)
		if err != nil {
			return fmt.Errorf("%.100s: %w", name, err)
		}
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	// A token that has expired was issued before that.
	if end, ok := claims["exp"].(int64); ok && end <= issued {
		for _, name := range []string{"iat", "nbf"} {
			if !query.Has(name) {
				claims[name] = end - (expires - issued)
			}
		}
	}
	return nil
}

// overridden returns the value of a claim that a parameter gives; nil: the claim is removed.
func overridden(name string, values []string, now time.Time) (any, error) {
	value := values[0]
	switch {
	case name == "":
		return nil, errors.New("a parameter has no name; it must be that of a claim")
	case len(values) > 1:
		return values, nil
	case value == "":
		return nil, nil
	case strings.IndexByte(`[{"`, value[0]) >= 0:
		return decodeJSON(value)
	case slices.Contains(timeClaims, name):
		return parseTime(value, now)
	case slices.Contains(listClaims, name):
		return strings.Split(value, ","), nil
	}
	return value, nil
}

func decodeJSON(text string) (value any, err error) {
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("begins as JSON, and is not: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("begins as JSON, and something follows it")
	}
	return value, nil
}

// parseTime reads a duration from now, or Unix seconds. A plus sign in a query is a space.
func parseTime(text string, now time.Time) (int64, error) {
	text = strings.TrimSpace(text)
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		return seconds, nil
	}
	duration, err := time.ParseDuration(text)
	if err != nil {
		return 0, errors.New("must be a duration from now, such as -20s or 1h, or Unix seconds")
	}
	return now.Add(duration).Unix(), nil
}
