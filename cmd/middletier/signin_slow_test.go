//go:build slow

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// maxPages is more than any sign-in has.
const maxPages = 20

// The users of the default directory, as they sign in.
const alice, bob = "alice@contoso.example", "bob@contoso.example"

// person signs in on the platform's pages, as a browser without scripts: it keeps cookies,
// follows redirects, and sends forms.
type person struct {
	platform string
	username string // as pages show it, such as "alice@contoso.example"
	userCode string // of a device, for the page that asks for one
	client   *http.Client
}

// newPerson returns a person who is not signed in yet.
func (s *stack) newPerson(username, userCode string) *person {
	jar, _ := cookiejar.New(nil) // has no error to return
	client := &http.Client{Transport: s.client.Transport, Jar: jar, CheckRedirect: noRedirects.CheckRedirect}
	return &person{s.platform, username, userCode, client}
}

// visit opens a page of the platform, or one that leads there, and goes on until the platform
// sends the browser somewhere else, to which it returns the request, or a page has no more
// forms.
func (p *person) visit(address string) (leaving *http.Request, err error) {
	req, err := http.NewRequest(http.MethodGet, address, nil)
	for i := range maxPages {
		if err != nil || i > 0 && !strings.HasPrefix(req.URL.String(), p.platform+"/") {
			return req, err
		}
		resp, err := p.client.Do(req)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // it is read
		if err != nil {
			return nil, err
		}
		if target, err := resp.Location(); err == nil {
			req, err = http.NewRequest(http.MethodGet, target.String(), nil)
			if err != nil {
				return nil, err
			}
			continue
		}
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s: %s %s", req.URL.Path, resp.Status, body)
		}
		req, err = p.answer(resp.Request.URL, string(body))
		if err != nil || req == nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("more than %d pages", maxPages)
}

// form is a form of a page.
type form struct {
	action, method string
	fields         url.Values // hidden ones, and those to fill in
	empty          []string   // the names of those to fill in
	buttons        []button
}

// button sends a form.
type button struct{ name, value, text string }

// refusing are the texts of buttons that do not go on.
var refusing = regexp.MustCompile(`(?i)cancel|decline|deny|no\b|back|another|sign out`)

// answer returns the request that answers a page, or nil for a page without forms. The
// person chooses the button with their name, else the first one that goes on.
func (p *person) answer(page *url.URL, body string) (*http.Request, error) {
	forms, err := readForms(body)
	if err != nil || len(forms) == 0 {
		return nil, err
	}
	chosen, with := -1, button{}
	for i, f := range forms {
		for _, b := range f.buttons {
			if strings.Contains(b.text, p.username) {
				return p.send(page, f, b)
			}
			if chosen < 0 && !refusing.MatchString(b.text) {
				chosen, with = i, b
			}
		}
	}
	if chosen < 0 {
		return nil, fmt.Errorf("no button goes on: %s", body)
	}
	return p.send(page, forms[chosen], with)
}

// send returns the request that the button of a form sends.
func (p *person) send(page *url.URL, f form, b button) (*http.Request, error) {
	action, err := page.Parse(f.action)
	if err != nil {
		return nil, err
	}
	for _, name := range f.empty {
		f.fields.Set(name, p.userCode)
	}
	if b.name != "" {
		f.fields.Set(b.name, b.value)
	}
	if !strings.EqualFold(f.method, http.MethodPost) {
		action.RawQuery = f.fields.Encode()
		return http.NewRequest(http.MethodGet, action.String(), nil)
	}
	req, err := http.NewRequest(http.MethodPost, action.String(), strings.NewReader(f.fields.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", page.Scheme+"://"+page.Host) // as browsers do
	return req, nil
}

// readForms returns the forms of a page.
func readForms(body string) (forms []form, err error) {
	document, err := html.Parse(strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for node := range document.Descendants() {
		if node.Type != html.ElementNode {
			continue
		}
		if node.Data == "form" {
			forms = append(forms, form{action: attributeOf(node, "action"), method: attributeOf(node, "method"), fields: url.Values{}})
		}
		if len(forms) > 0 && slices.Contains([]string{"input", "button"}, node.Data) {
			forms[len(forms)-1].add(node)
		}
	}
	return forms, nil
}

// add adds a control of the page to the form.
func (f *form) add(node *html.Node) {
	name, value, kind := attributeOf(node, "name"), attributeOf(node, "value"), attributeOf(node, "type")
	switch {
	case node.Data == "button":
		f.buttons = append(f.buttons, button{name, value, textOf(node)})
	case kind == "submit":
		f.buttons = append(f.buttons, button{name, value, value})
	case kind == "hidden":
		f.fields.Add(name, value)
	case kind == "checkbox" || kind == "radio":
	case value != "":
		f.fields.Add(name, value)
	default:
		f.empty = append(f.empty, name)
	}
}

func attributeOf(node *html.Node, name string) string {
	for _, a := range node.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// textOf returns the text of a node.
func textOf(node *html.Node) string {
	var all strings.Builder
	for n := range node.Descendants() {
		if n.Type == html.TextNode {
			all.WriteString(n.Data)
		}
	}
	return all.String()
}

// startPeople serves people who sign in for programs in other languages, and returns its
// URL. GET ?url=…&user=…&code=… visits a page and answers with the "url" to which the
// platform sent the browser, and the "form" that it posted there, if any. With deliver=1
// the browser goes there, too: a program listens.
func (s *stack) startPeople(t *testing.T) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		leaving, err := s.newPerson(query.Get("user"), query.Get("code")).visit(query.Get("url"))
		answer := map[string]any{}
		if err == nil && leaving != nil {
			answer["url"] = leaving.URL.String()
			if leaving.GetBody != nil {
				body, _ := leaving.GetBody() // a string's reader has no errors
				posted, _ := io.ReadAll(body)
				answer["form"] = string(posted)
			}
			if query.Get("deliver") != "" {
				var resp *http.Response
				if resp, err = s.client.Do(leaving); err == nil {
					err = resp.Body.Close()
				}
			}
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // a program that left does not need it
	}))
	t.Cleanup(server.Close)
	return server.URL
}
