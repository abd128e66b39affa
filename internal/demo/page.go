package demo

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"strings"
	"time"
)

// msalVersion is the version of MSAL.js. The URL of its file contains it.
const msalVersion = "5.30.0"

//go:embed page msal-browser
var files embed.FS

// settings are what the page's script needs. They are in the page itself.
type settings struct {
	Platform  string            `json:"platform"`
	Authority string            `json:"authority"`
	Metadata  json.RawMessage   `json:"metadata"` // of the authority
	ClientID  string            `json:"clientId"`
	Scope     string            `json:"scope"`
	Names     map[string]string `json:"names"`
	Run       string            `json:"run"` // differs each time the demo starts
	Cases     []caseSummary     `json:"-"`
	MSAL      string            `json:"-"` // the path of the library
}

// The scripts use no eval, and no text becomes HTML or script (Trusted Types): the page
// shows claims, titles and errors that others have written.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; " +
	"connect-src 'self' %s; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

var page = template.Must(template.ParseFS(files, "page/index.html"))

// routes returns the handler of the page's own routes.
func (p *Page) routes(host string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.index)
	mux.HandleFunc("GET /demo/page.css", file("page/page.css", "text/css; charset=utf-8"))
	mux.HandleFunc("GET /demo/page.js", file("page/page.js", "text/javascript; charset=utf-8"))
	mux.HandleFunc("GET /demo/session.js", file("page/session.js", "text/javascript; charset=utf-8"))
	mux.HandleFunc("GET /demo/flow.js", file("page/flow.js", "text/javascript; charset=utf-8"))
	mux.HandleFunc("GET /demo/msal-browser.LICENSE.txt", file("msal-browser/LICENSE", "text/plain; charset=utf-8"))
	mux.HandleFunc("GET "+msalPath, msal)
	mux.HandleFunc("GET /demo/flow", p.recorder.stream)
	mux.HandleFunc("POST /demo/cases/{name}", p.prepareCase)
	return ownOrigin(host, mux)
}

// ownOrigin refuses what pages of other origins send. They could not read the answers, but
// they could press the buttons. A navigation from elsewhere, such as the platform after the
// sign-in, only leads to the page.
func ownOrigin(host string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		foreign := origin != "" && origin != "http://"+host || site == "cross-site" || site == "same-site"
		if foreign && r.URL.Path != "/" {
			http.Error(w, "This is for the demo's own page.", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (p *Page) index(w http.ResponseWriter, _ *http.Request) {
	shown := p.settings
	shown.Cases, shown.MSAL = summaries(), msalPath
	var text bytes.Buffer
	if err := page.Execute(&text, shown); err != nil {
		http.Error(w, "The page cannot be written.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", fmt.Sprintf(policy, p.settings.Platform))
	_, _ = w.Write(text.Bytes()) // a browser that left does not need it
}

// file answers with an embedded file.
func file(name, contentType string) http.HandlerFunc {
	content, err := files.ReadFile(name)
	if err != nil {
		panic(err) // it is embedded
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(content) // a browser that left does not need it
	}
}

// msalPath is the path of MSAL.js. Its content never changes.
const msalPath = "/demo/msal-browser-" + msalVersion + ".min.js"

// msalMaxAge is a year.
const msalMaxAge = 365 * 24 * time.Hour

func msal(w http.ResponseWriter, r *http.Request) {
	packed, err := files.ReadFile("msal-browser/msal-browser.min.js.gz")
	if err != nil {
		panic(err) // it is embedded
	}
	h := w.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("Cache-Control", fmt.Sprintf("private, immutable, max-age=%d", int(msalMaxAge.Seconds())))
	h.Set("Vary", "Accept-Encoding")
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed) // a browser that left does not need it
		return
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		panic(err) // a test reads it
	}
	_, _ = io.Copy(w, unpacked) // likewise
}

// prepareCase answers POST /demo/cases/{name}: the request that the page is to send.
func (p *Page) prepareCase(w http.ResponseWriter, r *http.Request) {
	var body struct {
		User string `json:"user"`
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxText))
	decoder.DisallowUnknownFields()
	if r.Header.Get("Content-Type") != "application/json" { // what forms cannot send
		http.Error(w, "The body must be JSON.", http.StatusUnsupportedMediaType)
		return
	}
	if err := decoder.Decode(&body); err != nil {
		http.Error(w, `The body must be {"user": "alice"}.`, http.StatusBadRequest)
		return
	}
	prepared, err := p.cases.prepare(r.PathValue("name"), body.User)
	switch {
	case errors.Is(err, errUnknownCase):
		http.Error(w, "There is no such case.", http.StatusNotFound)
	case err != nil:
		http.Error(w, "There is no such user.", http.StatusBadRequest)
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(prepared) // a browser that left does not need it
	}
}
