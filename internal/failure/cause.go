package failure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
)

// Cause is why a connection failed, or why no whole answer came on it. It holds only what
// this machine or a protocol defines.
type Cause struct {
	Kind   Kind
	During string // what this machine was doing, such as "dial 10.0.0.1:443", or ""
	Detail string // of some kinds
}

// Kind is the kind of a Cause. The comments say what its Detail is.
type Kind int

// The kinds of causes.
const (
	Unknown Kind = iota // the error's type gives no reason
	Canceled
	NoSuchHost // the name
	SilentDNS  // the name that DNS does not answer for
	TimedOut
	UntrustedCA
	OtherName      // the name that the certificate is not valid for
	Expired        // or not valid yet
	BadCertificate // the number of the reason (x509.InvalidReason)
	NoTLS
	RefusedHandshake // the TLS alert of the other side
	FailedHandshake  // the TLS alert of this side
	NetworkError     // the name of the system error
	SystemError      // likewise; not of a connection
	Closed           // by this side
	CutShort         // the answer ends early
	NotJSON
)

// CauseOf returns the cause of err.
func CauseOf(err error) Cause {
	var op *net.OpError
	var dns *net.DNSError
	var timeout net.Error
	during := ""
	if errors.As(err, &op) && op.Addr != nil && operations[op.Op] {
		during = op.Op + " " + clean(op.Addr.String())
	}
	switch {
	case errors.Is(err, context.Canceled):
		return Cause{Kind: Canceled}
	case errors.As(err, &dns) && dns.IsNotFound:
		return Cause{Kind: NoSuchHost, Detail: clean(dns.Name)}
	case errors.As(err, &dns):
		return Cause{Kind: SilentDNS, Detail: clean(dns.Name)}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return Cause{Kind: TimedOut, During: during}
	}
	if cause := tlsCause(err); cause.Kind != Unknown {
		return cause
	}
	var errno syscall.Errno
	var syntax *json.SyntaxError
	var mistyped *json.UnmarshalTypeError
	switch {
	case errors.As(err, &op) && errors.As(op, &errno):
		return Cause{NetworkError, during, errno.Error()}
	case errors.As(err, &errno):
		return Cause{SystemError, during, errno.Error()}
	case errors.Is(err, net.ErrClosed):
		return Cause{Kind: Closed, During: during}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Cause{Kind: CutShort, During: during}
	case errors.As(err, &syntax), errors.As(err, &mistyped):
		return Cause{Kind: NotJSON}
	}
	return Cause{}
}

// operations are the operations of net.OpError that describe what this machine was
// doing.
var operations = map[string]bool{"dial": true, "read": true, "write": true, "proxyconnect": true}

// tlsCause returns the cause of an error of a TLS handshake.
func tlsCause(err error) Cause {
	var untrusted x509.UnknownAuthorityError
	var otherName x509.HostnameError
	var invalid x509.CertificateInvalidError
	var op *net.OpError
	switch {
	case errors.As(err, &untrusted):
		return Cause{Kind: UntrustedCA}
	case errors.As(err, &otherName):
		return Cause{Kind: OtherName, Detail: clean(otherName.Host)}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return Cause{Kind: Expired}
	case errors.As(err, &invalid):
		return Cause{Kind: BadCertificate, Detail: strconv.Itoa(int(invalid.Reason))}
	case errors.As(err, new(tls.RecordHeaderError)), errors.Is(err, http.ErrSchemeMismatch):
		return Cause{Kind: NoTLS}
	case errors.As(err, &op) && op.Op == "remote error":
		return Cause{Kind: RefusedHandshake, Detail: clean(op.Err.Error())}
	case errors.As(err, &op) && op.Op == "local error":
		return Cause{Kind: FailedHandshake, Detail: clean(op.Err.Error())}
	}
	return Cause{}
}

// words describes c, or is "" if the kind is unknown.
func (c Cause) words() string {
	where := ""
	if c.During != "" {
		where = c.During + ": "
	}
	switch c.Kind {
	case Canceled:
		return "canceled"
	case NoSuchHost:
		return "no such host: " + c.Detail
	case SilentDNS:
		return "DNS does not answer for " + c.Detail
	case TimedOut:
		return where + "timed out"
	case UntrustedCA:
		return "TLS: certificate signed by unknown authority"
	case OtherName:
		return "TLS: certificate is valid for other names than " + c.Detail
	case Expired:
		return "TLS: certificate has expired or is not valid yet"
	case BadCertificate:
		return "TLS: certificate is not valid, reason " + c.Detail
	case NoTLS:
		return "TLS: the server does not use TLS"
	case RefusedHandshake:
		return "TLS: refused by the other side: " + c.Detail
	case FailedHandshake:
		return "TLS: " + c.Detail
	case NetworkError, SystemError:
		return where + c.Detail
	case Closed:
		return where + "the connection is closed"
	case CutShort:
		return where + "unexpected end of the answer"
	case NotJSON:
		return "the answer is not the JSON that it should be"
	}
	return ""
}
