package obo

import (
	"errors"
	"regexp"

	"middletier/internal/failure"
)

// sanitized is b with those of its codes that are codes. They go to callers and into
// the log, where an answer that repeats what it was sent must not get.
func (b tokenResponse) sanitized() tokenResponse {
	b.Error, b.Suberror = failure.Code(b.Error), failure.Code(b.Suberror)
	b.CorrelationID, b.TraceID = failure.Code(b.CorrelationID), failure.Code(b.TraceID)
	return b
}

// aadsts is the number that Entra's descriptions begin with ("Microsoft Entra
// authentication and authorization error codes").
var aadsts = regexp.MustCompile(`^AADSTS\d{1,9}\b`)

// described is what is kept of a refusal's description: its number.
func (b tokenResponse) described() error {
	if number := aadsts.FindString(b.Description); number != "" {
		return errors.New(number)
	}
	return errors.New("its description has no AADSTS number")
}
