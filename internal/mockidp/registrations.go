package mockidp

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"middletier/internal/config"
)

// postUser answers POST /mock/users: it adds a user, or replaces the one with this object id.
func (s *Server) postUser(w http.ResponseWriter, r *http.Request) {
	var entry userEntry
	doc, ok := parseEntry(w, r, &entry)
	if !ok {
		return
	}
	var user User
	if s.register(w, doc, func(dir *Directory) string {
		user = entry.user(*dir)
		if entry.ObjectID == "" {
			user.ObjectID = dir.objectIDOf(user)
		}
		at := slices.IndexFunc(dir.Users, func(known User) bool { return strings.EqualFold(known.ObjectID, user.ObjectID) })
		if at < 0 {
			dir.Users = append(dir.Users, user)
			return fmt.Sprintf("users[%d].", len(dir.Users)-1)
		}
		for i, grant := range dir.Grants { // which may know the user by a name that ends
			if dir.Users[at].is(grant.User) {
				dir.Grants[i].User = user.ObjectID
			}
		}
		dir.Users[at] = user
		return fmt.Sprintf("users[%d].", at)
	}) {
		writeJSON(w, map[string]string{"name": user.Name, "tenantId": user.TenantID, "objectId": user.ObjectID, "username": user.Username})
	}
}

// postApp answers POST /mock/apps: it adds an app, or replaces the one with this client id.
func (s *Server) postApp(w http.ResponseWriter, r *http.Request) {
	var entry appEntry
	doc, ok := parseEntry(w, r, &entry)
	if !ok {
		return
	}
	var app App
	if s.register(w, doc, func(dir *Directory) string {
		if app = entry.app(*dir, "", doc.Report); doc.Err() != nil {
			return "" // a credential cannot be read
		}
		at := slices.IndexFunc(dir.Apps, func(known App) bool { return strings.EqualFold(known.ClientID, app.ClientID) })
		if at < 0 {
			dir.Apps = append(dir.Apps, app)
			return fmt.Sprintf("apps[%d].", len(dir.Apps)-1)
		}
		for i, grant := range dir.Grants {
			if dir.Apps[at].is(grant.Client) {
				dir.Grants[i].Client = app.ClientID
			}
			if dir.Apps[at].is(grant.Resource) {
				dir.Grants[i].Resource = app.ClientID
			}
		}
		dir.Apps[at] = app
		return fmt.Sprintf("apps[%d].", at)
	}) {
		writeJSON(w, map[string]string{"name": app.Name, "tenantId": app.TenantID, "clientId": app.ClientID, "objectId": app.ObjectID})
	}
}

// postGrant answers POST /mock/grants: it adds a grant, or replaces what the same client was
// granted of the same resource. One without scopes and roles withdraws consent.
func (s *Server) postGrant(w http.ResponseWriter, r *http.Request) {
	var entry grantEntry
	doc, ok := parseEntry(w, r, &entry)
	if !ok {
		return
	}
	grant := Grant(entry)
	if !s.register(w, doc, func(dir *Directory) string {
		ids := dir.ids()
		key := ids.grantKey(grant)
		same := func(known Grant) bool { return ids.grantKey(known) == key }
		at := slices.IndexFunc(dir.Grants, same)
		if at < 0 {
			dir.Grants = append(dir.Grants, grant)
			return fmt.Sprintf("grants[%d].", len(dir.Grants)-1)
		}
		rest := slices.DeleteFunc(dir.Grants[at+1:], same)
		dir.Grants = dir.Grants[:at+1+len(rest)]
		dir.Grants[at] = grant
		return fmt.Sprintf("grants[%d].", at)
	}) {
		return
	}
	dir := s.dir() // in which another request may have reset
	user, client, resource := dir.user(grant.User), dir.apps[strings.ToLower(grant.Client)], dir.apps[strings.ToLower(grant.Resource)]
	if user != nil && client != nil && resource != nil { // who consented on the page too
		s.consents.remove(user, client, resource)
		if err := s.save(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// register edits the directory and reports whether the result is valid; if not, it answers
// 400. edit returns the prefix of the entry's keys, which the answer leaves out.
func (s *Server) register(w http.ResponseWriter, doc *config.Document, edit func(*Directory) string) bool {
	prefix := ""
	var mistakes Mistakes
	err := s.change(func(dir *Directory) { prefix = edit(dir) })
	if errors.As(err, &mistakes) {
		for _, m := range mistakes {
			doc.Report(strings.TrimPrefix(m.Key, prefix), m.Problem)
		}
	}
	return usable(w, doc.Err())
}

// parseEntry reads an entry of a directory file from a JSON body, or answers 400 and
// reports false.
func parseEntry(w http.ResponseWriter, r *http.Request, entry any) (*config.Document, bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil && len(strings.TrimSpace(string(body))) == 0 {
		err = errors.New("it is empty")
	}
	if err != nil {
		return nil, usable(w, err)
	}
	doc, err := config.Parse("body.json", body, config.Input{}, entry)
	if err == nil {
		err = doc.Err()
	}
	return doc, usable(w, err)
}

// usable reports whether err is nil, and otherwise answers 400 with it.
func usable(w http.ResponseWriter, err error) bool {
	if err != nil {
		http.Error(w, "the body cannot be used: "+strings.ReplaceAll(err.Error(), "\n", "; "), http.StatusBadRequest)
	}
	return err == nil
}

// objectIDOf is that of the user of this name, if there is one, or the one that follows from
// the name.
func (dir *Directory) objectIDOf(user User) string {
	for _, known := range dir.Users {
		if strings.EqualFold(known.Name, user.Name) && strings.EqualFold(known.TenantID, user.TenantID) {
			return known.ObjectID
		}
	}
	return user.ObjectID
}

// ids are the ids of apps and users by each of their names, all in lower case.
type ids struct{ apps, users map[string]string }

func (dir *Directory) ids() ids {
	known := ids{map[string]string{}, map[string]string{}}
	for _, app := range dir.Apps {
		id := strings.ToLower(app.ClientID)
		known.apps[strings.ToLower(app.Name)], known.apps[id] = id, id
	}
	for _, user := range dir.Users {
		id := strings.ToLower(user.ObjectID)
		known.users[strings.ToLower(user.Name)], known.users[strings.ToLower(user.Username)], known.users[id] = id, id, id
	}
	delete(known.users, "")
	return known
}

// grantKey is the same for grants of the same client and resource by the same user.
func (known ids) grantKey(grant Grant) grantKey {
	return grantKey{idOf(known.apps, grant.Client), idOf(known.apps, grant.Resource), idOf(known.users, grant.User)}
}

// idOf returns the name itself where it is unknown, or not of the directory as Microsoft
// Graph's is.
func idOf(ids map[string]string, name string) string {
	name = strings.ToLower(name)
	return cmp.Or(ids[name], name)
}

// is reports whether a grant that says name means the app.
func (a *App) is(name string) bool {
	return strings.EqualFold(a.Name, name) || strings.EqualFold(a.ClientID, name)
}

func (u *User) is(name string) bool {
	return name != "" && (strings.EqualFold(u.Name, name) || strings.EqualFold(u.ObjectID, name) || strings.EqualFold(u.Username, name))
}

// Reset returns to the directory as New got it, and forgets faults, requests, sign-ins,
// consents and keys that were published only. Codes and refresh tokens end.
func (s *Server) Reset() error {
	sealer, err := newSealer(newSealingKey())
	if err != nil {
		return err
	}
	if err := s.change(func(dir *Directory) { *dir = s.initial }); err != nil {
		return err
	}
	s.sealer.Store(sealer)
	s.ClearFaults()
	s.ResetRequests()
	s.forgetSignIns()
	s.keys.forgetNext()
	return s.save()
}

// postReset answers POST /mock/reset.
func (s *Server) postReset(w http.ResponseWriter, _ *http.Request) {
	if err := s.Reset(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
