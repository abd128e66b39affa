package mockidp

import (
	"maps"
	"net/url"
	"slices"
	"sync"
	"time"
)

// maxRequests limits the journal, for a mock that runs for days.
const maxRequests = 10_000

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
	refuse func(*refusal) answer // how a fault refuses it; nil: as the token endpoint does
}

// journal remembers the last requests.
type journal struct {
	mu       sync.Mutex // guards the fields below, and the requests
	requests []*Request // oldest first
	counts   map[string]int
}

func (j *journal) open(seen Request) *Request {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.requests) == maxRequests {
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

// Requests returns the last 10,000 requests, newest last, without those to /mock/.
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
	s.journal.requests, s.journal.counts = nil, nil
}

// Count returns how many requests of the flow arrived since ResetRequests, including
// those that Requests no longer returns. A request counts when it arrives.
func (s *Server) Count(flow string) int {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	return s.journal.counts[flow]
}
