package mockidp

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// The journal is limited, for a mock that runs for days, and because pages of any origin can
// make a browser post large forms.
const (
	maxRequests  = 10_000
	maxFormBytes = 64 << 20 // of all forms
)

// Request is one request that the platform received. Status is 0 until it is answered,
// and stays 0 if the connection was dropped.
type Request struct {
	Time       time.Time  `json:"time"`
	Method     string     `json:"method"`
	Path       string     `json:"path"`
	Flow       string     `json:"flow"` // one of requestFlows or ""
	Form       url.Values `json:"form,omitempty"`
	Status     int        `json:"status"`
	Error      string     `json:"error,omitempty"`
	ErrorCodes []int      `json:"error_codes,omitempty"`

	token  bool                  // to the token endpoint
	size   int                   // of Form, in bytes
	refuse func(*refusal) answer // how a fault refuses it; nil: as the token endpoint does
}

// journal remembers the last requests.
type journal struct {
	mu       sync.Mutex // guards the fields below, and the requests
	requests []*Request // oldest first
	size     int        // of their forms, in bytes
	counts   map[string]int
}

func (j *journal) open(seen Request) *Request {
	j.mu.Lock()
	defer j.mu.Unlock()
	for name, values := range seen.Form {
		seen.size += len(name) + len(strings.Join(values, ""))
	}
	j.size += seen.size
	for len(j.requests) == maxRequests || j.size > maxFormBytes { // one form alone is smaller
		j.size -= j.requests[0].size
		j.requests[0] = nil
		j.requests = j.requests[1:]
	}
	j.requests = append(j.requests, &seen)
	if j.counts == nil {
		j.counts = map[string]int{}
	}
	j.counts[seen.Flow]++
	return &seen
}

func (j *journal) finish(record *Request, a answer) {
	j.mu.Lock()
	defer j.mu.Unlock()
	record.Status = a.status
	if a.refusal != nil {
		record.Error = a.refusal.code
		record.ErrorCodes = a.refusal.numbers
	}
}

// Requests returns the last requests, newest last, without those to /mock/: 10,000, or fewer if
// their forms are large.
func (s *Server) Requests() []Request {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	requests := make([]Request, 0, len(s.journal.requests))
	for _, record := range s.journal.requests {
		request := *record
		request.Form = maps.Clone(record.Form)
		request.ErrorCodes = slices.Clone(record.ErrorCodes)
		requests = append(requests, request)
	}
	return requests
}

// ResetRequests clears the requests and their counts.
func (s *Server) ResetRequests() {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	s.journal.requests, s.journal.size, s.journal.counts = nil, 0, nil
}

// Count returns how many requests of the flow arrived since ResetRequests, including
// those that Requests no longer returns. A request counts when it arrives.
func (s *Server) Count(flow string) int {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	return s.journal.counts[flow]
}
