package webroot_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"middletier/internal/webroot"
)

const indexPage = "<!doctype html><title>the application</title>"

// write puts files into folder, by name.
func write(t testing.TB, folder string, files map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[name]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// application is a folder as a bundler writes it.
func application(t testing.TB) string {
	folder := filepath.Join(t.TempDir(), "dist")
	write(t, folder, map[string]string{
		"index.html": indexPage, "favicon.ico": "icon", "assets/index-BxY12abc.js": "script", "assets/plain.css": "style",
		"help/index.html": "help", "empty/readme.txt": "text", "umlaut ä.txt": "umlaut", ".env": "SECRET", ".git/config": "SECRET",
		"assets/.hidden.js": "SECRET", "../outside.txt": "SECRET", "odd:name.txt": "odd", "dot.": "dot", "api/static.txt": "in api",
		`back\slash.txt`: "back",
	})
	return folder
}

var reserved = []string{"/api", "/docs", "/.well-known", "/signin-oidc"}

func newSite(folder string) *webroot.Site {
	return webroot.New(webroot.Config{Folder: folder, Reserved: reserved})
}

// get asks a site, with header lines.
func get(site *webroot.Site, path string, lines ...string) (*httptest.ResponseRecorder, error) {
	return ask(site, http.MethodGet, path, lines...)
}

func ask(site *webroot.Site, method, path string, lines ...string) (*httptest.ResponseRecorder, error) {
	r := &http.Request{Method: method, URL: &url.URL{}, Header: http.Header{}}
	r.URL.Path, _ = url.PathUnescape(path)
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	return w, site.Serve(w, r, path)
}

const fromWindow = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"

func TestSiteServesItsFolder(t *testing.T) {
	t.Parallel()
	site := newSite(application(t))
	for _, row := range []struct {
		path, accept string
		status       int // 0: not found
		body         string
	}{
		{"/", "Accept: */*", 200, indexPage},
		{"/index.html", "Accept: */*", 200, indexPage},
		{"/assets/index-BxY12abc.js", "Accept: */*", 200, "script"},
		{"/assets/plain.css", fromWindow, 200, "style"},
		{"/umlaut%20%C3%A4.txt", "Accept: */*", 200, "umlaut"},
		{"/%66avicon.ico", "Accept: */*", 200, "icon"},
		{"/api/static.txt", "Accept: */*", 200, "in api"},

		{"/help/", "Accept: */*", 200, "help"},
		{"/help", "Accept: */*", 302, ""},
		{"", "Accept: */*", 302, ""},
		{"/empty/", "Accept: */*", 0, ""}, // no listing
		{"/empty", "Accept: */*", 0, ""},
		{"/assets/", fromWindow, 200, indexPage}, // a route of the application
		{"/favicon.ico/", "Accept: */*", 0, ""},

		{"/users/7", fromWindow, 200, indexPage},
		{"/users/7/", fromWindow, 200, indexPage},
		{"/v1.2/users", fromWindow, 200, indexPage},
		{"/v1.2/", fromWindow, 200, indexPage},
		{"/users/a:b", fromWindow, 200, indexPage},
		{"/files/a%2Fb", fromWindow, 200, indexPage},
		{"/apis", fromWindow, 200, indexPage},
		{"/users/7", "Accept: text/plain, TEXT/HTML", 200, indexPage},
		{"/users/7", "Accept: */*", 0, ""},
		{"/users/7", "Accept: application/json", 0, ""},
		{"/users/7", "Accept: text/html;q=0, */*", 0, ""},
		{"/users/7", "Accept: text/html;level=1;Q=0.0", 0, ""},
		{"/users/7", "X-No: Accept", 0, ""},
		{"/assets/gone-BxY12abc.js", fromWindow, 0, ""},
		{"/users/a%2Ejs", fromWindow, 0, ""},
		{"/users/a%2Fb.js", fromWindow, 0, ""},
		{"/api", fromWindow, 0, ""},
		{"/api/", fromWindow, 0, ""},
		{"/api/users", fromWindow, 0, ""},
		{"/%61pi/users", fromWindow, 0, ""},
		{"/api%2Fusers", fromWindow, 0, ""},
		{"/docs/users", fromWindow, 0, ""},
		{"/.well-known/users", fromWindow, 0, ""},
		{"/signin-oidc", fromWindow, 0, ""},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			w, err := ask(site, method, row.path, row.accept)
			body := row.body
			if method == http.MethodHead {
				body = ""
			}
			switch {
			case row.status == 0:
				if !errors.Is(err, webroot.ErrNotFound) || len(w.Header()) > 0 || w.Body.Len() > 0 {
					t.Errorf("%s %s (%s): got %d %q %v, %v; want not found, and nothing written",
						method, row.path, row.accept, w.Code, w.Body, w.Header(), err)
				}
			case err != nil || w.Code != row.status || w.Body.String() != body:
				t.Errorf("%s %s (%s): got %d %q, %v; want %d %q", method, row.path, row.accept, w.Code, w.Body, err, row.status, body)
			}
		}
	}
}

// Answers that depend on Accept say so: a cache must not give a page to a script.
func TestRoutesOfTheApplicationVary(t *testing.T) {
	t.Parallel()
	site := newSite(application(t))
	for path, want := range map[string]string{"/users": "Accept", "/": "", "/help/": ""} {
		if w, err := get(site, path, fromWindow); err != nil || w.Header().Get("Vary") != want {
			t.Errorf("GET %s: got Vary %q, %v; want %q", path, w.Header().Get("Vary"), err, want)
		}
	}
}

func TestFolderWithoutSlashRedirectsRelatively(t *testing.T) {
	t.Parallel()
	folder := application(t)
	write(t, folder, map[string]string{"what? really%/index.html": "page"})
	site := newSite(folder)
	for path, want := range map[string]string{"/help": "./help/", "/what%3F%20really%25": "./what%3F%20really%25/"} {
		w, err := get(site, path)
		if got := w.Header().Get("Location"); err != nil || w.Code != 302 || got != want {
			t.Errorf("GET %s: got %d to %q, %v; want %q", path, w.Code, got, err, want)
		}
	}
	r := httptest.NewRequest("GET", "/gateway/help?a=b&c", nil)
	w := httptest.NewRecorder()
	if err := site.Serve(w, r, "/help"); err != nil || w.Header().Get("Location") != "./help/?a=b&c" {
		t.Errorf("with a query: got %q, %v", w.Header().Get("Location"), err)
	}
}

// attacks are paths by which files outside the folder, or hidden ones, might be reached.
var attacks = []string{
	"/../outside.txt", "/..", "/../", "/assets/../../outside.txt", "/assets/../.env", "/./index.html", "/assets/..",
	"/%2e%2e/outside.txt", "/%2E./outside.txt", "/.%2e/outside.txt", "/..%2foutside.txt", "/%2e%2e%2foutside.txt",
	"/assets%2f..%2f..%2foutside.txt", "/assets%2fplain.css",
	"/%252e%252e/outside.txt", "/..%252foutside.txt", "/%c0%ae%c0%ae/outside.txt", "/%c0%ae%c0%ae%c0%afoutside.txt",
	"/%u002e%u002e/outside.txt", "/\uff0e\uff0e/outside.txt",
	"/..\\outside.txt", "/..%5coutside.txt",
	"/%5c..%5coutside.txt", "\\..\\outside.txt", "/back%5cslash.txt", `/back\slash.txt`, "/assets\\..\\..\\outside.txt",
	"//outside.txt", "//etc/passwd", "/%2fetc/passwd", "/%2Fetc%2Fpasswd", "/assets//plain.css", "//", "///", "/%2f",
	"/index.html%00", "/index.html%00.js", "/%00", "/assets%00/plain.css", "/index.html\x00",
	"/index.html%0a", "/index.html%7f", "/a%0d%0ab",
	"/index.html::$DATA", "/index.html:$DATA", "/C:/Windows/win.ini", "/c%3a/boot.ini", "/odd:name.txt", "/odd%3Aname.txt",
	"/index.html.", "/index.html%2e", "/index.html%20", "/index.html...", "/dot.", "/dot%2e", "/index.html. .",
	"/.env", "/%2eenv", "/.git/config", "/%2egit/config", "/.git%2fconfig", "/assets/.hidden.js", "/.", "/...", "/.well-known/x.txt",
	"/%", "/%2", "/%zz", "/%ff", "/\xff.txt", "index.html", "x/../index.html", "*",
	"/;/../outside.txt", "/..;/outside.txt", "/assets/..;/..;/outside.txt", "/~root/.ssh/id_rsa",
	"/link-outside.txt", "/link-folder/outside.txt", "/link-absolute", "/link-loop", "/link-loop/x", "/link-hop/outside.txt",
	"/" + strings.Repeat("a", 300) + ".txt", "/" + strings.Repeat("a", 60_000),
	"/" + strings.Repeat("a/", 20_000), "/" + strings.Repeat("../", 2_000) + "etc/passwd",
}

// attacked is an application with links that lead out of it.
func attacked(t testing.TB) *webroot.Site {
	folder := application(t)
	outside := filepath.Dir(folder)
	for name, to := range map[string]string{
		"link-outside.txt": "../outside.txt", "link-folder": "..", "link-absolute": filepath.Join(outside, "outside.txt"),
		"link-loop": "link-loop", "link-hop": "link-folder",
	} {
		if err := os.Symlink(to, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	return newSite(folder)
}

func TestNoPathLeadsOutOfTheFolderOrToHiddenFiles(t *testing.T) {
	t.Parallel()
	site := attacked(t)
	for _, path := range attacks {
		w, err := get(site, path, "Accept: */*")
		if !errors.Is(err, webroot.ErrNotFound) || w.Body.Len() > 0 {
			t.Errorf("GET %.80q: got %d %q, %v; want not found", path, w.Code, w.Body, err)
		}
		if w, _ := get(site, path, fromWindow); w.Body.Len() > 0 && w.Body.String() != indexPage {
			t.Errorf("GET %.80q for a page: got %q", path, w.Body)
		}
	}
}

func FuzzPath(f *testing.F) {
	site := attacked(f)
	for _, path := range attacks {
		f.Add(path)
	}
	for _, path := range []string{"/", "", "/help", "/assets/plain.css", "/umlaut%20%C3%A4.txt", "/users/7", "/api/static.txt"} {
		f.Add(path)
	}
	public := []string{indexPage, "icon", "script", "style", "help", "text", "umlaut", "in api"}
	f.Fuzz(func(t *testing.T, path string) {
		w, err := get(site, path, fromWindow)
		switch {
		case errors.Is(err, webroot.ErrNotFound) && w.Body.Len() == 0:
		case err != nil:
			t.Errorf("GET %q: %v", path, err)
		case w.Code == 302:
			if to := w.Header().Get("Location"); !strings.HasPrefix(to, "./") || strings.ContainsAny(to, "\r\n\\") {
				t.Errorf("GET %q: redirects to %q", path, to)
			}
		case w.Code != 200 || !slices.Contains(public, w.Body.String()):
			t.Errorf("GET %q: got %d %q", path, w.Code, w.Body)
		}
	})
}

// Kubernetes mounts a ConfigMap as links into a hidden folder, which it replaces as a whole.
func TestLinksInsideTheFolderAreFollowed(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	write(t, folder, map[string]string{"..2026_01/index.html": "first", "..2026_02/index.html": "second"})
	link := func(to, name string) {
		t.Helper()
		temporary := filepath.Join(folder, "..data_tmp")
		if err := errors.Join(os.Symlink(to, temporary), os.Rename(temporary, filepath.Join(folder, name))); err != nil {
			t.Fatal(err)
		}
	}
	link("..2026_01", "..data")
	link("..data/index.html", "index.html")
	site := newSite(folder)
	for _, want := range []string{"first", "second"} {
		if w, err := get(site, "/index.html"); err != nil || w.Body.String() != want {
			t.Errorf("got %q, %v; want %q", w.Body, err, want)
		}
		link("..2026_02", "..data")
	}
}

// A deployment may move a new folder into the old one's place.
func TestFolderCanBeReplaced(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	write(t, parent, map[string]string{"1/index.html": "old", "2/index.html": "new"})
	current := filepath.Join(parent, "current")
	if err := os.Symlink("1", current); err != nil {
		t.Fatal(err)
	}
	site := newSite(current)
	first, err := get(site, "/")
	if err != nil || first.Body.String() != "old" {
		t.Fatalf("got %q, %v", first.Body, err)
	}
	if err := errors.Join(os.Remove(current), os.Symlink("2", current)); err != nil {
		t.Fatal(err)
	}
	if w, err := get(site, "/", "If-None-Match: "+first.Header().Get("ETag")); err != nil || w.Body.String() != "new" {
		t.Errorf("after the change: got %d %q, %v", w.Code, w.Body, err)
	}
	if err := os.Remove(current); err != nil {
		t.Fatal(err)
	}
	if w, err := get(site, "/"); err == nil || errors.Is(err, webroot.ErrNotFound) || w.Body.Len() > 0 {
		t.Errorf("without a folder: got %d, %v; want a fault", w.Code, err)
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for name, want := range map[string][2]string{ // type and Cache-Control
		"index.html":                     {"text/html; charset=utf-8", "no-cache"},
		"page.3f2a9c1b.html":             {"text/html; charset=utf-8", "no-cache"},
		"main.3f2a9c1b.js":               {"text/javascript; charset=utf-8", "public, max-age=31536000, immutable"},
		"index-BxY12abc.mjs":             {"text/javascript; charset=utf-8", "public, max-age=31536000, immutable"},
		"main.js":                        {"text/javascript; charset=utf-8", "no-cache"},
		"SHOUT.CSS":                      {"text/css; charset=utf-8", "no-cache"},
		"logo.svg":                       {"image/svg+xml", "no-cache"},
		"dotnet.wasm":                    {"application/wasm", "no-cache"},
		"data.json":                      {"application/json", "no-cache"},
		"main.3f2a9c1b.js.map":           {"application/json", "public, max-age=31536000, immutable"},
		"font-BxY12abc.woff2":            {"font/woff2", "public, max-age=31536000, immutable"},
		"app.webmanifest":                {"application/manifest+json", "no-cache"},
		"noextension":                    {"application/octet-stream", "no-cache"},
		"page.php":                       {"application/octet-stream", "no-cache"},
		"old.js.html":                    {"text/html; charset=utf-8", "no-cache"},
		"photo.jpeg":                     {"image/jpeg", "no-cache"},
		"looks-like-a-page.unknown":      {"application/octet-stream", "no-cache"},
		"a94ce6c2db2f8e2e1c0f.png":       {"image/png", "public, max-age=31536000, immutable"},
		"4bd1b696-9f1bbd3a5c9d1ee1.js":   {"text/javascript; charset=utf-8", "public, max-age=31536000, immutable"},
		"main.3f2a9c1b.chunk.css":        {"text/css; charset=utf-8", "public, max-age=31536000, immutable"},
		"vendors~main.deadbeefcafe.js":   {"text/javascript; charset=utf-8", "public, max-age=31536000, immutable"},
		"chunk-5VQJ2Z5A.js":              {"text/javascript; charset=utf-8", "public, max-age=31536000, immutable"},
		"start.BxY12abc.js":              {"text/javascript; charset=utf-8", "public, max-age=31536000, immutable"},
		"report.Version2.pdf":            {"application/pdf", "no-cache"},
		"service-worker.js":              {"text/javascript; charset=utf-8", "no-cache"},
		"app-settings.json":              {"application/json", "no-cache"},
		"photo-20240101.jpg":             {"image/jpeg", "no-cache"},
		"report.20240101.pdf":            {"application/pdf", "no-cache"},
		"photo-DSC01234.jpg":             {"image/jpeg", "no-cache"},
		"bootstrap-datepicker3.css":      {"text/css; charset=utf-8", "no-cache"},
		"jquery-3.7.1.min.js":            {"text/javascript; charset=utf-8", "no-cache"},
		"index-SettingsPage.js":          {"text/javascript; charset=utf-8", "no-cache"},
		"facade.js":                      {"text/javascript; charset=utf-8", "no-cache"},
		"decade2024.js":                  {"text/javascript; charset=utf-8", "no-cache"},
		"deadbeef.js":                    {"text/javascript; charset=utf-8", "no-cache"},
		"BxY12abc.js":                    {"text/javascript; charset=utf-8", "no-cache"},
		"3f2a9c1b/main.js":               {"text/javascript; charset=utf-8", "no-cache"},
		"assets/Settings-BxY12abc.js.gz": {"application/gzip", "public, max-age=31536000, immutable"},
	} {
		write(t, folder, map[string]string{name: "<!doctype html><script>alert(1)</script>"})
		w, err := get(newSite(folder), "/"+name)
		h := w.Header()
		if err != nil || h.Get("Content-Type") != want[0] || h.Get("Cache-Control") != want[1] {
			t.Errorf("%s: got %q, %q, %v; want %q", name, h.Get("Content-Type"), h.Get("Cache-Control"), err, want)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "same-origin" ||
			h.Get("X-Frame-Options") != "SAMEORIGIN" || !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'self'") {
			t.Errorf("%s: got %v", name, h)
		}
	}
}

func TestFrameOptionsSayWhatThePolicySays(t *testing.T) {
	t.Parallel()
	folder := application(t)
	for policy, want := range map[string]string{
		"default-src 'self'; frame-ancestors 'none'":     "DENY",
		"default-src 'self'; frame-ancestors":            "DENY",
		"default-src 'self'; Frame-Ancestors 'SELF' ;":   "SAMEORIGIN",
		"default-src 'self'":                             "SAMEORIGIN",
		"frame-ancestors 'self' https://contoso.example": "",
		"default-src 'self', frame-ancestors https:":     "",
	} {
		w, err := get(webroot.New(webroot.Config{Folder: folder, Policy: policy}), "/")
		if h := w.Header(); err != nil || h.Get("X-Frame-Options") != want || h.Get("Content-Security-Policy") != policy {
			t.Errorf("%s: got %q, %q, %v; want %q", policy, h.Get("X-Frame-Options"), h.Get("Content-Security-Policy"), err, want)
		}
	}
	w, _ := get(webroot.New(webroot.Config{Folder: folder, FrameSources: []string{"https://login.contoso.example"}}), "/")
	if got := w.Header().Get("Content-Security-Policy"); !strings.HasSuffix(got, "; frame-src 'self' https://login.contoso.example") {
		t.Errorf("with a provider: got %q", got)
	}
}

func TestConditionalAndRangeRequests(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	write(t, folder, map[string]string{"data.txt": "0123456789", "empty.txt": ""})
	site := newSite(folder)
	first, err := get(site, "/data.txt")
	if err != nil {
		t.Fatal(err)
	}
	tag, modified := first.Header().Get("ETag"), first.Header().Get("Last-Modified")
	h := first.Header()
	if !strings.HasPrefix(tag, `"`) || modified == "" || h.Get("Content-Length") != "10" || h.Get("Accept-Ranges") != "bytes" {
		t.Fatalf("got %v", h)
	}
	for _, row := range []struct {
		lines  []string
		status int
		body   string
	}{
		{[]string{"If-None-Match: " + tag}, 304, ""},
		{[]string{`If-None-Match: "other", W/` + tag}, 304, ""},
		{[]string{`If-None-Match: "other"`}, 200, "0123456789"},
		{[]string{"If-Modified-Since: " + modified}, 304, ""},
		{[]string{"Range: bytes=2-4"}, 206, "234"},
		{[]string{"Range: bytes=-3"}, 206, "789"},
		{[]string{"Range: bytes=2-4", "If-Range: " + tag}, 206, "234"},
		{[]string{"Range: bytes=2-4", `If-Range: "other"`}, 200, "0123456789"},
		{[]string{"Range: bytes=10-"}, 416, ""},
		{[]string{"Range: lines=1-2"}, 416, ""},
		{[]string{`If-Match: "other"`}, 412, ""},
	} {
		w, err := get(site, "/data.txt", row.lines...)
		if err != nil || w.Code != row.status || w.Body.String() != row.body {
			t.Errorf("%q: got %d %q, %v; want %d %q", row.lines, w.Code, w.Body, err, row.status, row.body)
		}
		h = w.Header()
		if row.status >= 400 && (h.Get("Content-Type") != "" || h.Get("Content-Length") != "0" || h.Get("Cache-Control") != "no-store") {
			t.Errorf("%q: got %v; want no body, and no cache", row.lines, h)
		}
	}
	w, err := get(site, "/data.txt", "Range: bytes=0-1,8-9")
	if body := w.Body.String(); err != nil || w.Code != 206 || w.Header().Get("Content-Length") != fmt.Sprint(len(body)) ||
		!strings.Contains(body, "\r\n\r\n01\r\n") || !strings.Contains(body, "\r\n\r\n89\r\n") {
		t.Errorf("two ranges: got %d %q %v, %v", w.Code, body, w.Header(), err)
	}
	content := strings.Repeat("x", 100)
	write(t, folder, map[string]string{"long.txt": content})
	w, err = get(site, "/long.txt", "Range: bytes="+strings.Repeat("0-0,", 10)+"1-1")
	if err != nil || w.Code != 200 || w.Body.String() != content {
		t.Errorf("eleven ranges: got %d %q, %v; want the whole file", w.Code, w.Body, err)
	}
	if w, err := get(site, "/empty.txt"); err != nil || w.Code != 200 || w.Header().Get("Content-Length") != "0" {
		t.Errorf("an empty file: got %d %v, %v", w.Code, w.Header(), err)
	}
}

// Builds that can be reproduced give every file the same time, and the pages of two versions
// often have the same length: only names in them differ.
func TestTagIsOfTheContent(t *testing.T) {
	t.Parallel()
	folder, other := t.TempDir(), t.TempDir()
	site := newSite(folder)
	page := func(folder, content string, modified time.Time) {
		t.Helper()
		write(t, folder, map[string]string{"new.html": content})
		from, to := filepath.Join(folder, "new.html"), filepath.Join(folder, "index.html")
		if err := errors.Join(os.Chtimes(from, modified, modified), os.Rename(from, to)); err != nil {
			t.Fatal(err)
		}
	}
	epoch := time.Unix(1, 0)
	page(folder, "main.1111aaaa.js", epoch)
	first, err := get(site, "/")
	if err != nil || first.Header().Get("Last-Modified") != "" {
		t.Fatalf("got %v, %v; want no time", first.Header(), err)
	}
	page(folder, "main.2222bbbb.js", epoch)
	w, err := get(site, "/", "If-None-Match: "+first.Header().Get("ETag"))
	if err != nil || w.Code != 200 || w.Body.String() != "main.2222bbbb.js" {
		t.Errorf("the next version: got %d %q, %v", w.Code, w.Body, err)
	}
	page(other, "main.1111aaaa.js", time.Now().Add(-time.Hour)) // on another replica
	if w, err := get(newSite(other), "/", "If-None-Match: "+first.Header().Get("ETag")); err != nil || w.Code != 304 {
		t.Errorf("another replica: got %d, %v; want 304", w.Code, err)
	}
}

// An editor may write twice within one tick of the file system's clock.
func TestTagOfANewFileIsNotRemembered(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "data.txt")
	tags := map[string]bool{}
	site := newSite(folder)
	for _, age := range []time.Duration{0, time.Hour} {
		clear(tags)
		modified := time.Now().Add(-age)
		for _, content := range []string{"one", "two"} {
			if err := errors.Join(os.WriteFile(path, []byte(content), 0o600), os.Chtimes(path, modified, modified)); err != nil {
				t.Fatal(err)
			}
			w, err := get(site, "/data.txt")
			if err != nil {
				t.Fatal(err)
			}
			tags[w.Header().Get("ETag")] = true
		}
		if want := map[time.Duration]int{0: 2, time.Hour: 1}[age]; len(tags) != want {
			t.Errorf("files %v old: got %d tags, want %d", age, len(tags), want)
		}
	}
}

// changer changes a file when a part of it has been sent.
type changer struct {
	*httptest.ResponseRecorder
	change func()
}

func (c *changer) Write(p []byte) (int, error) {
	defer c.change()
	return c.ResponseRecorder.Write(p)
}

func TestFileThatChangesWhileItIsSentIsCutShort(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	for name, change := range map[string]func(path string) error{
		"shorter": func(path string) error { return os.Truncate(path, size/2) },
		"longer": func(path string) error {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString("more")
			return errors.Join(err, f.Close())
		},
		"in place": func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("n"), size), 0o600) },
	} {
		for _, ranges := range []string{"", "bytes=0-500000,600000-1000000"} {
			folder := t.TempDir()
			path := filepath.Join(folder, "data.txt")
			write(t, folder, map[string]string{"data.txt": strings.Repeat("o", size)})
			old := time.Now().Add(-time.Hour)
			if err := os.Chtimes(path, old, old); err != nil {
				t.Fatal(err)
			}
			w := &changer{httptest.NewRecorder(), func() {
				if err := change(path); err != nil {
					t.Error(err)
				}
			}}
			r := httptest.NewRequest("GET", "/data.txt", nil)
			if ranges != "" {
				r.Header.Set("Range", ranges)
			}
			err := newSite(folder).Serve(w, r, "/data.txt")
			if !errors.Is(err, webroot.ErrChanged) || strings.Contains(w.Body.String(), "nn") || w.Body.Len() >= size {
				t.Errorf("%s, %q: got %d bytes, %v; want the old ones, cut short", name, ranges, w.Body.Len(), err)
			}
		}
	}
}

// A file that another one replaces is sent to its end.
func TestFileThatIsReplacedWhileItIsSent(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	content := strings.Repeat("o", 1<<20)
	write(t, folder, map[string]string{"data.txt": content, "new.txt": "new"})
	w := &changer{httptest.NewRecorder(), func() {
		_ = os.Rename(filepath.Join(folder, "new.txt"), filepath.Join(folder, "data.txt")) // the first time only
	}}
	err := newSite(folder).Serve(w, httptest.NewRequest("GET", "/data.txt", nil), "/data.txt")
	if err != nil || w.Body.String() != content {
		t.Errorf("got %d bytes, %v", w.Body.Len(), err)
	}
}

// broken is a caller that left.
type broken struct{ *httptest.ResponseRecorder }

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestCallerThatLeavesIsReported(t *testing.T) {
	t.Parallel()
	err := newSite(application(t)).Serve(broken{httptest.NewRecorder()}, httptest.NewRequest("GET", "/", nil), "/")
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}

func TestCompressedForms(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	write(t, folder, map[string]string{
		"main.js": "plain main", "main.js.br": "br main", "main.js.gz": "gz main",
		"old.js": "plain old", "old.js.br": "br of another version", "lone.js": "plain lone", "index.html": "page", "index.html.gz": "gz page",
	})
	hourAgo := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(folder, "old.js.br"), hourAgo, hourAgo); err != nil {
		t.Fatal(err)
	}
	site := newSite(folder)
	tags := map[string]bool{}
	for _, row := range []struct{ path, accept, encoding, body, vary string }{
		{"/main.js", "gzip, deflate, br", "br", "br main", "Accept-Encoding"},
		{"/main.js", "gzip", "gzip", "gz main", "Accept-Encoding"},
		{"/main.js", "br;q=0, GZIP", "gzip", "gz main", "Accept-Encoding"},
		{"/main.js", "identity", "", "plain main", "Accept-Encoding"},
		{"/main.js", "brotli", "", "plain main", "Accept-Encoding"},
		{"/old.js", "br", "", "plain old", ""},
		{"/lone.js", "br", "", "plain lone", ""},
		{"/", "gzip", "gzip", "gz page", "Accept-Encoding"},
		{"/users", "gzip", "gzip", "gz page", "Accept, Accept-Encoding"},
		{"/main.js.br", "br", "", "br main", ""},
	} {
		w, err := get(site, row.path, "Accept-Encoding: "+row.accept, fromWindow)
		h := w.Header()
		if err != nil || w.Body.String() != row.body || h.Get("Content-Encoding") != row.encoding || strings.Join(h["Vary"], ", ") != row.vary {
			t.Errorf("%s, %s: got %q %v, %v; want %+v", row.path, row.accept, w.Body, h, err, row)
		}
		if h.Get("Content-Length") != fmt.Sprint(len(row.body)) {
			t.Errorf("%s, %s: got length %q of %q", row.path, row.accept, h.Get("Content-Length"), row.body)
		}
		isScript := strings.HasPrefix(h.Get("Content-Type"), "text/javascript")
		if isScript != strings.HasSuffix(row.path, ".js") {
			t.Errorf("%s, %s: got type %q", row.path, row.accept, h.Get("Content-Type"))
		}
		if row.path == "/main.js" {
			tags[h.Get("ETag")] = true
		}
	}
	if len(tags) != 3 {
		t.Errorf("got tags %v of three forms", tags)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	folder, without := application(t), t.TempDir()
	file := filepath.Join(folder, "favicon.ico")
	for _, row := range []struct {
		config                 webroot.Config
		check, loading, warned string
	}{
		{webroot.Config{}, "", "", ""},
		{webroot.Config{Folder: folder}, "", "", ""},
		{webroot.Config{Folder: folder, Policy: "default-src 'self'\nX-Injected: 1"}, "contentSecurityPolicy: must be one line", "", ""},
		{webroot.Config{Folder: folder, Policy: "default-src ünicode"}, "contentSecurityPolicy: must be one line", "", ""},
		{webroot.Config{Folder: folder, Policy: "default-src\t'self'"}, "contentSecurityPolicy: must be one line", "", ""},
		{webroot.Config{Folder: filepath.Join(folder, "gone")}, "", "webRoot: stat ", ""},
		{webroot.Config{Folder: file}, "", "webRoot: " + file + " is not a folder", ""},
		{webroot.Config{Folder: without}, "", "", "webRoot: there is no page for the folder itself"},
		{webroot.Config{Policy: "default-src 'self'"}, "", "", "contentSecurityPolicy: has no effect"},
	} {
		for _, report := range []struct {
			by   func(func(key, problem string))
			want string
		}{{row.config.Check, row.check}, {row.config.CheckLoading, row.loading}, {row.config.Warn, row.warned}} {
			var got string
			report.by(func(key, problem string) { got += key + ": " + problem })
			if !strings.HasPrefix(got, report.want) || report.want == "" && got != "" {
				t.Errorf("%+v: got %q, want %q", row.config, got, report.want)
			}
		}
	}
}

func TestPublishedFilesAreKnown(t *testing.T) {
	t.Parallel()
	folder := application(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(folder, link); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"favicon.ico": true, "assets/plain.css": true, ".env": false, ".git/config": false, "../outside.txt": false, "gone": false,
	} {
		for _, root := range []string{folder, link} {
			if got := (webroot.Config{Folder: root}).Publishes(filepath.Join(folder, name)); got != want {
				t.Errorf("%s: got %t, want %t", name, got, want)
			}
		}
	}
	if (webroot.Config{}).Publishes(filepath.Join(folder, "favicon.ico")) || (webroot.Config{Folder: folder}).Publishes("") {
		t.Error("got true without a folder, or without a file")
	}
}
