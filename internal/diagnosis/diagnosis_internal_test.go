package diagnosis

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"syscall"
	"testing"

	"middletier/internal/obo"
)

// What scenarios on loopback cannot bring about. The rest is seen in the tables
// of check and call.
func TestReasons(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for _, row := range []struct {
		err  error
		want string
	}{
		{dial(&net.DNSError{Err: "no such host", Name: "todo.example", IsNotFound: true}), "DNS has no address for todo.example"},
		{dial(&net.DNSError{Err: "i/o timeout", Name: "todo.example", IsTimeout: true}), "DNS does not answer for todo.example"},
		{dial(syscall.ENETUNREACH), "network is unreachable"},
		{dial(timeoutError{}), "no answer in time"},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: handshake failure")}, "it refuses the TLS handshake: tls: handshake failure"},
		{&net.OpError{Op: "local error", Err: errors.New("tls: no renegotiation")}, "the TLS handshake failed: tls: no renegotiation"},
		{&net.OpError{Op: "read", Err: net.ErrClosed}, "the connection was closed without a whole answer"},
		{x509.HostnameError{Certificate: &x509.Certificate{}, Host: "todo.example"}, "its certificate is for another name"},
		{x509.CertificateInvalidError{Reason: x509.Expired}, "its certificate has expired or is not valid yet"},
		{x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign}, "its certificate is not valid"},
		{errors.New("HTTP/1.1 what the peer sent"), "the answer is not HTTP"},
		{&obo.Error{Err: errors.New("what the peer sent")}, "the provider's answer could not be understood"},
		{&obo.Error{Kind: obo.Misconfigured, Status: 400, Code: "invalid_client", Codes: []int{7, 7000222}}, "invalid_client AADSTS7 AADSTS7000222: the client secret has expired"},
		{&obo.Error{Kind: obo.Misconfigured, Status: 401, Code: "invalid_client", Codes: []int{7}, CorrelationID: "c"}, "invalid_client AADSTS7: the credential is not accepted (correlation id c)"},
		{&obo.Error{Kind: obo.Misconfigured, Status: 400, Code: "unauthorized_client"}, "unauthorized_client: the application may not do this"},
		{&obo.Error{Kind: obo.Misconfigured, Status: 400, Code: "invalid_resource"}, "invalid_resource: the scope is not accepted"},
		{&obo.Error{Kind: obo.Unavailable, Status: 503, Code: "temporarily_unavailable"}, "temporarily_unavailable: the provider answered 503, try again later"},
	} {
		var refusal *obo.Error
		err := row.err
		if !errors.As(err, &refusal) {
			err = &url.Error{Op: "Get", URL: "https://todo.example", Err: err} // as a client wraps it
		}
		if got := Reason(fmt.Errorf("wrapped: %w", err)); got != row.want {
			t.Errorf("%v: got %q, want %q", row.err, got, row.want)
		}
	}
}

type timeoutError struct{}

func (timeoutError) Error() string   { return "i/o timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }
