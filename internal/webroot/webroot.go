// Package webroot serves a folder of static files, such as a single-page application.
//
// Everything in the folder is public, except for names that begin with a dot. A path that
// names no file is a route of the application: a browser that opens it gets index.html.
package webroot

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Config says what to serve. Its keys are those of the server section.
type Config struct {
	// Folder is the folder of files.
	Folder string
	// Policy is the content security policy of every file; empty: DefaultPolicy.
	Policy string
	// FrameSources are what the default policy allows in frames, beside our own pages: the
	// identity provider, where a hidden frame tries to sign in.
	FrameSources []string
	// Reserved are paths of the service, such as /api. At and below them a path that names
	// no file is not found.
	Reserved []string
}

const indexFile = "index.html"

// Check reports mistakes that need no look at the folder.
func (c Config) Check(report func(key, problem string)) {
	isOther := func(r rune) bool { return r < ' ' || r > '~' }
	if strings.ContainsFunc(c.Policy, isOther) {
		report("contentSecurityPolicy", "must be one line of printable ASCII: it is sent as a header. In YAML, >- makes one line of several")
	}
}

// CheckLoading reports a folder that cannot be served.
func (c Config) CheckLoading(report func(key, problem string)) {
	if c.Folder == "" {
		return
	}
	info, err := os.Stat(c.Folder)
	switch {
	case err != nil:
		report("webRoot", err.Error())
	case !info.IsDir():
		report("webRoot", c.Folder+" is not a folder")
	}
}

// Warn reports what is probably a mistake.
func (c Config) Warn(report func(key, problem string)) {
	if c.Folder == "" {
		if c.Policy != "" {
			report("contentSecurityPolicy", "has no effect without webRoot: it is for the files that webRoot serves")
		}
		return
	}
	if info, err := os.Stat(c.Folder); err != nil || !info.IsDir() {
		return // CheckLoading reports it
	}
	file, err := os.Open(filepath.Join(c.Folder, indexFile))
	if err != nil {
		report("webRoot", fmt.Sprintf("there is no page for the folder itself and for the application's routes: %v", err))
		return
	}
	_ = file.Close() // only whether it can be opened counts
}

// Publishes reports whether the folder holds the file at path, so that everybody could
// read it.
func (c Config) Publishes(path string) bool {
	if c.Folder == "" || path == "" {
		return false
	}
	folder, err := realPath(c.Folder)
	if err != nil {
		return false
	}
	file, err := realPath(path)
	if err != nil {
		return false
	}
	inside, err := filepath.Rel(folder, file)
	return err == nil && !slices.ContainsFunc(strings.Split(filepath.ToSlash(inside), "/"), isHidden)
}

// realPath is the absolute path without links.
func realPath(path string) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(absolute)
}

// ErrNotFound says that a path has no file, or none that is served.
var ErrNotFound = errors.New("no file of the web root")

// Site serves the files of a folder. Its zero value is not usable.
type Site struct {
	config       Config
	frameOptions string
	digests      digests
}

// New returns a Site for c, whose Check must have passed.
func New(c Config) *Site {
	c.Policy = cmp.Or(c.Policy, DefaultPolicy(c.FrameSources))
	return &Site{config: c, frameOptions: frameOptions(c.Policy), digests: digests{known: map[string]digest{}}}
}

// Serve answers a GET or HEAD request for a path below the site, as it was sent; "" is
// the site without a slash at its end. With ErrNotFound, nothing is written. With
// ErrChanged, a part of the answer may be, and the connection must be cut.
//
// The folder is opened for each request, so it can be replaced as a whole.
func (s *Site) Serve(w http.ResponseWriter, r *http.Request, rawPath string) error {
	t, err := parsePath(rawPath)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(s.config.Folder)
	if err != nil {
		return fmt.Errorf("server.webRoot: %w", err)
	}
	defer root.Close()
	f, err := find(root, t)
	if errors.Is(err, errNoSlash) {
		redirectToFolder(w, r)
		return nil
	}
	isRoute := errors.Is(err, ErrNotFound) && s.isRoute(r, t)
	if isRoute {
		f, err = open(root, indexFile)
	}
	if err != nil {
		return err
	}
	p := reply{name: f.name, file: f}
	if isRoute {
		p.vary = []string{"Accept"}
	}
	p.useCompressed(r, root)
	defer p.file.close()
	return s.send(w, r, p)
}

// errNoSlash says that a path names a folder that has a page, without the slash at its end.
var errNoSlash = errors.New("a folder without a slash")

// find opens the file that t names, or the index.html of the folder that it names.
func find(root *os.Root, t target) (*file, error) {
	if !t.mayBeFile {
		return nil, ErrNotFound
	}
	f, err := open(root, t.name)
	if err == nil && t.slash {
		f.close()
		return nil, ErrNotFound
	}
	if !errors.Is(err, errFolder) {
		return f, err
	}
	if f, err = open(root, path.Join(t.name, indexFile)); err == nil && !t.slash {
		f.close()
		return nil, errNoSlash
	}
	return f, err
}

// isRoute reports whether r opens a route of the application in a browser window.
func (s *Site) isRoute(r *http.Request, t target) bool {
	isReserved := slices.ContainsFunc(s.config.Reserved, func(reserved string) bool {
		below, ok := strings.CutPrefix("/"+t.name, reserved)
		return ok && (below == "" || below[0] == '/')
	})
	return !isReserved && !t.hasExtension && accepts(r.Header["Accept"], "text/html")
}

// redirectToFolder adds the slash at the end of a folder's URL, without which the links of
// its page would lead elsewhere. The Location is relative: it does not depend on what a
// gateway does with host and prefix.
func redirectToFolder(w http.ResponseWriter, r *http.Request) {
	to := url.URL{Path: "./" + path.Base(r.URL.Path) + "/", RawQuery: r.URL.RawQuery}
	h := w.Header()
	h.Set("Location", to.String())
	h.Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusFound)
}
