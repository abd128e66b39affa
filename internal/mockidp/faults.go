package mockidp

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Fault makes the platform misbehave. Of the faults that match a request, the oldest is
// applied.
type Fault struct {
	Flow  string        // a Request's Flow; "" for any request to the token endpoint
	Times int           // how many requests; 0 until cleared
	Delay time.Duration // before anything else; alone, the answer is only slower

	Status int               // of the answer; by default what fits Error, or 200
	Header map[string]string // of the answer
	Body   string            // the answer, as it is

	Error       string // an Entra error body with this OAuth error code, and:
	Suberror    string
	Claims      string // a claims challenge, JSON
	Description string
	ErrorCodes  []int

	Drop bool // close the connection (with HTTP/2, the stream) without an answer

	// SingleUse lets each refresh token that is used from now on be used once, as it is at
	// other providers, until the fault is cleared. It stands alone.
	SingleUse bool
}

// requestFlows are all values of a Request's Flow except "".
var requestFlows = []string{
	"on_behalf_of", "client_credentials", "authorization_code", "refresh_token", "device_code", "password",
	"authorize", "logout", "user_fic", "userinfo", "userrealm", "keys", "metadata",
}

// check reports why the fault is unusable: it contradicts itself or has no effect.
func (f Fault) check() error {
	switch {
	case f.SingleUse && !reflect.DeepEqual(f, Fault{Flow: f.Flow, SingleUse: true}), f.SingleUse && f.Flow != "" && f.Flow != "refresh_token":
		return errors.New("single_use is of flow refresh_token, and stands alone")
	case f.Flow != "" && !slices.Contains(requestFlows, f.Flow):
		return fmt.Errorf("flow %q is unknown: it must be %s, or left out for all requests to the token endpoint",
			f.Flow, strings.Join(requestFlows, ", "))
	case f.Times < 0:
		return errors.New("times is negative")
	case f.Delay < 0:
		return errors.New("delay is negative")
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("status %d is not that of an answer", f.Status)
	case f.Body != "" && f.Error != "":
		return errors.New("body and error exclude each other")
	case f.Error == "" && (f.Suberror != "" || f.Claims != "" || f.Description != "" || len(f.ErrorCodes) > 0):
		return errors.New("suberror, claims, description and error codes belong to an error")
	case f.Drop && f.answers():
		return errors.New("drop leaves no answer, so status, header, body and error have no effect")
	case f.Times == 0 && f.Delay == 0 && !f.Drop && !f.SingleUse && !f.answers(): // with times, it delays the next fault by that many requests
		return errors.New("it does nothing: it needs delay, error, status, header, body or drop")
	}
	for name, value := range f.Header {
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return fmt.Errorf("header %q cannot be sent with the value %q", name, value)
		}
	}
	return nil
}

// matches reports whether the fault applies to this request.
func (f Fault) matches(seen Request) bool {
	if f.SingleUse {
		return false
	}
	if f.Flow == "" {
		return seen.token
	}
	return f.Flow == seen.Flow
}

// answers reports whether the fault replaces the real answer.
func (f Fault) answers() bool {
	return f.Error != "" || f.Body != "" || f.Status != 0 || len(f.Header) > 0
}

func (f Fault) answer(url string, r *http.Request, refuse func(*refusal) answer) answer {
	a := answer{status: http.StatusOK, header: map[string]string{}, body: []byte(f.Body)}
	refused := &refusal{f.Status, f.Error, f.Suberror, f.Claims, f.ErrorCodes, f.Description}
	if f.Error != "" && refuse != nil {
		a = refuse(refused)
	} else if f.Error != "" {
		a = refused.answer(url, r)
	} else if f.Body != "" {
		a.header["Content-Type"] = "application/json; charset=utf-8"
	}
	if f.Status != 0 {
		a.status = f.Status
	}
	for name, value := range f.Header {
		a.header[http.CanonicalHeaderKey(name)] = value
	}
	return a
}

// faults are the faults that still have effect.
type faults struct {
	mu    sync.Mutex // guards queue
	queue []*Fault
}

// take returns the fault that applies to this request, or one that does nothing.
func (q *faults) take(seen Request) Fault {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, fault := range q.queue {
		if !fault.matches(seen) {
			continue
		}
		taken := *fault
		if fault.Times == 1 {
			q.queue = slices.Delete(q.queue, i, i+1)
		} else if fault.Times > 1 {
			fault.Times--
		}
		return taken
	}
	return Fault{}
}

// singleUse reports whether refresh tokens are good once.
func (q *faults) singleUse() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.ContainsFunc(q.queue, func(f *Fault) bool { return f.SingleUse })
}

// AddFault adds a fault, and returns what removes it if it still has effect. One that
// contradicts itself is a mistake in the test, and panics.
func (s *Server) AddFault(f Fault) (remove func()) {
	if err := f.check(); err != nil {
		panic(fmt.Sprintf("mockidp: fault: %v", err))
	}
	f.Header, f.ErrorCodes = maps.Clone(f.Header), slices.Clone(f.ErrorCodes)
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.queue = append(s.faults.queue, &f)
	return func() {
		s.faults.mu.Lock()
		defer s.faults.mu.Unlock()
		s.faults.queue = slices.DeleteFunc(s.faults.queue, func(queued *Fault) bool { return queued == &f })
	}
}

// ClearFaults removes every fault.
func (s *Server) ClearFaults() {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.queue = nil
}
