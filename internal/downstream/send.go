package downstream

import (
	"errors"
	"net/http"
)

// renewing sends requests, and once more with a new token when the API rejects
// the one that was sent.
type renewing struct{ http.RoundTripper }

func (t renewing) RoundTrip(r *http.Request) (*http.Response, error) {
	// In its own context ReverseProxy would pass informational answers on, with
	// headers that modifyResponse never sees, and forget headers set before.
	x := exchangeOf(r)
	r = r.WithContext(x)
	resp, err := t.RoundTripper.RoundTrip(r)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	_ = resp.Body.Close() // its reason is not for the caller, whose token is good
	claims := claimsOf(resp.Header["Www-Authenticate"])
	if x.token, err = x.Token(r.Context(), Refused{x.token, claims}); err != nil {
		return nil, tokenError{err}
	}
	if r.Body != nil && r.GetBody == nil {
		return nil, &Error{Kind: RejectedToken, Err: errors.New("answered 401 to a body that cannot be sent again")}
	}
	again := r.Clone(r.Context())
	again.Header.Set("Authorization", "Bearer "+x.token)
	if r.GetBody != nil {
		if again.Body, err = r.GetBody(); err != nil {
			return nil, err
		}
	}
	resp, err = t.RoundTripper.RoundTrip(again)
	if err == nil && resp.StatusCode == http.StatusUnauthorized {
		_ = resp.Body.Close()
		return nil, &Error{Kind: RejectedToken, Claims: claimsOf(resp.Header["Www-Authenticate"]), Err: errors.New("answered 401 twice")}
	}
	return resp, err
}
