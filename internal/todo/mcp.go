package todo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"middletier/internal/validate"
)

// Endpoint is the path at which the API speaks the Model Context Protocol.
const Endpoint = "/mcp"

// The tools of the endpoint.
const (
	ListTool   = "todo_list"
	AddTool    = "todo_add"
	DeleteTool = "todo_delete"
)

const (
	// statelessRevision is the first revision of the protocol that has no sessions.
	statelessRevision = "2026-07-28"
	// maxMessage limits a client's message, in bytes.
	maxMessage = 64 << 10
	// sessionTimeout is how long a session may be without requests.
	sessionTimeout = time.Hour
	// listURI is what the URI of a user's list begins with. The user's object ID follows.
	listURI = "todo://lists/"
)

// endpoint speaks the Model Context Protocol, with the lists of an API. Clients of earlier
// revisions have sessions. A session belongs to the caller who began it.
type endpoint struct {
	api                 *API
	server              *mcp.Server
	stateful, stateless http.Handler
}

func newEndpoint(a *API) *endpoint {
	e := &endpoint{api: a}
	e.server = mcp.NewServer(&mcp.Implementation{Name: "todo", Title: "ToDo lists", Version: "1"}, &mcp.ServerOptions{
		Capabilities: &mcp.ServerCapabilities{}, // without logging
		SubscribeHandler: func(ctx context.Context, r *mcp.SubscribeRequest) error {
			return checkList(callerOf(ctx, r.Extra), r.Params.URI)
		},
		UnsubscribeHandler: func(context.Context, *mcp.UnsubscribeRequest) error { return nil },
		SetCacheable:       func(_ context.Context, _ mcp.Request, c *mcp.Cacheable) { c.CacheScope = "private" },
	})
	e.addTools()
	e.server.AddResourceTemplate(&mcp.ResourceTemplate{
		Name: "list", Title: "A user's list", URITemplate: listURI + "{owner}", MIMEType: "application/json",
	}, e.read)
	serve := func(stateless bool) http.Handler {
		handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return e.server }, &mcp.StreamableHTTPOptions{
			Stateless: stateless, SessionTimeout: sessionTimeout, MaxRequestBodyBytes: maxMessage,
			EventStore: mcp.NewMemoryEventStore(nil), // lets a client resume a stream that broke
		})
		return auth.RequireBearerToken(tokenInfo, &auth.RequireBearerTokenOptions{AllowMissingExpiration: true})(handler)
	}
	e.stateful, e.stateless = serve(false), serve(true)
	return e
}

func (e *endpoint) addTools() {
	closed, no := false, false
	mcp.AddTool(e.server, &mcp.Tool{
		Name: ListTool, Description: "Lists what the user has to do.",
		Annotations: &mcp.ToolAnnotations{ReadOnlyHint: true, OpenWorldHint: &closed},
	}, e.list)
	mcp.AddTool(e.server, &mcp.Tool{
		Name: AddTool, Description: "Adds an item to the user's list.",
		Annotations: &mcp.ToolAnnotations{DestructiveHint: &no, OpenWorldHint: &closed},
	}, e.add)
	mcp.AddTool(e.server, &mcp.Tool{
		Name: DeleteTool, Description: "Deletes an item of the user's list.",
		Annotations: &mcp.ToolAnnotations{OpenWorldHint: &closed},
	}, e.remove)
}

// callerKey is the key of the caller in a request's context, and in what the SDK knows of
// the token.
const callerKey = contextKey("caller")

type contextKey string

// serve answers an authorized request. The SDK gets the caller as a user of its own, to whom
// it binds sessions.
func (e *endpoint) serve(w http.ResponseWriter, r *http.Request, caller *validate.Caller) {
	r = r.WithContext(context.WithValue(r.Context(), callerKey, caller))
	if r.Header.Get("MCP-Protocol-Version") >= statelessRevision {
		e.stateless.ServeHTTP(w, r)
		return
	}
	e.stateful.ServeHTTP(w, r)
}

// tokenInfo tells the SDK whose token a request has, which was validated before.
func tokenInfo(ctx context.Context, _ string, _ *http.Request) (*auth.TokenInfo, error) {
	caller, ok := ctx.Value(callerKey).(*validate.Caller)
	if !ok {
		return nil, auth.ErrInvalidToken
	}
	return &auth.TokenInfo{
		UserID: caller.TenantID() + "/" + cmp.Or(caller.ObjectID(), caller.Subject()),
		Extra:  map[string]any{string(callerKey): caller},
	}, nil
}

// callerOf returns the caller of a message. Where the SDK does not say of which request it
// was, it is who began the session: no other caller's requests reach it.
func callerOf(ctx context.Context, extra *mcp.RequestExtra) *validate.Caller {
	info := auth.TokenInfoFromContext(ctx)
	if extra != nil {
		info = extra.TokenInfo
	}
	if info == nil {
		return nil
	}
	caller, _ := info.Extra[string(callerKey)].(*validate.Caller)
	return caller
}

var errForbidden = errors.New("forbidden")

// check returns the caller of a message, if its token allows what the method would do on the
// API's route for items.
func (e *endpoint) check(ctx context.Context, extra *mcp.RequestExtra, method string) (*validate.Caller, error) {
	caller := callerOf(ctx, extra)
	if caller == nil {
		return nil, errForbidden
	}
	var denied *validate.AccessError
	if err := e.api.access.Check(caller, method, "/items"); errors.As(err, &denied) {
		return nil, fmt.Errorf("insufficient_scope: the token needs one of %s", strings.Join(denied.Needed, ", "))
	}
	return caller, nil
}

// List is what the tool todo_list answers.
type List struct {
	URI   string `json:"uri,omitempty" jsonschema:"the URI of the user's list, which can be read and subscribed to"`
	Items []Item `json:"items"`
}

func (e *endpoint) list(ctx context.Context, r *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, List, error) {
	caller, err := e.check(ctx, r.Extra, http.MethodGet)
	if err != nil {
		return nil, List{}, err
	}
	result := List{Items: e.api.visible(caller)}
	if !caller.IsApp() {
		result.URI = listURI + caller.ObjectID()
	}
	return nil, result, nil
}

// NewItem is what the tool todo_add takes.
type NewItem struct {
	Title string `json:"title" jsonschema:"what there is to do"`
	Owner string `json:"owner,omitempty" jsonschema:"the object ID of the user whose item it is; for applications, which have no list"`
}

func (e *endpoint) add(ctx context.Context, r *mcp.CallToolRequest, item NewItem) (*mcp.CallToolResult, Item, error) {
	caller, err := e.check(ctx, r.Extra, http.MethodPost)
	if err != nil {
		return nil, Item{}, err
	}
	if item.Title == "" || len(item.Title) > maxBody {
		return nil, Item{}, errors.New("the title is empty or too long")
	}
	added, err := e.api.insert(ctx, caller, Item{Title: item.Title, Owner: item.Owner})
	return nil, added, err
}

// OldItem is what the tool todo_delete takes.
type OldItem struct {
	ID int `json:"id" jsonschema:"the id of the item"`
}

// Deleted is what the tool todo_delete answers.
type Deleted struct {
	ID int `json:"id"`
}

func (e *endpoint) remove(ctx context.Context, r *mcp.CallToolRequest, item OldItem) (*mcp.CallToolResult, Deleted, error) {
	caller, err := e.check(ctx, r.Extra, http.MethodDelete)
	if err != nil {
		return nil, Deleted{}, err
	}
	return nil, Deleted(item), e.api.drop(ctx, caller, item.ID)
}

// checkList returns an error unless caller may see the list. For others, there is no such list.
func checkList(caller *validate.Caller, uri string) error {
	owner, ok := strings.CutPrefix(uri, listURI)
	if !ok || caller == nil || !canAccess(caller, Item{Owner: owner}) {
		return mcp.ResourceNotFoundError(uri)
	}
	return nil
}

// read answers with the list of a user.
func (e *endpoint) read(ctx context.Context, r *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
	caller := callerOf(ctx, r.Extra)
	if err := checkList(caller, r.Params.URI); err != nil {
		return nil, err
	}
	items := []Item{}
	for _, item := range e.api.visible(caller) {
		if listURI+item.Owner == r.Params.URI {
			items = append(items, item)
		}
	}
	text, err := json.Marshal(items)
	if err != nil {
		return nil, err
	}
	return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{
		URI: r.Params.URI, MIMEType: "application/json", Text: string(text),
	}}}, nil
}

// changed notifies who subscribed to the list of owner.
func (e *endpoint) changed(ctx context.Context, owner string) {
	_ = e.server.ResourceUpdated(ctx, &mcp.ResourceUpdatedNotificationParams{URI: listURI + owner}) // it never fails
}
