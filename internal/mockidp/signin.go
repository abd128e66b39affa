package mockidp

import (
	"cmp"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// pageLifetime is how long a page of the sign-in may stay open.
const pageLifetime = time.Hour

// signingIn is a sign-in under way: an authorization request, and what the user did so far.
type signingIn struct {
	*authorization
	browser   browser
	userID    string // chosen on the page
	consented bool   // on the page, for this request
}

// sealedFlow is a signingIn in the form of a page, which only the browser that got the page
// can send.
type sealedFlow struct {
	Browser   string    `json:"browser"`
	Path      string    `json:"path"`
	Query     string    `json:"query"`
	Device    string    `json:"device,omitempty"` // in place of Path and Query
	UserID    string    `json:"user,omitempty"`
	Consented bool      `json:"consented,omitempty"`
	Expires   time.Time `json:"expires"`
}

const sealedSignIn = "sign-in page"

func (s *Server) sealFlow(in signingIn) string {
	return s.sealer.Load().seal(sealedSignIn, sealedFlow{
		Browser: in.browser.print(), Path: in.path, Query: in.query.Encode(), Device: in.device,
		UserID: in.userID, Consented: in.consented, Expires: in.now.Add(pageLifetime),
	})
}

// proceed takes the next step of a sign-in: a page, or the response to the application.
func (s *Server) proceed(r *http.Request, in signingIn) answer {
	who, refused := s.chooseAccount(in)
	switch {
	case refused != nil && in.prompt("none"):
		return s.sendRefusal(r, in.authorization, refused)
	case refused != nil:
		return s.choosePage(in)
	}
	user := in.dir.users[strings.ToLower(who.userID)]
	if in.tenant.ID == "" {
		if refused := s.resolveScopes(in.authorization, in.dir.tenants[strings.ToLower(user.TenantID)]); refused != nil {
			return s.sendRefusal(r, in.authorization, refused)
		}
	}
	in.userID = user.ObjectID
	if unmet := in.claims.unmet(who.signIn); len(unmet) > 0 {
		if in.prompt("none") {
			return s.sendRefusal(r, in.authorization, mustProve(unmet, in.requested.resource))
		}
		return s.provePage(in, user, unmet)
	}
	missing := s.unconsented(user, in.client, in.requested)
	if len(missing) > 0 && in.prompt("none") {
		refused := notConsented(in.client)
		refused.code = "consent_required"
		return s.sendRefusal(r, in.authorization, refused)
	}
	if len(missing) > 0 || in.prompt("consent") && !in.consented {
		return s.consentPage(in, user, missing)
	}
	return s.issueResponse(r, in, who, user)
}

// chooseAccount returns the account for which the response is. A refusal says why the user
// has to choose.
func (s *Server) chooseAccount(in signingIn) (account, *refusal) {
	accounts := s.signedIn(in)
	if in.userID == "" && (in.prompt("login") || in.prompt("select_account")) {
		return account{}, refuse(50058, "The user has to choose an account.")
	}
	hint, sid := in.query.Get("login_hint"), in.query.Get("sid")
	matching := slices.DeleteFunc(slices.Clone(accounts), func(a account) bool {
		switch user := in.dir.users[strings.ToLower(a.userID)]; {
		case in.userID != "":
			return a.userID != in.userID
		case sid != "":
			return a.signIn.SessionID != sid
		case hint != "":
			return !user.hinted(hint)
		}
		return false
	})
	switch {
	case len(matching) == 1:
		return matching[0], nil
	case len(matching) > 1:
		return account{}, refuse(16000, "Either multiple user identities are available for the current request "+
			"or selected account is not supported for the scenario.")
	case sid != "" && len(accounts) > 0:
		return account{}, refuse(160021, "Application requested a user session which does not exist.")
	}
	return account{}, refuse(50058, "A silent sign-in request was sent but no user is signed in.")
}

// signedIn returns the accounts of the browser that may sign in here.
func (s *Server) signedIn(in signingIn) []account {
	return slices.DeleteFunc(s.sessions.accounts(in.browser, in.now), func(a account) bool {
		user := in.dir.users[strings.ToLower(a.userID)]
		return user == nil || !s.mayChoose(in, user)
	})
}

// mayChoose reports whether the user is of a tenant that the request is for.
func (s *Server) mayChoose(in signingIn, user *User) bool {
	if in.tenant.ID != "" {
		return strings.EqualFold(user.TenantID, in.tenant.ID)
	}
	tenant := in.dir.tenants[strings.ToLower(user.TenantID)]
	hint, known := in.dir.tenants[strings.ToLower(in.query.Get("domain_hint"))]
	return in.client.in(tenant) && (!known || hint.ID == tenant.ID)
}

// choices are the users that may sign in, those of the hint first.
func (s *Server) choices(in signingIn) []*User {
	var users []*User
	for name, user := range in.dir.users {
		if strings.EqualFold(name, user.ObjectID) && s.mayChoose(in, user) {
			users = append(users, user)
		}
	}
	hint := in.query.Get("login_hint")
	slices.SortFunc(users, func(a, b *User) int {
		hinted := func(user *User) int {
			if user.hinted(hint) {
				return 0
			}
			return 1
		}
		return cmp.Or(hinted(a)-hinted(b), cmp.Compare(a.Username, b.Username), cmp.Compare(a.ObjectID, b.ObjectID))
	})
	return users
}

// continueSignIn answers POST /{tenant}/login: the form of a page.
func (s *Server) continueSignIn(w http.ResponseWriter, r *http.Request) {
	form, refused := readPageForm(w, r)
	seen := Request{Method: r.Method, Path: r.URL.Path, Flow: "authorize", Form: url.Values{}}
	for _, name := range []string{"action", "user"} {
		if form.Has(name) {
			seen.Form[name] = form[name]
		}
	}
	var in signingIn
	if refused == nil {
		in, refused = s.openFlow(r, form.Get("flow"))
	}
	if refused != nil {
		s.respond(w, r, seen, func() answer { return s.errorPage(r, refused) })
		return
	}
	seen.refuse = func(refused *refusal) answer { return s.sendRefusal(r, in.authorization, refused) }
	s.respond(w, r, seen, func() answer { return s.act(r, in, form) })
}

// openFlow reads the sealed form. The directory may have changed since, so the request is
// checked again.
func (s *Server) openFlow(r *http.Request, text string) (signingIn, *refusal) {
	var flow sealedFlow
	if refused := s.openPage(r, sealedSignIn, text, &flow); refused != nil {
		return signingIn{}, refused
	}
	b := browserOf(r)
	query, err := url.ParseQuery(flow.Query)
	if flow.Browser != b.print() || time.Now().After(flow.Expires) || err != nil {
		return signingIn{}, pageExpired()
	}
	if flow.Device != "" {
		a, refused := s.deviceAuthorization(flow.Device)
		return signingIn{authorization: a, browser: b, userID: flow.UserID, consented: flow.Consented}, refused
	}
	a, refused := s.newAuthorization(flow.Path, query)
	if refused == nil {
		refused = s.checkAuthorization(a)
	}
	return signingIn{authorization: a, browser: b, userID: flow.UserID, consented: flow.Consented}, refused
}

// act does what the user wants on a page.
func (s *Server) act(r *http.Request, in signingIn, form url.Values) answer {
	switch form.Get("action") {
	case "choose":
		user := in.dir.user(form.Get("user"))
		if user == nil || !s.mayChoose(in, user) {
			return s.choosePage(in)
		}
		in.userID = user.ObjectID
		known := slices.ContainsFunc(s.signedIn(in), func(a account) bool { return a.userID == user.ObjectID })
		if !known || in.prompt("login") {
			s.sessions.signIn(in.browser, user, in.now)
		}
		return s.proceed(r, in)
	case "prove":
		who, refused := s.chooseAccount(in)
		if refused != nil || in.userID == "" {
			return s.choosePage(in)
		}
		s.sessions.prove(in.browser, in.userID, in.claims.unmet(who.signIn))
		return s.proceed(r, in)
	case "consent":
		who, refused := s.chooseAccount(in)
		user := in.dir.users[strings.ToLower(who.userID)]
		if refused != nil || in.userID == "" || user == nil {
			return s.choosePage(in)
		}
		if in.tenant.ID == "" {
			if refused := s.resolveScopes(in.authorization, in.dir.tenants[strings.ToLower(user.TenantID)]); refused != nil {
				return s.sendRefusal(r, in.authorization, refused)
			}
		}
		for _, also := range s.combined(user, in.client, in.requested) {
			s.consents.add(user, also.Client, also.Resource, also.Scopes)
		}
		s.consents.add(user, in.client, in.requested.resource, s.unconsented(user, in.client, in.requested))
		if err := s.save(); err != nil {
			slog.Error("mockidp: a consent ends with this process", "error", err)
			return s.sendRefusal(r, in.authorization, &refusal{code: "server_error", text: "The consent cannot be saved."})
		}
		in.consented = true
		return s.proceed(r, in)
	}
	return s.sendRefusal(r, in.authorization, cancelled())
}

func cancelled() *refusal {
	refused := refuse(65004, "User declined to consent to access the app.")
	refused.suberror = "cancel"
	return refused
}
