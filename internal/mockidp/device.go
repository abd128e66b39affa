package mockidp

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// deviceGrant is fixed by RFC 8628, section 3.4; MSAL for .NET sends the short form.
	deviceGrant      = "urn:ietf:params:oauth:grant-type:device_code"
	shortDeviceGrant = "device_code"

	// The values of Entra ("OAuth 2.0 device authorization grant flow").
	deviceLifetime = 15 * time.Minute
	deviceInterval = 5 * time.Second

	// maxDevices limits the memory for sign-ins of devices; the oldest are forgotten. A parameter
	// of each has maxDeviceParameter bytes at the most.
	maxDevices         = 1000
	maxDeviceParameter = 16 << 10

	// userCodeLetters have no vowels, and none that look alike (RFC 8628, section 6.1).
	userCodeLetters = "BCDFGHJKLMNPQRSTVWXZ"
	userCodeLength  = 9
)

// deviceState says how far the sign-in of a device is.
type deviceState int

const (
	devicePending deviceState = iota
	deviceApproved
	deviceDeclined
	deviceRedeemed
)

// device is a sign-in that a device asked for, and a user does in a browser.
type device struct {
	deviceCode, userCode string
	clientID             string
	path                 string // the tenant's ID, common or organizations
	scope, claims        string // the parameters
	expires              time.Time

	state    deviceState
	objectID string // of the user who approved
	signIn   signIn
}

// devices are the last sign-ins of devices, the ended ones too: a device that asks late
// gets the reason why it gets no token.
type devices struct {
	mu   sync.Mutex // guards list and what it holds
	list []*device  // oldest first
}

func (d *devices) add(begun device) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.list) == maxDevices {
		d.list[0] = nil
		d.list = d.list[1:]
	}
	d.list = append(d.list, &begun)
}

// byDeviceCode returns the sign-in as it is now.
func (d *devices) byDeviceCode(code string) (device, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, found := range d.list {
		if found.deviceCode == code {
			return *found, true
		}
	}
	return device{}, false
}

// pending returns the sign-in that waits for a user who typed this code.
func (d *devices) pending(userCode string, now time.Time) (device, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if found := d.waiting(userCode, now); found != nil {
		return *found, true
	}
	return device{}, false
}

// waiting is pending with mu held.
func (d *devices) waiting(userCode string, now time.Time) *device {
	for _, found := range d.list {
		if found.userCode == userCode && found.state == devicePending && now.Before(found.expires) {
			return found
		}
	}
	return nil
}

// decide ends the user's part: approved, with who signed in, or declined. It reports whether
// the sign-in was still waiting for that.
func (d *devices) decide(userCode string, state deviceState, objectID string, in signIn, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	found := d.waiting(userCode, now)
	if found == nil {
		return false
	}
	found.state, found.objectID, found.signIn = state, objectID, in
	return true
}

// redeem reports whether an approved sign-in was not redeemed before, and now is.
func (d *devices) redeem(code string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, found := range d.list {
		if found.deviceCode == code && found.state == deviceApproved {
			found.state = deviceRedeemed
			return true
		}
	}
	return false
}

func (d *devices) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = nil
}

// deviceCode answers POST /{tenant}/oauth2/v2.0/devicecode (RFC 8628, section 3.1).
func (s *Server) deviceCode(w http.ResponseWriter, r *http.Request) {
	form, refused := readForm(w, r)
	seen := Request{Method: r.Method, Path: r.URL.Path, Flow: "device_code", Form: form}
	s.respondForm(w, r, seen, refused, s.beginDevice)
}

func (s *Server) beginDevice(r *http.Request, form url.Values) (map[string]any, *refusal) {
	tenant, path, refused := s.findTenant(r.PathValue("tenant"))
	if refused != nil {
		return nil, refused
	}
	client, refused := s.findClient(tenant, form.Get("client_id"))
	if refused == nil {
		refused = notForAgents(client)
	}
	if refused != nil {
		return nil, refused
	}
	if len(form.Get("scope")) > maxDeviceParameter || len(form.Get("claims")) > maxDeviceParameter {
		return nil, refuse(9000411, "The request is not properly formatted: scope or claims are too long.")
	}
	if _, refused := parseClaims(form.Get("claims")); refused != nil {
		return nil, refused
	}
	if form.Get("scope") == "" {
		return nil, missing("scope")
	}
	if tenant.ID != "" { // else the user's tenant decides
		requested, refused := s.parseScopes(tenant, form.Get("scope"))
		if refused == nil {
			refused = requested.checkItself(client)
		}
		if refused == nil {
			refused = requested.checkResource(form.Get("resource"))
		}
		if refused != nil {
			return nil, refused
		}
	}
	begun := device{
		deviceCode: randomID(96), userCode: newUserCode(), clientID: client.ClientID,
		path: path, scope: form.Get("scope"), claims: form.Get("claims"), expires: time.Now().Add(deviceLifetime),
	}
	s.devices.add(begun)
	page := s.URL() + devicePath
	return map[string]any{
		"device_code": begun.deviceCode, "user_code": begun.userCode, "verification_uri": page,
		"expires_in": int(deviceLifetime.Seconds()), "interval": int(deviceInterval.Seconds()),
		"message": fmt.Sprintf("To sign in, use a web browser to open the page %s and enter the code %s to authenticate.", page, begun.userCode),
	}, nil
}

// newUserCode returns a code that people type.
func newUserCode() string {
	code := make([]byte, 0, userCodeLength)
	for _, random := range []byte(rand.Text()) { // of 32 letters, each as likely; those above 20 are left out
		if letter := strings.IndexByte("ABCDEFGHIJKLMNOPQRST", random); letter >= 0 && len(code) < userCodeLength {
			code = append(code, userCodeLetters[letter])
		}
	}
	if len(code) < userCodeLength {
		return newUserCode()
	}
	return string(code)
}

// typedCode is a user code as it was typed: case, blanks and hyphens make no difference.
func typedCode(text string) string {
	return strings.Map(func(letter rune) rune {
		if !strings.ContainsRune(userCodeLetters, letter) {
			return -1
		}
		return letter
	}, strings.ToUpper(text))
}

// redeemDeviceCode answers the device's question whether the user has signed in, in the end
// with tokens (RFC 8628, section 3.5). It never answers slow_down, as Entra does not.
func (s *Server) redeemDeviceCode(r tokenRequest) (map[string]any, *refusal) {
	code := r.form.Get("device_code")
	if code == "" {
		return nil, missing("device_code")
	}
	found, known := s.devices.byDeviceCode(code)
	if !known || found.clientID != r.client.ClientID || found.path != r.path {
		return nil, unknownDevice()
	}
	switch {
	case found.state == deviceRedeemed:
		return nil, unknownDevice()
	case found.state == deviceDeclined:
		return nil, refuse(70018, "The end user has denied the authorization request.")
	case !r.now.Before(found.expires):
		return nil, refuse(70020, "The provided value for the input parameter 'device_code' is not valid. This device code has expired.")
	case found.state == devicePending:
		return nil, refuse(70016, "OAuth 2.0 device flow error. Authorization is pending. Continue polling.")
	}
	user, refused := s.stillSignedIn(r.tenant, found.objectID, found.signIn)
	if refused != nil {
		return nil, refused
	}
	began, refused := parseClaims(found.claims)
	if refused != nil {
		return nil, refused
	}
	r.claims.capable = r.claims.capable || began.capable
	body, refused := s.userAnswer(r, user, found.scope, found.signIn)
	if refused == nil && !s.devices.redeem(code) {
		return nil, unknownDevice() // another request was faster
	}
	return body, refused
}

func unknownDevice() *refusal {
	return refuse(7000014, "The provided value for the input parameter 'device_code' is not valid.")
}
