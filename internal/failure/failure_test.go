package failure_test

import (
	"bufio"
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
	"testing"

	"middletier/internal/failure"
)

func TestClass(t *testing.T) {
	address := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 443}
	for _, row := range []struct {
		err  error
		want string
	}{
		{&url.Error{Op: "Post", URL: "https://secret.example/secret", Err: &net.OpError{Op: "dial", Net: "tcp", Addr: address, Err: syscall.ECONNREFUSED}}, "dial 10.0.0.1:443: connection refused"},
		{&net.OpError{Op: "read", Net: "tcp", Addr: address, Err: syscall.ECONNRESET}, "read 10.0.0.1:443: connection reset by peer"},
		{fmt.Errorf("a secret: %w", context.DeadlineExceeded), "timed out"},
		{fmt.Errorf("a secret: %w", context.Canceled), "canceled"},
		{&net.DNSError{Name: "api.contoso.example", Err: "a secret", IsNotFound: true}, "no such host: api.contoso.example"},
		{&net.DNSError{Name: "api.contoso.example", Err: "a secret", IsTemporary: true}, "DNS does not answer for api.contoso.example"},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "TLS: certificate signed by unknown authority"},
		{x509.HostnameError{Host: "api.contoso.example", Certificate: &x509.Certificate{DNSNames: []string{"secret"}}}, "TLS: certificate is valid for other names than api.contoso.example"},
		{x509.CertificateInvalidError{Reason: x509.Expired, Detail: "secret"}, "TLS: certificate has expired or is not valid yet"},
		{tls.RecordHeaderError{Msg: "secret"}, "TLS: the server does not use TLS"},
		{http.ErrSchemeMismatch, "TLS: the server does not use TLS"},
		{io.ErrUnexpectedEOF, "unexpected end of the answer"},
		{net.ErrClosed, "the connection is closed"},
		{json.Unmarshal([]byte("secret"), new(any)), "the answer is not the JSON that it should be"},
		{json.Unmarshal([]byte(`"secret"`), new(int)), "the answer is not the JSON that it should be"},
		{errors.New(`http2: server sent GOAWAY and closed the connection; LastStreamID=1, ErrCode=ENHANCE_YOUR_CALM, debug="secret"`), "HTTP/2: ENHANCE_YOUR_CALM"},
		{errors.New(`stream error: stream ID 3; PROTOCOL_ERROR; invalid header field name "secret"`), "HTTP/2: PROTOCOL_ERROR"},
		{errors.New(`net/http: invalid header field value for "secret"`), "a header field that cannot be sent"},
		{errors.New("secret"), "unknown failure, *errors.errorString"},
		{fmt.Errorf("secret: %w", errors.New("secret")), "unknown failure, *fmt.wrapError of *errors.errorString"},
	} {
		err := failure.Of(row.err)
		if got := err.Error(); got != row.want {
			t.Errorf("%v: got %q, want %q", row.err, got, row.want)
		}
		if !errors.Is(err, row.err) && !strings.Contains(fmt.Sprintf("%T", row.err), "x509") {
			t.Errorf("%v: is not found any more", row.err)
		}
		if got := fmt.Sprintf("%v %+v %#v %q %s", err, err, err, err, failure.Of(fmt.Errorf("ours: %w", err))); strings.Contains(got, "secret") {
			t.Errorf("%v: printed as %s", row.err, got)
		}
	}
	if failure.Of(nil) != nil {
		t.Error("nil is a failure")
	}
}

// What net/http makes of answers that are none says what is wrong with them.
func TestClassOfMalformedAnswers(t *testing.T) {
	for answer, want := range map[string]string{
		"secret\r\n\r\n":                                       "malformed HTTP response",
		"HTTP/1.1 secret\r\n\r\n":                              "malformed HTTP status code",
		"HTTP/secret 200 OK\r\n\r\n":                           "malformed HTTP version",
		"HTTP/1.1 200 OK\r\nsecret\r\n\r\n":                    "malformed HTTP header",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: secret\r\n\r\n": "unsupported transfer encoding",
		"HTTP/1.1 200 OK\r\nContent-Length: secret\r\n\r\n":    "bad Content-Length",
		"": "unexpected end of the answer",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("secret", 1<<18): "the answer's headers are too large",
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		}()
		transport := &http.Transport{MaxResponseHeaderBytes: 1 << 20}
		_, err = (&http.Client{Transport: transport}).Get("http://" + listener.Addr().String())
		if err == nil || failure.Class(err) != want {
			t.Errorf("%.40q: got %q of %.80q, want %q", answer, failure.Class(err), err, want)
		}
		_ = listener.Close()
	}
}

func TestCode(t *testing.T) {
	for _, code := range []string{"invalid_grant", "11111111-1111-4111-8111-111111111111", "a.b", strings.Repeat("x", 64)} {
		if got := failure.Code(code); got != code {
			t.Errorf("%q: got %q", code, got)
		}
	}
	for _, other := range []string{"a b", "a\n", "ä", strings.Repeat("x", 65), `"`, "a:b"} {
		if got := failure.Code(other); got != "" {
			t.Errorf("%q: got %q, want nothing", other, got)
		}
	}
}

func TestPanicIsAnError(t *testing.T) {
	panicked, failed := errors.New("it panicked"), errors.New("it failed")
	for name, row := range map[string]struct {
		run  func() error
		want error
	}{
		"no panic": {func() error { return nil }, nil},
		"an error": {func() error { return failed }, failed},
		"a panic":  {func() error { panic("a cause") }, panicked},
	} {
		var cause any
		err := failure.OfPanic(row.run, func(c any) error {
			cause = c
			return panicked
		})
		if err != row.want || (cause == "a cause") != (err == panicked) {
			t.Errorf("%s: got %v because of %v, want %v", name, err, cause, row.want)
		}
	}
}
