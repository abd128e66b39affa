package mockidp

import (
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"time"
)

// devicePath is where the user types the code, as at Entra.
const devicePath = "/common/oauth2/deviceauth"

// devicePage answers GET and POST on the page where users type the code that their device
// shows. What follows is a sign-in as any other. A POST that names the user too is enough, for
// tests.
func (s *Server) devicePage(r *http.Request) answer {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return codePage(http.StatusOK, typedCode(r.URL.Query().Get("otc")), "")
	case http.MethodPost:
	default:
		return answer{status: http.StatusMethodNotAllowed, header: map[string]string{"Allow": "GET, HEAD, POST"}}
	}
	form, refused := readForm(nil, r)
	if refused != nil || !s.fromOwnPage(r) {
		return codePage(http.StatusForbidden, "", "The form was sent by a page of another site, or is broken. Type the code here.")
	}
	code := typedCode(form.Get("otc"))
	a, refused := s.deviceAuthorization(code)
	if refused != nil {
		shown := codePage(http.StatusBadRequest, code, refused.numbered())
		shown.refusal = refused
		return shown
	}
	return s.beginDeviceSignIn(r, signingIn{authorization: a, browser: browserOf(r)}, form)
}

func (s *Server) beginDeviceSignIn(r *http.Request, in signingIn, form url.Values) answer {
	name := form.Get("user")
	switch user := s.dir().user(name); {
	case form.Has("cancel"):
		return s.sendRefusal(r, in.authorization, cancelled())
	case name == "":
		return s.proceed(r, in)
	case user == nil || !s.mayChoose(in, user):
		return codePage(http.StatusBadRequest, in.device, "This user cannot sign in here.")
	default:
		return s.act(r, in, url.Values{"action": {"choose"}, "user": {user.ObjectID}})
	}
}

// deviceAuthorization returns the sign-in that waits for this user code, as a request whose
// response is the device's. The user always sees who asks and chooses, whoever is signed in
// already: somebody else may have sent them the code (RFC 8628, section 5.4).
func (s *Server) deviceAuthorization(userCode string) (*authorization, *refusal) {
	now := time.Now()
	waiting, found := s.devices.pending(userCode, now)
	dir := s.dir()
	client := dir.app(waiting.clientID)
	if !found || client == nil {
		return nil, refuse(70018, "Invalid verification code: no device waits for it. It may be mistyped, used or expired.")
	}
	a := &authorization{
		dir:  dir,
		path: waiting.path, tenant: dir.tenants[waiting.path], client: client, device: waiting.userCode, now: now,
		query:   url.Values{"scope": {waiting.scope}, "prompt": {"select_account"}},
		prompts: []string{"select_account"},
	}
	var refused *refusal
	if a.claims, refused = parseClaims(waiting.claims); refused != nil || a.tenant.ID == "" {
		return a, refused
	}
	return a, s.resolveScopes(a, a.tenant)
}

// approveDevice lets the device have its tokens.
func (s *Server) approveDevice(r *http.Request, in signingIn, who account) answer {
	if !s.devices.decide(in.device, deviceApproved, who.userID, who.signIn, in.now) {
		return s.errorPage(r, refuse(70018, "Invalid verification code: it has just been used, or it expired."))
	}
	s.sessions.join(in.browser, who.userID, in.client.ClientID)
	shown := deviceEnd("You have signed in", fmt.Sprintf("%s has your sign-in on your device.", in.client.Name))
	if in.browser.fresh {
		shown.header["Set-Cookie"] = in.browser.cookie()
	}
	return shown
}

// refuseDevice ends the sign-in of a device if the user cancelled. After another error the user
// can try again, so the device still waits.
func (s *Server) refuseDevice(r *http.Request, a *authorization, refused *refusal) answer {
	if refused.code != "access_denied" {
		return s.errorPage(r, refused)
	}
	s.devices.decide(a.device, deviceDeclined, "", signIn{}, a.now)
	shown := deviceEnd("Cancelled", fmt.Sprintf("%s does not get your sign-in.", a.client.Name))
	shown.refusal = refused
	return shown
}

// codePage asks for the code.
func codePage(status int, code, problem string) answer {
	return render(status, "device.html", page{
		Title: "Enter the code", Action: template.URL(devicePath), Data: map[string]string{"Code": code, "Problem": problem, "Ended": ""},
	})
}

// deviceEnd is the last page of a device's sign-in.
func deviceEnd(title, text string) answer {
	return render(http.StatusOK, "device.html", page{Title: title, Data: map[string]string{"Ended": text}})
}
