package downstream

import (
	"errors"
	"fmt"

	"middletier/internal/failure"
)

// Kind is the reason why a call has no response that can be passed on.
type Kind int

// The kinds of Error.
const (
	Unreachable Kind = iota
	Timeout
	RejectedToken
	InvalidResponse // it violates HTTP
	HeadersTooLarge // the API does not accept them, and has not processed the request
	ResponseTooLarge
)

func (k Kind) String() string {
	return [...]string{"unreachable", "timeout", "rejected token", "invalid response", "headers too large", "response too large"}[k]
}

// Error is a call that failed between this service and the API.
type Error struct {
	Kind   Kind
	Claims string // with RejectedToken: the claims challenge, as JSON
	// Schemes are, with RejectedToken, the authentication schemes of the API's
	// challenges if Bearer is not among them; otherwise "".
	Schemes string
	Err     error
}

func (e *Error) Error() string { return fmt.Sprintf("downstream: %s: %v", e.Kind, e.Err) }

func (e *Error) Unwrap() error { return e.Err }

// ErrBody says that the caller's body was malformed or truncated.
var ErrBody = errors.New("the request body could not be read")

// classify returns the error of Forward for an error of a call.
func (c *call) classify(err error) error {
	if err == nil {
		return nil
	}
	var callError *Error
	var caller callerError
	switch cause := c.cause(); {
	case errors.Is(cause, errLateBody):
		return fmt.Errorf("%w: %w", ErrBody, cause)
	case cause != nil && !errors.Is(cause, errTimeout):
		return fmt.Errorf("the caller left: %w", cause)
	case errors.Is(err, ErrBody), errors.Is(err, ErrHeader): // ErrBody may wrap an *http.MaxBytesError
		return err
	case cause != nil:
		return &Error{Kind: Timeout, Err: cause}
	case errors.As(err, &caller):
		return caller.error
	case errors.As(err, &callError):
		return err
	}
	return &Error{Kind: Unreachable, Err: failure.Of(err)}
}

// callerError distinguishes an error of a function that the caller passed, such as a
// TokenFunc, from those of the transport.
type callerError struct{ error }
