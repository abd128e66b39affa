package downstream

import (
	"context"
	"errors"
	"fmt"

	"middletier/internal/failure"
)

// Kind is what happened to a call that the API did not answer usefully.
type Kind int

// The kinds of Error.
const (
	Unreachable Kind = iota
	Timeout
	RejectedToken
	InvalidResponse // HTTP does not allow it
	HeadersTooLarge // for the API; it has not processed the request
)

func (k Kind) String() string {
	return [...]string{"unreachable", "timeout", "rejected token", "invalid response", "headers too large"}[k]
}

// Error is a call that failed on the way to the API.
type Error struct {
	Kind   Kind
	Claims string // with RejectedToken: what the API asks for, as JSON
	// Schemes are, with RejectedToken, the authentication schemes that the API asks
	// for where a bearer token is none of them; "" else.
	Schemes string
	Err     error
}

func (e *Error) Error() string { return fmt.Sprintf("downstream: %s: %v", e.Kind, e.Err) }

func (e *Error) Unwrap() error { return e.Err }

// ErrBody says that the caller's body was malformed or broke off.
var ErrBody = errors.New("the request body could not be read")

// classify says what an error of a call was.
func classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var ours *Error
	var token tokenError
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errLateBody):
		return fmt.Errorf("%w: %w", ErrBody, cause)
	case cause != nil && !errors.Is(cause, errTimeout):
		return fmt.Errorf("the caller left: %w", cause)
	case errors.Is(err, ErrBody), errors.Is(err, ErrHeader): // in it may be an *http.MaxBytesError
		return err
	case cause != nil:
		return &Error{Kind: Timeout, Err: cause}
	case errors.As(err, &token):
		return token.error
	case errors.As(err, &ours):
		return err
	}
	return &Error{Kind: Unreachable, Err: failure.Of(err)}
}

// tokenError marks an error of a TokenFunc among those of the transport.
type tokenError struct{ error }
