package mockidp_test

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

const (
	webURI    = "https://web.example/signin-oidc"
	spaURI    = "https://spa.example/"
	spaOrigin = "https://spa.example"
	nativeURI = "http://localhost:40404"
	// proof is a code verifier.
	proof = "correct-horse-battery-staple-0123456789-ABCDEF"
)

func challenge() string {
	sum := sha256.Sum256([]byte(proof))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// user is a person with a browser of their own, which follows no redirect to an application.
type user struct {
	kit
	client *http.Client
}

func (k kit) user() user {
	jar, _ := cookiejar.New(nil) // which never fails
	return user{k, &http.Client{
		Transport: k.client.Transport, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// seen is what a browser got.
type seen struct {
	status int
	header http.Header
	body   string
}

// send sends a request with these headers.
func (u user) send(method, path string, form url.Values, header ...string) seen {
	u.t.Helper()
	request, err := http.NewRequest(method, u.URL()+path, strings.NewReader(form.Encode()))
	if err != nil {
		u.t.Fatalf("%s %s: %v", method, path, err)
	}
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := u.client.Do(request)
	if err != nil {
		u.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		u.t.Fatalf("%s %s: read the answer: %v", method, path, err)
	}
	return seen{response.StatusCode, response.Header, string(body)}
}

// asWeb, asSPA and asNative are good authorization requests of each platform's app.
func asWeb(changes ...string) url.Values {
	return change(form("client_id", middleID, "redirect_uri", webURI, "response_type", "code",
		"scope", "openid offline_access api://todo/Read", "state", "a state", "nonce", "a nonce"), changes)
}

func asSPA(changes ...string) url.Values {
	return change(form("client_id", spaID, "redirect_uri", spaURI, "response_type", "code", "response_mode", "fragment",
		"scope", "openid offline_access api://todo/Read", "state", "a state", "nonce", "a nonce",
		"code_challenge", challenge(), "code_challenge_method", "S256", "client_info", "1"), changes)
}

func asNative(changes ...string) url.Values {
	return change(form("client_id", nativeID, "redirect_uri", nativeURI, "response_type", "code",
		"scope", "openid offline_access api://todo/Read", "state", "a state",
		"code_challenge", challenge(), "code_challenge_method", "S256"), changes)
}

// open opens the authorization endpoint.
func (u user) open(tenant string, query url.Values) seen {
	u.t.Helper()
	return u.send("GET", "/"+tenant+"/oauth2/v2.0/authorize?"+query.Encode(), nil)
}

var (
	actionOf = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
	flowOf   = regexp.MustCompile(`name="flow" value="([^"]*)"`)
)

// press sends the form of a page with some more fields.
func (u user) press(page seen, fields ...string) seen {
	u.t.Helper()
	action, flow := actionOf.FindStringSubmatch(page.body), flowOf.FindStringSubmatch(page.body)
	if action == nil || flow == nil {
		u.t.Fatalf("no form in the answer %d %v: %s", page.status, page.header, page.body)
	}
	fields = append(fields, "flow", html.UnescapeString(flow[1]))
	return u.send("POST", html.UnescapeString(action[1]), form(fields...), "Origin", u.URL(), "Sec-Fetch-Site", "same-origin")
}

// choose clicks on a user.
func (u user) choose(page seen, objectID string) seen {
	u.t.Helper()
	return u.press(page, "action", "choose", "user", objectID)
}

// response reads what an answer sends to the redirect URI.
func (s seen) response(t *testing.T) (target string, parameters url.Values) {
	t.Helper()
	if s.status == http.StatusOK && strings.Contains(s.body, "document.forms[0].submit()") {
		parameters = url.Values{}
		for _, field := range regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`).FindAllStringSubmatch(s.body, -1) {
			parameters.Add(html.UnescapeString(field[1]), html.UnescapeString(field[2]))
		}
		return html.UnescapeString(actionOf.FindStringSubmatch(s.body)[1]), parameters
	}
	location := s.header.Get("Location")
	if s.status != http.StatusFound && s.status != http.StatusSeeOther || location == "" {
		t.Fatalf("no response to the redirect URI: got %d %v %s", s.status, s.header, s.body)
	}
	end := strings.IndexAny(location, "?#")
	parameters, err := url.ParseQuery(location[end+1:])
	if err != nil {
		t.Fatalf("Location %q: %v", location, err)
	}
	return location[:end], parameters
}

// signIn signs in with the user's click, and returns the response parameters.
func (u user) signIn(tenant string, query url.Values, objectID string) url.Values {
	u.t.Helper()
	_, parameters := u.choose(u.open(tenant, query), objectID).response(u.t)
	return parameters
}

// redeem sends the form to the token endpoint, from the page of an origin if there is one.
func (k kit) redeem(tenant, origin string, form url.Values) (int, map[string]any, http.Header) {
	k.t.Helper()
	var header []string
	if origin != "" {
		header = []string{"Origin", origin}
	}
	got := k.user().send("POST", "/"+tenant+"/oauth2/v2.0/token", form, header...)
	return got.status, parse(k.t, []byte(got.body)), got.header
}

// codeForm redeems a code of asWeb; asSPA and asNative need other clients.
func codeForm(code string, changes ...string) url.Values {
	return change(form("grant_type", "authorization_code", "client_id", middleID, "client_secret", "s3cret",
		"redirect_uri", webURI, "code", code), changes)
}

func spaCodeForm(code string, changes ...string) url.Values {
	return change(form("grant_type", "authorization_code", "client_id", spaID,
		"redirect_uri", spaURI, "code", code, "code_verifier", proof, "client_info", "1"), changes)
}

func nativeCodeForm(code string, changes ...string) url.Values {
	return change(form("grant_type", "authorization_code", "client_id", nativeID,
		"redirect_uri", nativeURI, "code", code, "code_verifier", proof), changes)
}
