// Package diagnosis explains why a request to the identity provider or to an API failed,
// and what to do: for the commands check and call, and for the log.
package diagnosis

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"middletier/internal/failure"
	"middletier/internal/obo"
)

// Reason explains why an attempt failed and what to do. It repeats only codes of what
// the other side sent.
func Reason(err error) string {
	var refusal *obo.Error
	var request *url.Error
	switch {
	case errors.As(err, &refusal):
		return refusalReason(refusal)
	case failure.CauseOf(err).Kind == failure.NotJSON:
		return "the answer is not the JSON that it should be"
	}
	if words := connectionReason(err); words != "" {
		return words
	}
	if errors.As(err, &request) {
		return "the answer is not HTTP"
	}
	return err.Error()
}

func refusalReason(e *obo.Error) string {
	switch {
	case e.Status == 0:
		if words := connectionReason(e.Err); words != "" {
			return words
		}
		return "the provider's answer could not be understood"
	case e.Code == "":
		return fmt.Sprintf("the provider answered %d and no OAuth error: check azureAd.instance", e.Status)
	}
	words := codes(e)
	if text := numberAdvice(e); text != "" {
		return words + ": " + text
	}
	if e.Kind == obo.Unavailable {
		words += fmt.Sprintf(": the provider answered %d, try again later", e.Status)
	} else if text := codeAdvice(e); text != "" {
		words += ": " + text
	}
	if e.CorrelationID != "" {
		words += " (correlation id " + Clean(e.CorrelationID, 40) + ")"
	}
	return words
}

// codes are the provider's error code and numbers.
func codes(e *obo.Error) string {
	words := Clean(e.Code, 60)
	for _, number := range e.Codes {
		words += fmt.Sprintf(" AADSTS%d", number)
	}
	return words
}

// IsAboutResource reports whether err rejects the scope or the API of the request. The
// credential may be valid then.
func IsAboutResource(err error) bool {
	var refusal *obo.Error
	const notAssigned = 501051 // the API wants an assignment
	return errors.As(err, &refusal) && (refusal.Code == "invalid_scope" || refusal.Code == "invalid_resource" ||
		slices.Contains(refusal.Codes, notAssigned))
}

// connectionReason is the reason why there was no answer, or "" for another error.
func connectionReason(err error) string {
	cause := failure.CauseOf(err)
	detail := Clean(cause.Detail, 100)
	switch cause.Kind {
	case failure.Canceled:
		return "interrupted"
	case failure.NoSuchHost:
		return "DNS has no address for " + detail
	case failure.SilentDNS:
		return "DNS does not answer for " + detail
	case failure.TimedOut:
		return "no answer in time"
	case failure.UntrustedCA:
		return "its certificate is from a CA that is not trusted here: set SSL_CERT_FILE to the CA's PEM file"
	case failure.OtherName:
		return "its certificate is for another name"
	case failure.Expired:
		return "its certificate has expired or is not valid yet"
	case failure.BadCertificate:
		return "its certificate is not valid"
	case failure.NoTLS:
		return "the server does not use TLS"
	case failure.RefusedHandshake:
		return "it refuses the TLS handshake: " + detail
	case failure.FailedHandshake:
		return "the TLS handshake failed: " + detail
	case failure.NetworkError:
		return detail
	case failure.Closed, failure.CutShort:
		return "the connection was closed without a whole answer"
	}
	return ""
}

// Clean returns s as one line for a terminal, cut after length characters.
func Clean(s string, length int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if runes := []rune(s); len(runes) > length {
		s = string(runes[:length]) + "…"
	}
	return s
}
