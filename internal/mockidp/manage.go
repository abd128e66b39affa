package mockidp

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"time"
)

// signToken answers POST /mock/tokens: it signs the claims byte for byte, with the usual
// header. The request may replace members of the header, or remove them with null. The
// signature is always RS256 with the current key.
func (s *Server) signToken(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Claims json.RawMessage `json:"claims"`
		Header map[string]any  `json:"header"`
	}
	if !decode(w, r, &body) {
		return
	}
	var claims map[string]any
	if err := json.Unmarshal(body.Claims, &claims); err != nil || claims == nil {
		http.Error(w, "claims must be an object", http.StatusBadRequest)
		return
	}
	key := s.keys.current()
	header := key.header(claims["ver"] == "1.0")
	maps.Copy(header, body.Header)
	maps.DeleteFunc(header, func(_ string, value any) bool { return value == nil })
	encoded, err := json.Marshal(header)
	if err != nil {
		http.Error(w, "the header cannot be encoded", http.StatusBadRequest)
		return
	}
	writeJSON(w, map[string]string{"access_token": key.sign(encoded, body.Claims)})
}

// faultBody is a Fault in JSON.
type faultBody struct {
	Flow        string            `json:"flow"`
	Times       int               `json:"times"`
	Delay       string            `json:"delay"` // "500ms"
	Status      int               `json:"status"`
	Header      map[string]string `json:"header"`
	Body        string            `json:"body"`
	Error       string            `json:"error"`
	Suberror    string            `json:"suberror"`
	Claims      string            `json:"claims"`
	Description string            `json:"description"`
	ErrorCodes  []int             `json:"error_codes"`
	Drop        bool              `json:"drop"`
	SingleUse   bool              `json:"single_use"`
}

func (b faultBody) fault() (Fault, error) {
	var delay time.Duration
	if b.Delay != "" {
		var err error
		if delay, err = time.ParseDuration(b.Delay); err != nil {
			return Fault{}, errors.New("delay is not a duration such as 500ms")
		}
	}
	fault := Fault{
		Flow: b.Flow, Times: b.Times, Delay: delay,
		Status: b.Status, Header: b.Header, Body: b.Body,
		Error: b.Error, Suberror: b.Suberror, Claims: b.Claims, Description: b.Description, ErrorCodes: b.ErrorCodes,
		Drop: b.Drop, SingleUse: b.SingleUse,
	}
	return fault, fault.check()
}

// postFault answers POST /mock/faults.
func (s *Server) postFault(w http.ResponseWriter, r *http.Request) {
	var body faultBody
	if !decode(w, r, &body) {
		return
	}
	fault, err := body.fault()
	if err != nil {
		http.Error(w, "the fault cannot be used: "+err.Error(), http.StatusBadRequest)
		return
	}
	s.AddFault(fault)
	w.WriteHeader(http.StatusNoContent)
}

// deleteFaults answers DELETE /mock/faults.
func (s *Server) deleteFaults(w http.ResponseWriter, _ *http.Request) {
	s.ClearFaults()
	w.WriteHeader(http.StatusNoContent)
}

// postKeys answers POST /mock/keys with the id of a key. The key signs from now on, or with
// publishOnly after the next request without. It is the key that was published first and
// has not signed yet, or a new one. The old keys stay published unless the request
// withdraws them.
func (s *Server) postKeys(w http.ResponseWriter, r *http.Request) {
	var body struct {
		PublishOnly bool `json:"publishOnly"`
		Withdraw    bool `json:"withdraw"`
	}
	if !decode(w, r, &body) {
		return
	}
	if body.PublishOnly && body.Withdraw {
		http.Error(w, "publishOnly and withdraw exclude each other: the old key still signs", http.StatusBadRequest)
		return
	}
	var id string
	var err error
	if body.PublishOnly {
		id, err = s.announceKey()
	} else {
		id, err = s.nextKey(!body.Withdraw)
	}
	switch {
	case errors.Is(err, errManyKeys):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		writeJSON(w, map[string]string{"kid": id})
	}
}

// getRequests answers GET /mock/requests. Credentials are masked: some assertions and
// passwords come from elsewhere and are valid outside this mock.
func (s *Server) getRequests(w http.ResponseWriter, _ *http.Request) {
	requests := s.Requests()
	for _, request := range requests {
		for _, name := range []string{"client_secret", "client_assertion", "password"} {
			if request.Form.Has(name) {
				request.Form.Set(name, "***")
			}
		}
	}
	writeJSON(w, requests)
}

// deleteRequests answers DELETE /mock/requests.
func (s *Server) deleteRequests(w http.ResponseWriter, _ *http.Request) {
	s.ResetRequests()
	w.WriteHeader(http.StatusNoContent)
}

// decode reads a JSON body strictly, or answers 400 and reports false. An empty
// body leaves into as it is.
func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		http.Error(w, "the body cannot be used: "+err.Error(), http.StatusBadRequest)
		return false
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		http.Error(w, "the body holds more than one value", http.StatusBadRequest)
		return false
	}
	return true
}

func writeJSON(w http.ResponseWriter, body any) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(body) // a client that left does not need it
}
