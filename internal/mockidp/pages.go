package mockidp

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

//go:embed pages
var pageFiles embed.FS

// pages are the templates. Nothing of a request reaches them but through html/template.
var pages = template.Must(template.ParseFS(pageFiles, "pages/*.html"))

// The pages' style and scripts, inline, because the pages load nothing.
var (
	pageStyle       = mustRead("pages/style.css")
	submitScript    = mustRead("pages/submit.js")
	signedOutScript = mustRead("pages/signed_out.js")
)

func mustRead(name string) string {
	data, err := pageFiles.ReadFile(name)
	if err != nil {
		panic(fmt.Sprintf("mockidp: %v", err)) // embedded
	}
	return string(data)
}

// page is what every template gets.
type page struct {
	Title  string
	Style  template.CSS
	Script template.JS
	Action template.URL // where its form goes: our own path, or a registered redirect URI
	Flow   string       // sealed, for the form
	Data   any

	framed    bool   // a frame may show it
	frames    string // origins of frames that it has
	elsewhere bool   // its form goes to an application
}

// render fills a template.
//
// The policy has no form-action: browsers apply that to the redirects that answer a form too,
// and these lead to applications anywhere. No form comes from a request.
func render(status int, name string, p page) answer {
	p.Style = template.CSS(pageStyle)
	var body bytes.Buffer
	if err := pages.ExecuteTemplate(&body, name, p); err != nil {
		panic(fmt.Sprintf("mockidp: page %s: %v", name, err)) // templates and data are ours
	}
	policy := "default-src 'none'; style-src " + hashSource(pageStyle) + "; base-uri 'none'"
	if p.Script != "" {
		policy += "; script-src " + hashSource(string(p.Script))
	}
	if p.frames != "" {
		policy += "; frame-src " + p.frames
	}
	header := map[string]string{
		"Content-Type":           "text/html; charset=utf-8",
		"Cache-Control":          "no-store, no-cache",
		"Pragma":                 "no-cache",
		"X-Content-Type-Options": "nosniff",
		// Not no-referrer: with it browsers send our own forms with the origin "null".
		"Referrer-Policy": "same-origin",
	}
	if p.elsewhere {
		header["Referrer-Policy"] = "strict-origin"
	}
	if !p.framed {
		policy += "; frame-ancestors 'none'"
		header["X-Frame-Options"] = "DENY"
	}
	header["Content-Security-Policy"] = policy
	return answer{status: status, header: header, body: body.Bytes()}
}

// hashSource allows exactly this inline text in a Content-Security-Policy.
func hashSource(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// readPageForm reads the form of a page.
func readPageForm(w http.ResponseWriter, r *http.Request) (url.Values, *refusal) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, refuse(9000411, "The request is not properly formatted: the body is not a form.")
	}
	text, refused := readText(w, r, 4*maxBody) // it holds an authorization request, sealed
	if refused != nil {
		return nil, refused
	}
	form, err := url.ParseQuery(text)
	if err != nil {
		return nil, refuse(9000411, "The request is not properly formatted.")
	}
	return form, nil
}

// openPage reads what the form of a page brings back. A form that another site posts is
// refused; the record must also name the browser.
func (s *Server) openPage(r *http.Request, kind, text string, record any) *refusal {
	if !s.fromOwnPage(r) {
		return refuse(90013, "The form was sent by a page of another site.")
	}
	if err := s.sealer.Load().open(kind, text, record); err != nil {
		return pageExpired()
	}
	return nil
}

// fromOwnPage reports whether a form was posted by a page of this platform, as far as the
// browser says.
func (s *Server) fromOwnPage(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return false
	}
	origin := r.Header.Get("Origin")
	return origin == "" || strings.EqualFold(origin, "https://"+r.Host) || strings.EqualFold(origin, s.URL())
}

func pageExpired() *refusal {
	return refuse(50089, "Authentication failed due to flow token expired: the page was open for too long, belongs to another browser, "+
		"or the browser keeps no cookies. Start again at the application.")
}

// errorPage shows a refusal that is sent nowhere, and redirect URIs that would be right.
func (s *Server) errorPage(r *http.Request, refused *refusal, registered ...string) answer {
	report := refused.report(r)
	a := render(refused.httpStatus(), "error.html", page{Title: "Sign-in failed", Data: map[string]any{
		"Registered": registered,
		"Text":       refused.numbered(), "Trace": report.trace, "Correlation": report.correlation, "Timestamp": report.timestamp,
	}})
	a.header["X-Ms-Request-Id"] = report.trace
	a.refusal = refused
	return a
}

// maxNumber is above every AADSTS number.
const maxNumber = 1_000_000_000

// explainError answers GET /error?code=NUMBER, to which the error_uri of a refusal leads. A
// fault may have a number that the platform does not know.
func explainError(r *http.Request) answer {
	number, err := strconv.Atoi(r.URL.Query().Get("code"))
	if err != nil || number <= 0 || number > maxNumber {
		return notFound(r)
	}
	return render(http.StatusOK, "explain.html", page{
		Title: fmt.Sprintf("AADSTS%d", number), Data: map[string]any{"Number": number, "Code": codes[number]},
	})
}

// formPost is the page that posts the parameters to the application (OAuth 2.0 Form Post
// Response Mode). A hidden frame may show it.
func (s *Server) formPost(a *authorization, parameters url.Values) answer {
	return render(http.StatusOK, "form_post.html", page{
		Title: "Back to the application", Script: template.JS(submitScript), Action: template.URL(a.redirectURI), Data: parameters,
		framed: a.prompt("none"), elsewhere: true,
	})
}

// signInPage is a page of a sign-in, with its form.
func (s *Server) signInPage(in signingIn, name, title string, data map[string]any) answer {
	data["Client"], data["Device"] = in.client.Name, in.device
	a := render(http.StatusOK, name, page{
		Title: title, Action: template.URL("/" + in.path + "/login"), Flow: s.sealFlow(in), Data: data,
	})
	if in.browser.fresh {
		a.header["Set-Cookie"] = in.browser.cookie()
	}
	return a
}

// maxChoices limits the users on the page.
const maxChoices = 500

// choosePage asks who signs in.
func (s *Server) choosePage(in signingIn) answer {
	type choice struct {
		*User
		SignedIn bool
	}
	in.userID, in.consented = "", false
	signedIn := map[string]bool{}
	for _, who := range s.signedIn(in) {
		signedIn[who.userID] = true
	}
	var choices []choice
	users := s.choices(in)
	for _, user := range users[:min(len(users), maxChoices)] {
		choices = append(choices, choice{user, signedIn[user.ObjectID]})
	}
	return s.signInPage(in, "choose.html", "Choose who signs in", map[string]any{
		"Users": choices, "More": len(users) > maxChoices,
	})
}

// provePage asks for a stronger proof.
func (s *Server) provePage(in signingIn, user *User, contexts []string) answer {
	return s.signInPage(in, "prove.html", "Prove it is you", map[string]any{
		"User": user, "Contexts": contexts,
	})
}

// consentPage asks for the user's consent.
func (s *Server) consentPage(in signingIn, user *User, scopes []string) answer {
	if len(scopes) == 0 { // all are granted, and prompt=consent asks again
		scopes = in.requested.names
	}
	wishes := append([]wish{{in.client, in.requested.resource, scopes}}, s.combined(user, in.client, in.requested)...)
	return s.signInPage(in, "consent.html", "Permissions requested", map[string]any{"User": user, "Wishes": wishes})
}
