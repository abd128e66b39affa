package mockidp

// Microsoft Graph's client id and App ID URI, in every tenant.
const (
	graphID  = "00000003-0000-0000-c000-000000000000"
	graphURI = "https://graph.microsoft.com"
)

// newGraph returns the one resource that every tenant has. Scopes without a resource are its
// own, and its tokens are good for the user's profile (userInfo).
func newGraph() *App {
	return &App{
		Name: "Microsoft Graph", MultiTenant: true, ClientID: graphID, ObjectID: "00000003-0000-4000-8000-000000000000",
		IDURIs: []string{graphURI}, TokenVersion: 1,
		Scopes: []string{"User.Read", "openid", "profile", "email", "offline_access"},
	}
}

// addGraph adds Microsoft Graph unless the directory has an app in its place.
func (x *indexer) addGraph() {
	graph := newGraph()
	if x.apps[graphID] != nil || x.resources[graphURI] != nil {
		return
	}
	x.apps[graphID], x.resources[graphID], x.resources[graphURI] = graph, graph, graph
}
