// Package diagnosis explains why a request to the identity provider or to an API failed,
// and what to do: for the commands check and call, and for the log.
package diagnosis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"middletier/internal/obo"
)

// Reason explains why an attempt failed and what to do. It repeats only codes of what
// the other side sent.
func Reason(err error) string {
	var refusal *obo.Error
	var badJSON *json.SyntaxError
	var otherJSON *json.UnmarshalTypeError
	var request *url.Error
	switch {
	case errors.As(err, &refusal):
		return refusalReason(refusal)
	case errors.As(err, &badJSON), errors.As(err, &otherJSON):
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
	if text := numberAdvice(e.Codes); text != "" {
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
	return errors.As(err, &refusal) && (refusal.Code == "invalid_scope" || refusal.Code == "invalid_resource")
}

// connectionReason is the reason why there was no answer, or "" for another error.
func connectionReason(err error) string {
	var timeout net.Error
	var dns *net.DNSError
	var untrusted x509.UnknownAuthorityError
	var otherName x509.HostnameError
	var invalid x509.CertificateInvalidError
	var op *net.OpError
	var errno syscall.Errno
	switch {
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "DNS has no address for " + Clean(dns.Name, 100)
	case errors.As(err, &dns):
		return "DNS does not answer for " + Clean(dns.Name, 100)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.As(err, &untrusted):
		return "its certificate is from a CA that is not trusted here: set SSL_CERT_FILE to the CA's PEM file"
	case errors.As(err, &otherName):
		return "its certificate is for another name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "its certificate has expired or is not valid yet"
	case errors.As(err, &invalid):
		return "its certificate is not valid"
	case errors.As(err, new(tls.RecordHeaderError)), errors.Is(err, http.ErrSchemeMismatch):
		return "the server does not use TLS"
	case errors.As(err, &op) && op.Op == "remote error":
		return "it refuses the TLS handshake: " + Clean(op.Err.Error(), 100) // the name of an alert
	case errors.As(err, &op) && errors.As(op, &errno):
		return errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
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
