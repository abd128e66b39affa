package obo

import (
	"sync"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// maxTenants bounds the tenants that one MSAL client has seen. It keeps 0.7 KB of each
// for ever (v1.10.1, apps/internal/oauth/resolvers.go).
const maxTenants = 4096

// msalClient is an MSAL client that is replaced before it grows too large. Exchanges
// that run keep the one they began with; each tenant's metadata is then read again.
type msalClient struct {
	maxTenants int
	renew      func() (confidential.Client, error)

	mu      sync.Mutex // guards the rest
	client  confidential.Client
	tenants map[string]bool // that client has seen
}

func newMSALClient(maxTenants int, renew func() (confidential.Client, error)) (*msalClient, error) {
	client, err := renew()
	return &msalClient{maxTenants: maxTenants, renew: renew, client: client, tenants: map[string]bool{}}, err
}

// forTenant returns the client for an exchange in a tenant, "" for our own.
func (m *msalClient) forTenant(tenant string) confidential.Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.tenants[tenant] {
		if len(m.tenants) >= m.maxTenants {
			// It went well with the same credential: else the old one goes on.
			if client, err := m.renew(); err == nil {
				m.client = client
				clear(m.tenants)
			}
		}
		if len(m.tenants) < m.maxTenants {
			m.tenants[tenant] = true
		}
	}
	return m.client
}

const (
	// maxAgents and maxAgentTenants bound the MSAL clients of agents to some 10 MB. More
	// agents than that are served too; their clients are made anew, and read the metadata of
	// their tenants again.
	maxAgents       = 1024
	maxAgentTenants = 8
)

// agentClients are the MSAL clients of agents: MSAL has one for each client ID.
type agentClients struct {
	create func(agentID string) (*msalClient, error)

	mu      sync.Mutex // guards clients
	clients map[string]*msalClient
}

// newAgentClients returns the clients of agents in a region or noRegion.
func (c Config) newAgentClients(region string) *agentClients {
	return &agentClients{clients: map[string]*msalClient{}, create: func(agentID string) (*msalClient, error) {
		return newMSALClient(maxAgentTenants, func() (confidential.Client, error) {
			return c.newMSAL(agentID, confidential.NewCredFromAssertionCallback(asAgent), region)
		})
	}}
}

// forAgent returns the client for an exchange of an agent in a tenant, "" for our own.
func (a *agentClients) forAgent(agentID, tenant string) (confidential.Client, error) {
	client, err := a.of(agentID)
	if err != nil {
		return confidential.Client{}, err
	}
	return client.forTenant(tenant), nil
}

func (a *agentClients) of(agentID string) (*msalClient, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if client, ok := a.clients[agentID]; ok {
		return client, nil
	}
	client, err := a.create(agentID)
	if err != nil {
		return nil, err
	}
	if len(a.clients) >= maxAgents {
		clear(a.clients)
	}
	a.clients[agentID] = client
	return client, nil
}
