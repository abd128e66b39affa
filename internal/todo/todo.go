// Package todo is a small protected API: what a downstream API looks like that
// checks its own tokens. It is a server of the Model Context Protocol as well. The
// demo and the tests call it.
package todo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"middletier/internal/validate"
)

// Item is something to do. A user sees only items of their own.
type Item struct {
	ID    int    `json:"id"`
	Title string `json:"title"`
	Owner string `json:"owner"` // object id of the user
	Name  string `json:"name"`  // of the user, for display
}

// Scopes and app permissions of the API, as its registration exposes them.
var (
	Scopes         = []string{"ToDoList.Read", "ToDoList.ReadWrite"}
	AppPermissions = []string{"ToDoList.Read.All", "ToDoList.ReadWrite.All"}
)

const (
	maxBody  = 4 << 10
	maxItems = 10_000
)

// API serves the to-do lists of all users from memory. It asks for the optional
// claim idtyp, so that its tokens say whether there is a user.
type API struct {
	validator *validate.Validator
	access    *validate.Access
	endpoint  *endpoint
	mux       *http.ServeMux

	mu    sync.Mutex // guards items and last
	items []Item
	last  int
}

// New returns an API whose tokens validator checks.
func New(validator *validate.Validator) *API {
	a := &API{validator: validator, mux: http.NewServeMux()}
	a.access = newAccess(
		validate.Rule{Methods: []string{"GET", "HEAD"}, Scopes: Scopes, AppPermissions: AppPermissions},
		validate.Rule{Methods: []string{"POST", "DELETE"}, Scopes: Scopes[1:], AppPermissions: AppPermissions[1:]},
	)
	a.mux.HandleFunc("GET /items", a.authorize(a.access, a.list))
	a.mux.HandleFunc("POST /items", a.authorize(a.access, a.add))
	a.mux.HandleFunc("DELETE /items/{id}", a.authorize(a.access, a.remove))
	a.endpoint = newEndpoint(a)
	anyTool := newAccess(validate.Rule{Scopes: Scopes, AppPermissions: AppPermissions}) // each tool checks its own
	a.mux.HandleFunc(Endpoint, a.authorize(anyTool, a.endpoint.serve))
	return a
}

func newAccess(rules ...validate.Rule) *validate.Access {
	return validate.NewAccess(rules, func(key, problem string) { panic(key + ": " + problem) })
}

func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

// handler answers an authorized request.
type handler func(w http.ResponseWriter, r *http.Request, caller *validate.Caller)

func (a *API) authorize(access *validate.Access, next handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		caller, err := a.validator.Validate(r.Context(), token)
		if !ok || err != nil {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
			return
		}
		var denied *validate.AccessError
		if err := access.Check(caller, r.Method, r.URL.Path); errors.As(err, &denied) {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer error="insufficient_scope", scope="%s"`, strings.Join(denied.Needed, " ")))
			writeJSON(w, http.StatusForbidden, map[string]string{"error": "insufficient_scope"})
			return
		}
		next(w, r, caller)
	}
}

// canAccess reports whether caller may see and change item: an application with the
// permission may for all, a user for their own.
func canAccess(caller *validate.Caller, item Item) bool {
	return caller.IsApp() || item.Owner == caller.ObjectID()
}

func (a *API) list(w http.ResponseWriter, _ *http.Request, caller *validate.Caller) {
	writeJSON(w, http.StatusOK, a.visible(caller))
}

// visible returns the items that caller may see.
func (a *API) visible(caller *validate.Caller) []Item {
	visible := []Item{}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, item := range a.items {
		if canAccess(caller, item) {
			visible = append(visible, item)
		}
	}
	return visible
}

func (a *API) add(w http.ResponseWriter, r *http.Request, caller *validate.Caller) {
	var item Item
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&item); err != nil || item.Title == "" || item.ID != 0 {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": `the body must be {"title": "…"}`})
		return
	}
	added, err := a.insert(r.Context(), caller, item)
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	writeJSON(w, http.StatusCreated, added)
}

var (
	errNoOwner = errors.New("an application must give the owner")
	errNoItem  = errors.New("no such item")
)

// insert adds an item of the caller. An application has no list, so it gives the owner of the
// item.
func (a *API) insert(ctx context.Context, caller *validate.Caller, item Item) (Item, error) {
	if !caller.IsApp() {
		item.Owner, item.Name = caller.ObjectID(), caller.Name()
	}
	if item.Owner == "" {
		return Item{}, errNoOwner
	}
	a.mu.Lock()
	a.last++
	item.ID = a.last
	a.items = append(a.items, item)
	if len(a.items) > maxItems {
		a.items = a.items[1:]
	}
	a.mu.Unlock()
	a.endpoint.changed(ctx, item.Owner)
	return item, nil
}

func (a *API) remove(w http.ResponseWriter, r *http.Request, caller *validate.Caller) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err == nil {
		err = a.drop(r.Context(), caller, id)
	}
	if err != nil {
		writeJSON(w, http.StatusNotFound, map[string]string{"error": errNoItem.Error()})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// drop removes an item that caller may change. For others, there is no such item.
func (a *API) drop(ctx context.Context, caller *validate.Caller, id int) error {
	item, found := a.cut(caller, id)
	if !found {
		return errNoItem
	}
	a.endpoint.changed(ctx, item.Owner)
	return nil
}

func (a *API) cut(caller *validate.Caller, id int) (item Item, found bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i, found := slices.BinarySearchFunc(a.items, id, func(item Item, id int) int { return cmp.Compare(item.ID, id) })
	if !found || !canAccess(caller, a.items[i]) {
		return Item{}, false
	}
	item = a.items[i]
	a.items = slices.Delete(a.items, i, i+1)
	return item, true
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the caller may have left
}
