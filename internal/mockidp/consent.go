package mockidp

import (
	"maps"
	"slices"
	"strings"
	"sync"
)

// maxConsents limits what a mock that runs for days remembers, and keeps in its state.
const maxConsents = 10_000

// consents are the scopes that users granted on the consent page. Those that the directory
// says are not among them.
type consents struct {
	mu     sync.Mutex          // guards scopes
	scopes map[string][]string // by consentKey
}

func consentKey(user *User, client, resource *App) string {
	return strings.ToLower(user.ObjectID + " " + client.ClientID + " " + resource.ClientID)
}

func (c *consents) add(user *User, client, resource *App, scopes []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.scopes == nil || len(c.scopes) >= maxConsents {
		c.scopes = map[string][]string{}
	}
	key := consentKey(user, client, resource)
	c.scopes[key] = union(slices.Clone(c.scopes[key]), scopes)
}

func (c *consents) of(user *User, client, resource *App) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.scopes[consentKey(user, client, resource)] // which add replaces and does not change
}

func (c *consents) remove(user *User, client, resource *App) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.scopes, consentKey(user, client, resource))
}

// snapshot returns all consents, as save keeps them.
func (c *consents) snapshot() map[string][]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.scopes) // whose values are replaced, and not changed
}

func (c *consents) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.scopes = nil
}

// granted returns the scopes of the resource that the client may use for the user: by what the
// directory says or by the user's consent on the page. Every client has the scopes of Microsoft
// Graph that sign users in.
func (s *Server) granted(user *User, client, resource *App) []string {
	if resource.ClientID == graphID {
		return resource.Scopes
	}
	granted := s.dir().granted(client, resource, user).Scopes
	if consented := s.consents.of(user, client, resource); len(consented) > 0 {
		return union(slices.Clone(granted), consented)
	}
	return granted
}

// wish is what a consent page asks for: that the client may use scopes of the resource.
type wish struct {
	Client, Resource *App
	Scopes           []string
}

// combined returns what the consent page of a client asks for besides: what the API that it
// asks for by .default requires itself and does not have, if the API knows the client ("OAuth
// 2.0 On-Behalf-Of flow", ".default and combined consent").
func (s *Server) combined(user *User, client *App, requested scopeRequest) []wish {
	api := requested.resource
	if !requested.byDefault || !slices.ContainsFunc(api.KnownClients, client.is) {
		return nil
	}
	var wishes []wish
	for _, required := range api.Requires {
		resource := s.dir().apps[strings.ToLower(required.Resource)]
		missing := s.unconsented(user, api, scopeRequest{resource: resource, names: required.Scopes})
		if len(missing) > 0 {
			wishes = append(wishes, wish{api, resource, missing})
		}
	}
	return wishes
}

// unconsented returns the requested scopes that are not granted: with .default those that the
// resource exposes, if none is granted.
func (s *Server) unconsented(user *User, client *App, requested scopeRequest) []string {
	granted := s.granted(user, client, requested.resource)
	asked := requested.names
	if requested.byDefault {
		if len(granted) > 0 {
			return nil
		}
		asked = requested.resource.Scopes
	}
	var missing []string
	for _, name := range asked {
		if !slices.Contains(granted, name) {
			missing = append(missing, name)
		}
	}
	return missing
}
