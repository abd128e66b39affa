package main

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

// advice says what to do about the AADSTS numbers that a new deployment meets
// ("Microsoft Entra authentication & authorization error codes").
var advice = map[int]string{
	65001:   "nobody has consented to it for this application",
	70011:   "the scope is not valid: it must be RESOURCE/.default",
	90002:   "no such tenant: check azureAd.tenantId and azureAd.instance",
	500011:  "the tenant knows no such resource: check the scope, and that the API's service principal exists",
	501051:  "the API wants an assignment: give this application one of its app roles",
	700016:  "the tenant knows no such application: check azureAd.clientId and azureAd.tenantId",
	700024:  "the assertion's times are not accepted: check this machine's clock",
	700027:  "the signature is not accepted: is the certificate registered on the application?",
	700211:  "no federated credential of the application has this issuer",
	700212:  "no federated credential of the application has this audience",
	700213:  "no federated credential of the application has this subject",
	1000502: "the certificate has expired",
	1002012: "the scope is not valid: it must be RESOURCE/.default",
	7000215: "the client secret is wrong: is it the secret's value, not its ID?",
	7000222: "the client secret has expired",
}

// reason says in words to act on why something that was tried did not work. Of
// what the other side sent it repeats codes only.
func reason(err error) string {
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
		return "what came back is not HTTP"
	}
	return err.Error()
}

func refusalReason(e *obo.Error) string {
	switch {
	case e.Status == 0:
		if words := connectionReason(e.Err); words != "" {
			return words
		}
		return "the provider did not answer in a way that is understood"
	case e.Code == "":
		return fmt.Sprintf("the provider answered %d and no OAuth error: check azureAd.instance", e.Status)
	}
	words := clean(e.Code, 60)
	for _, number := range e.Codes {
		words += fmt.Sprintf(" AADSTS%d", number)
	}
	for _, number := range e.Codes {
		if what, ok := advice[number]; ok {
			return words + ": " + what
		}
	}
	switch {
	case e.Kind == obo.Unavailable:
		words += fmt.Sprintf(": the provider answered %d, try again later", e.Status)
	case e.Code == "invalid_client":
		words += ": the credential is not accepted"
	case e.Code == "unauthorized_client":
		words += ": the application may not do this"
	case aboutResource(e):
		words += ": the scope is not accepted"
	}
	if e.CorrelationID != "" {
		words += " (correlation id " + clean(e.CorrelationID, 40) + ")"
	}
	return words
}

// aboutResource reports whether err refuses what was asked for, which leaves
// open whether the credential is good.
func aboutResource(err error) bool {
	var refusal *obo.Error
	return errors.As(err, &refusal) && (refusal.Code == "invalid_scope" || refusal.Code == "invalid_resource")
}

// connectionReason is the reason where no answer came, or "" for another error.
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
		return "DNS has no address for " + clean(dns.Name, 100)
	case errors.As(err, &dns):
		return "DNS does not answer for " + clean(dns.Name, 100)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.As(err, &untrusted):
		return "its certificate is of a CA that is not trusted here: name the CA's PEM file in SSL_CERT_FILE"
	case errors.As(err, &otherName):
		return "its certificate is for another name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "its certificate has expired or is not valid yet"
	case errors.As(err, &invalid):
		return "its certificate is not valid"
	case errors.As(err, new(tls.RecordHeaderError)), errors.Is(err, http.ErrSchemeMismatch):
		return "it does not speak TLS there"
	case errors.As(err, &op) && op.Op == "remote error":
		return "it refuses the TLS handshake: " + clean(op.Err.Error(), 100) // the name of an alert
	case errors.As(err, &op) && errors.As(op, &errno):
		return errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed without a whole answer"
	}
	return ""
}

// clean keeps what can be shown on a terminal, in one line and to a length.
func clean(s string, length int) string {
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
