package demo

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxFlows limits the flows that are remembered.
	maxFlows = 50
	// maxSteps limits the steps of a flow. A call has four at the most; the others would be
	// retries.
	maxSteps = 16
	// maxClaims limits the claims that are shown of a token, in bytes.
	maxClaims = 16 << 10
	// maxText limits the caller's text in a flow, in bytes.
	maxText = 256
)

// Flow is one call of the middle tier, and what it caused. It holds claims, but no token.
type Flow struct {
	ID        int       `json:"id"` // counts up
	RequestID string    `json:"requestId"`
	Case      string    `json:"case,omitempty"` // the button that caused it
	Time      time.Time `json:"time"`
	Method    string    `json:"method"`
	Path      string    `json:"path"`
	Browser   bool      `json:"browser"` // a browser sent it

	Caller json.RawMessage `json:"caller,omitempty"` // claims of the caller's token, unchecked
	Steps  []Step          `json:"steps"`            // in the order in which they began

	Done         bool            `json:"done"`
	Status       int             `json:"status,omitempty"` // 0: the connection was closed
	Problem      json.RawMessage `json:"problem,omitempty"`
	Challenge    string          `json:"challenge,omitempty"` // WWW-Authenticate
	RetryAfter   string          `json:"retryAfter,omitempty"`
	Timing       Timing          `json:"timing"`
	Milliseconds float64         `json:"milliseconds,omitempty"`

	version int // of the recorder, at the last change
}

// StepKind says whom a step asks.
type StepKind string

// The kinds of steps.
const (
	ExchangeStep StepKind = "exchange" // the middle tier asks the identity platform for a token
	APIStep      StepKind = "api"      // the middle tier calls the API
)

// Step is one request that the middle tier sends, and its answer.
type Step struct {
	Kind StepKind `json:"kind"`

	Method string `json:"method,omitempty"` // of a call of the API
	Path   string `json:"path,omitempty"`
	Grant  string `json:"grant,omitempty"` // of an exchange
	Scope  string `json:"scope,omitempty"`
	Demand string `json:"demand,omitempty"` // the authentication context of the claims that were asked for

	Token json.RawMessage `json:"token,omitempty"` // claims of the token that the API received

	Done         bool    `json:"done"`
	Status       int     `json:"status,omitempty"` // 0: there was no answer
	Error        string  `json:"error,omitempty"`  // the code
	Suberror     string  `json:"suberror,omitempty"`
	Description  string  `json:"description,omitempty"`
	Milliseconds float64 `json:"milliseconds,omitempty"`
}

// Timing is what Server-Timing says.
type Timing struct {
	Validate float64 `json:"validate,omitempty"` // milliseconds
	Token    float64 `json:"token,omitempty"`
	API      float64 `json:"api,omitempty"`
	Source   string  `json:"source,omitempty"` // of the token
}

// Recorder remembers the last flows. Its zero value is not usable.
type Recorder struct {
	run     string // differs each time the demo starts
	streams atomic.Int32

	mu      sync.Mutex       // guards the fields below, and the flows
	flows   []*Flow          // oldest first
	running map[string]*Flow // by request ID
	last    int              // the ID of the newest flow
	version int              // counts changes
	changed chan struct{}    // closed at the next change
}

func newRecorder() *Recorder {
	return &Recorder{run: rand.Text(), running: map[string]*Flow{}, changed: make(chan struct{})}
}

// begin adds a flow. It returns nil if a flow with this request ID is running: what
// follows could not be told apart.
func (r *Recorder) begin(f Flow) *Flow {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running[f.RequestID] != nil {
		return nil
	}
	r.last++
	f.ID = r.last
	f.Steps = []Step{}
	flow := &f
	r.running[f.RequestID] = flow
	if len(r.flows) == maxFlows {
		r.flows = slices.Delete(r.flows, 0, 1)
	}
	r.flows = append(r.flows, flow)
	r.touch(flow)
	return flow
}

// find returns the running flow with a request ID, or nil.
func (r *Recorder) find(requestID string) *Flow {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running[requestID]
}

// change changes a flow.
func (r *Recorder) change(f *Flow, change func(*Flow)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(f)
	if f.Done {
		delete(r.running, f.RequestID)
	}
	r.touch(f)
}

// addStep adds a step and returns what changes it, once, at its end.
func (r *Recorder) addStep(f *Flow, step Step) (finish func(func(*Step))) {
	start := time.Now()
	added := -1
	r.change(f, func(f *Flow) {
		if len(f.Steps) < maxSteps {
			added = len(f.Steps)
			f.Steps = append(f.Steps, step)
		}
	})
	return func(change func(*Step)) {
		if added < 0 {
			return
		}
		r.change(f, func(f *Flow) {
			f.Steps[added].Done, f.Steps[added].Milliseconds = true, milliseconds(time.Since(start))
			change(&f.Steps[added])
		})
	}
}

// touch makes those who wait look at a flow; the caller holds mu.
func (r *Recorder) touch(f *Flow) {
	r.version++
	f.version = r.version
	close(r.changed)
	r.changed = make(chan struct{})
}

// since returns the flows that changed after a version, in the order of their changes, the
// version now, and a channel that is closed at the next change.
func (r *Recorder) since(version int) (flows []Flow, now int, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.flows {
		if f.version > version {
			flow := *f
			flow.Steps = slices.Clone(f.Steps)
			flows = append(flows, flow)
		}
	}
	slices.SortFunc(flows, func(a, b Flow) int { return a.version - b.version })
	return flows, r.version, r.changed
}

// claimsOf returns the claims of a token as they are, unchecked: the middle tier and the API
// have their own checks. It returns nil if there are none to show.
func claimsOf(token string) json.RawMessage {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || len(parts[1]) > base64.RawURLEncoding.EncodedLen(maxClaims) {
		return nil
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var members map[string]json.RawMessage
	if err != nil || json.Unmarshal(payload, &members) != nil || members == nil {
		return nil
	}
	return payload
}

// truncate returns the beginning of the caller's text.
func truncate(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "…"
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
