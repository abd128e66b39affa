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
	renew func() (confidential.Client, error)

	mu      sync.Mutex // guards the rest
	client  confidential.Client
	tenants map[string]bool // that client has seen
}

func newMSALClient(renew func() (confidential.Client, error)) (*msalClient, error) {
	client, err := renew()
	return &msalClient{renew: renew, client: client, tenants: map[string]bool{}}, err
}

// forTenant returns the client for an exchange in a tenant, "" for our own.
func (m *msalClient) forTenant(tenant string) confidential.Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.tenants[tenant] {
		if len(m.tenants) >= maxTenants {
			// It went well with the same credential: else the old one goes on.
			if client, err := m.renew(); err == nil {
				m.client = client
				clear(m.tenants)
			}
		}
		if len(m.tenants) < maxTenants {
			m.tenants[tenant] = true
		}
	}
	return m.client
}
