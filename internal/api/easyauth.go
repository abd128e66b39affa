package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"middletier/internal/problem"
)

// easyAuthHeader holds the user's access token. The built-in sign-in of App Service and
// of Container Apps adds it to requests that have its cookie (Microsoft's page "Work with
// OAuth tokens in Azure App Service authentication").
const easyAuthHeader = "X-Ms-Token-Aad-Access-Token"

var (
	errTwoTokens = problem.New("invalid-request",
		"The request has both an Authorization header and a token of the platform's sign-in.")
	errEasyAuthToken = problem.New("invalid-request", "The header of the platform's sign-in is not one token.")
)

// easyAuthToken returns the token in the values of easyAuthHeader. The platform derives
// it from a cookie, which browsers send with requests of any site's pages. So pages of
// other origins are rejected, and a browser that opens the answer as a page runs no
// script of it as this origin.
func (s *Server) easyAuthToken(c echo.Context, values []string) (string, error) {
	r, resp := c.Request(), c.Response()
	resp.Before(func() {
		h := resp.Header()
		h.Add("Content-Security-Policy", "sandbox") // Add: the API's own policy holds too
		h.Set("X-Content-Type-Options", "nosniff")
	})
	if r.Header["Authorization"] != nil {
		return "", errTwoTokens
	}
	if len(values) > 1 || strings.ContainsAny(values[0], " \t,") {
		return "", errEasyAuthToken
	}
	if values[0] == "" {
		return "", problem.ErrNoToken
	}
	if !s.isOwnPage(r) {
		return "", problem.ErrCrossSite
	}
	return values[0], nil
}

// isOwnPage reports whether r was not sent by a page of another site or origin, except by
// one of an origin of server.cors. Sec-Fetch-Site is none if the user opened the URL
// (Fetch Metadata Request Headers, section 2.3). A client that is no browser sends
// neither header.
func (s *Server) isOwnPage(r *http.Request) bool {
	otherSite := func(site string) bool { return site != "same-origin" && site != "none" }
	otherOrigin := func(origin string) bool { return !s.isAllowedOrigin(r, origin) }
	return !slices.ContainsFunc(r.Header["Sec-Fetch-Site"], otherSite) && !slices.ContainsFunc(r.Header["Origin"], otherOrigin)
}

// isAllowedOrigin reports whether origin is that of this service or one of server.cors.
func (s *Server) isAllowedOrigin(r *http.Request, origin string) bool {
	return slices.Contains(s.config.CORS.Origins, origin) || s.isOwnOrigin(r, origin)
}

// isOwnOrigin reports whether origin is that of this service, as the client of r reaches
// it.
func (s *Server) isOwnOrigin(r *http.Request, origin string) bool {
	u, err := url.Parse(s.baseURL(r))
	if err != nil {
		return false
	}
	own := strings.ToLower(u.Scheme + "://" + u.Host)
	if hasDefaultPort(own) { // browsers leave it out
		own = own[:strings.LastIndexByte(own, ':')]
	}
	return origin == own
}
