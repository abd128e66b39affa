package mockidp

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// devicePath is where the user types the code, as at Entra.
const devicePath = "/common/oauth2/deviceauth"

//go:embed pages/device.html
var devicePageText string

var devicePages = template.Must(template.New("device").Parse(devicePageText))

// devicePageData is what the page shows: the field for the code, who may sign in, or how it
// ended.
type devicePageData struct {
	Path    string
	Code    string // known and pending, or as it was typed
	Problem string
	App     string  // that waits for the user
	Users   []*User // that may sign in
	Ended   string  // nothing is left to do
}

// devicePage answers GET and POST on the page where users type the code that their device
// shows, and choose who they are. A POST with both at once is enough, for tests.
func (s *Server) devicePage(r *http.Request) answer {
	page := devicePageData{Path: devicePath}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		page.Code = typedCode(r.URL.Query().Get("otc"))
		return page.answer(http.StatusOK)
	case http.MethodPost:
	default:
		return answer{status: http.StatusMethodNotAllowed, header: map[string]string{"Allow": "GET, HEAD, POST"}}
	}
	form, refused := readForm(nil, r)
	if refused != nil || http.NewCrossOriginProtection().Check(r) != nil {
		page.Problem = "This form was not sent by this page. Enter the code here."
		return page.answer(http.StatusForbidden)
	}
	return s.deviceDecision(page, form)
}

// deviceDecision does what the form says.
func (s *Server) deviceDecision(page devicePageData, form url.Values) answer {
	now := time.Now()
	page.Code = typedCode(form.Get("otc"))
	waiting, found := s.devices.pending(page.Code, now)
	if !found {
		page.Problem = "No device waits for this code. It may be mistyped, used or expired."
		return page.answer(http.StatusBadRequest)
	}
	app := s.dir().app(waiting.clientID)
	if app == nil {
		page.Problem = "The app that asked for this code is no longer registered."
		return page.answer(http.StatusBadRequest)
	}
	page.App, page.Users = app.Name, s.dir().usersIn(s.dir().tenants[waiting.path])
	state, objectID := deviceDeclined, ""
	switch name := form.Get("user"); {
	case form.Has("cancel"):
	case name == "":
		return page.answer(http.StatusOK)
	default:
		user := s.dir().user(name)
		if user == nil || !slices.Contains(page.Users, user) {
			page.Problem = "This user cannot sign in here."
			return page.answer(http.StatusBadRequest)
		}
		state, objectID = deviceApproved, user.ObjectID
	}
	if !s.devices.decide(waiting.userCode, state, objectID, signIn{Time: now}, now) {
		page.App, page.Problem = "", "The code has just been used or has expired."
		return page.answer(http.StatusConflict)
	}
	page.Ended = fmt.Sprintf("You have signed in to %s on your device. You may now close this window.", app.Name)
	if state == deviceDeclined {
		page.Ended = fmt.Sprintf("%s does not get your sign-in. You may now close this window.", app.Name)
	}
	return page.answer(http.StatusOK)
}

// usersIn returns the tenant's users, or with no tenant everybody, by name.
func (d *directory) usersIn(tenant Tenant) []*User {
	var users []*User
	for name, user := range d.users {
		if strings.EqualFold(name, user.ObjectID) && (tenant.ID == "" || strings.EqualFold(tenant.ID, user.TenantID)) {
			users = append(users, user)
		}
	}
	slices.SortFunc(users, func(a, b *User) int { return cmp.Compare(a.Name, b.Name) })
	return users
}

func (page devicePageData) answer(status int) answer {
	var body bytes.Buffer
	if err := devicePages.Execute(&body, page); err != nil {
		panic(fmt.Sprintf("mockidp: the device page: %v", err)) // only strings of ours
	}
	return answer{status: status, body: body.Bytes(), header: map[string]string{
		"Content-Type":            "text/html; charset=utf-8",
		"Cache-Control":           "no-store",
		"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
		"Referrer-Policy":         "same-origin",
		"X-Content-Type-Options":  "nosniff",
	}}
}
