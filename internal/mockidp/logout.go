package mockidp

import (
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// signingOut is a request to sign out ("Send a sign-out request"; OpenID Connect RP-Initiated
// Logout, section 2).
type signingOut struct {
	path     string
	query    url.Values
	returnTo string // a registered redirect URI, or ""
	browser  browser
	userID   string // of the account to sign out; "": not said
	now      time.Time
}

// sealedSigningOut is a signingOut in the form of a page.
type sealedSigningOut struct {
	Browser string    `json:"browser"`
	Path    string    `json:"path"`
	Query   string    `json:"query"`
	Expires time.Time `json:"expires"`
}

const sealedSignOut = "sign-out page"

// logout answers GET and POST /{tenant}/oauth2/v2.0/logout.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	query, refused := authorizationQuery(w, r)
	seen := Request{Method: r.Method, Path: r.URL.Path, Flow: "logout", Form: query}
	s.respond(w, r, seen, func() answer {
		if refused != nil {
			return s.errorPage(r, refused)
		}
		out, refused := s.newSigningOut(r, r.PathValue("tenant"), query)
		if refused != nil {
			return s.errorPage(r, refused)
		}
		accounts := s.sessions.accounts(out.browser, out.now)
		if out.userID == "" && len(accounts) > 1 {
			return s.signOutPage(out, accounts)
		}
		return s.signOut(r, out, accounts)
	})
}

// newSigningOut reads a request to sign out. Its redirect URI counts only if it is registered,
// for the client if the request names one: else the user stays on the platform's page.
func (s *Server) newSigningOut(r *http.Request, tenantName string, query url.Values) (signingOut, *refusal) {
	tenant, path, refused := s.findTenant(tenantName)
	if refused != nil {
		return signingOut{}, refused
	}
	out := signingOut{path: path, query: query, browser: browserOf(r), now: time.Now()}
	hint := s.readIDTokenHint(query.Get("id_token_hint"))
	clientID := query.Get("client_id")
	if clientID == "" && len(hint.Audience) == 1 {
		clientID = hint.Audience[0]
	}
	if uri := query.Get("post_logout_redirect_uri"); s.mayReturnTo(tenant, clientID, uri) {
		out.returnTo = uri
	}
	for _, who := range s.sessions.accounts(out.browser, out.now) {
		user := s.dir().user(who.userID)
		named := user != nil && user.hinted(query.Get("logout_hint"))
		hinted := who.userID == hint.ObjectID && (hint.SessionID == "" || who.signIn.SessionID == hint.SessionID)
		if named || hinted || who.signIn.SessionID == query.Get("logout_hint") {
			out.userID = who.userID
		}
	}
	return out, nil
}

// idTokenHint are the claims of an ID token that name an account and a client.
type idTokenHint struct {
	jwt.RegisteredClaims
	ObjectID  string `json:"oid"`
	SessionID string `json:"sid"`
}

// readIDTokenHint reads an ID token of this platform. An expired one names the session too
// (OpenID Connect RP-Initiated Logout, section 2); what is not one says nothing.
func (s *Server) readIDTokenHint(text string) idTokenHint {
	var hint idTokenHint
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation())
	if _, err := parser.ParseWithClaims(text, &hint, s.ownKey); err != nil {
		return idTokenHint{}
	}
	return hint
}

// mayReturnTo reports whether an app of the tenant, the one named if there is one, registered
// the redirect URI.
func (s *Server) mayReturnTo(tenant Tenant, clientID, uri string) bool {
	for _, app := range s.dir().apps {
		named := clientID == "" || strings.EqualFold(app.ClientID, clientID)
		if named && (tenant.ID == "" || app.in(tenant)) && app.platform(uri) != "" {
			return true
		}
	}
	return false
}

// continueSignOut answers POST /{tenant}/logout: the choice of the account.
func (s *Server) continueSignOut(w http.ResponseWriter, r *http.Request) {
	form, refused := readPageForm(w, r)
	seen := Request{Method: r.Method, Path: r.URL.Path, Flow: "logout", Form: url.Values{}}
	s.respond(w, r, seen, func() answer {
		var sealed sealedSigningOut
		if refused == nil {
			refused = s.openPage(r, sealedSignOut, form.Get("flow"), &sealed)
		}
		if refused != nil {
			return s.errorPage(r, refused)
		}
		query, err := url.ParseQuery(sealed.Query)
		if err != nil || sealed.Browser != browserOf(r).print() || time.Now().After(sealed.Expires) {
			return s.errorPage(r, pageExpired())
		}
		out, refused := s.newSigningOut(r, sealed.Path, query)
		if refused != nil {
			return s.errorPage(r, refused)
		}
		out.userID = form.Get("user")
		return s.signOut(r, out, s.sessions.accounts(out.browser, out.now))
	})
}

// signOut signs out the account, or the only one, and tells the applications that know of it.
func (s *Server) signOut(r *http.Request, out signingOut, accounts []account) answer {
	var frames []string
	for _, who := range accounts {
		if out.userID == "" || who.userID == out.userID {
			frames = append(frames, s.frontChannel(who)...)
			s.sessions.signOut(out.browser, who.userID)
		}
	}
	returnTo := ""
	if out.returnTo != "" {
		parameters := url.Values{}
		if state, has := out.query["state"]; has {
			parameters["state"] = state
		}
		returnTo = withQuery(out.returnTo, parameters)
	}
	if len(frames) == 0 && returnTo != "" {
		return redirect(r, returnTo)
	}
	p := page{Title: "You signed out", Data: map[string]any{"Frames": frames, "ReturnTo": template.URL(returnTo)}}
	if len(frames) > 0 {
		origins := map[string]bool{}
		for _, frame := range frames {
			origins[originOf(frame)] = true
		}
		p.frames, p.Script = strings.Join(slices.Sorted(maps.Keys(origins)), " "), template.JS(signedOutScript)
	}
	return render(http.StatusOK, "signed_out.html", p)
}

// frontChannel returns the addresses that tell applications of the end of a sign-in (OpenID
// Connect Front-Channel Logout, section 3). Like Entra's they have sid and no iss.
func (s *Server) frontChannel(who account) []string {
	var addresses []string
	for _, clientID := range who.clients {
		app := s.dir().app(clientID)
		if app == nil || app.FrontChannelLogoutURI == "" {
			continue
		}
		addresses = append(addresses, withQuery(app.FrontChannelLogoutURI, url.Values{"sid": {who.signIn.SessionID}}))
	}
	return addresses
}

// signOutPage asks which of several accounts signs out.
func (s *Server) signOutPage(out signingOut, accounts []account) answer {
	var users []*User
	for _, who := range accounts {
		if user := s.dir().user(who.userID); user != nil {
			users = append(users, user)
		}
	}
	return render(http.StatusOK, "sign_out.html", page{
		Title: "Choose who signs out", Action: template.URL("/" + out.path + "/logout"),
		Flow: s.sealer.Load().seal(sealedSignOut, sealedSigningOut{
			Browser: out.browser.print(), Path: out.path, Query: out.query.Encode(), Expires: out.now.Add(pageLifetime),
		}),
		Data: users,
	})
}
