package secretfile_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"middletier/internal/secretfile"
	"middletier/internal/testkit/certtest"
	"middletier/internal/testkit/tooltest"
)

const password = "the-pfx-password"

var now = time.Now()

// made is a certificate with its key.
type made struct{ certtest.Pair }

// issue makes a certificate of key that lasts for so long; issuer nil: itself.
func issue(name string, key crypto.Signer, issuer *made, from, to time.Time) made {
	template := certtest.Template(name, from, to)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	if issuer == nil {
		return made{certtest.Sign(template, key, nil)}
	}
	return made{certtest.Sign(template, key, &issuer.Pair)}
}

// set is what most rows are made of.
type set struct{ root, middle, leaf, short, future, expired, other made }

var certificates = sync.OnceValue(func() set {
	var s set
	hour := now.Add(-time.Hour)
	s.root = issue("root", certtest.NewEC(), nil, hour, now.Add(time.Hour))
	s.middle = issue("middle", certtest.NewEC(), &s.root, hour, now.Add(time.Hour))
	s.leaf = issue("leaf", certtest.NewRSA(), &s.middle, hour, now.Add(2*time.Hour))
	s.short = issue("short", s.leaf.Key, nil, hour, now.Add(time.Hour))
	s.future = issue("future", s.leaf.Key, nil, now.Add(time.Hour), now.Add(9*time.Hour))
	s.expired = issue("expired", s.leaf.Key, nil, hour, now.Add(-time.Minute))
	s.other = issue("other", certtest.NewEC(), nil, hour, now.Add(time.Hour))
	return s
})

func (m made) pem() string { return string(m.CertificatePEM()) }

func (m made) pkcs8() string { return string(m.KeyPEM()) }

func (m made) pfx(encoder *pkcs12.Encoder, password string, chain ...*x509.Certificate) string {
	data, err := encoder.Encode(m.Key, m.Certificate, chain, password)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// openssl runs it on stdin and returns what it prints.
func openssl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command(tooltest.Find(t, "openssl", "openssl"), args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl %q: %v\n%s", args, err, &stderr)
	}
	return string(out)
}

// inLines breaks text as tools do.
func inLines(text string) string {
	var b strings.Builder
	for line := range slices.Chunk([]byte(text), 64) {
		b.Write(append(line[:len(line):len(line)], "\r\n"...))
	}
	return b.String()
}

// outerBER gives the outermost sequence an indefinite length, as BER may have it.
func outerBER(t *testing.T, der string) string {
	t.Helper()
	var outer asn1.RawValue
	if _, err := asn1.Unmarshal([]byte(der), &outer); err != nil {
		t.Fatal(err)
	}
	return "\x30\x80" + string(outer.Bytes) + "\x00\x00"
}

// innerBER writes the content of a PFX as a string in parts, within outer lengths
// that DER allows, as some platforms do.
func innerBER(t *testing.T, der string) string {
	t.Helper()
	var pfx struct {
		Version  int
		AuthSafe struct {
			Type    asn1.ObjectIdentifier
			Content asn1.RawValue // [0]
		}
		Mac asn1.RawValue
	}
	if _, err := asn1.Unmarshal([]byte(der), &pfx); err != nil {
		t.Fatal(err)
	}
	pfx.AuthSafe.Content = asn1.RawValue{
		Class: asn1.ClassContextSpecific, IsCompound: true,
		Bytes: slices.Concat([]byte("\x24\x80"), pfx.AuthSafe.Content.Bytes, []byte("\x00\x00")),
	}
	data, err := asn1.Marshal(pfx)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestCertificatesAreReadHoweverTheirFilesWereMade(t *testing.T) {
	s := certificates()
	pfx := s.leaf.pfx(pkcs12.Modern, password, s.middle.Certificate, s.root.Certificate)
	pkcs1 := openssl(t, s.leaf.pkcs8(), "rsa", "-traditional")
	sec1 := openssl(t, s.other.pkcs8(), "ec")
	base64of := base64.StdEncoding.EncodeToString
	pair := s.leaf.pem() + s.leaf.pkcs8()
	for _, row := range []struct{ name, text, leaf string }{
		{"PEM", pair, "leaf"},
		{"PEM, key first", s.leaf.pkcs8() + s.leaf.pem(), "leaf"},
		{"PEM, PKCS #1", s.leaf.pem() + pkcs1, "leaf"},
		{"PEM, an EC key with its parameters", openssl(t, "", "ecparam", "-name", "prime256v1") + s.other.pem() + sec1, "other"},
		{"PEM with a byte order mark", "\ufeff" + pair, "leaf"},
		{"PEM of two files with marks", "\ufeff" + s.leaf.pem() + "\ufeff" + s.leaf.pkcs8(), "leaf"},
		{"PEM with line ends of Windows", strings.ReplaceAll(pair, "\n", "\r\n"), "leaf"},
		{"PEM with empty lines around", "\r\n \r\n" + pair + "\r\n\r\n", "leaf"},
		{"PEM, indented", "  " + strings.ReplaceAll(pair, "\n", "\n  "), "leaf"},
		{"PEM with words", "Bag Attributes\n    friendlyName: ä\n" + s.leaf.pem() + "Key Attributes: <No Attributes>\n" + s.leaf.pkcs8(), "leaf"},
		{"PEM with two keys", s.leaf.pem() + s.other.pkcs8() + s.leaf.pkcs8(), "leaf"},
		{"PFX", pfx, "leaf"},
		{"PFX, legacy", s.leaf.pfx(pkcs12.LegacyDES, password), "leaf"},
		{"PFX, legacy RC2", s.leaf.pfx(pkcs12.LegacyRC2, password), "leaf"},
		{"PFX of openssl", openssl(t, "", "pkcs12", "-export", "-in", writeTemp(t, pair), "-passout", "pass:"+password), "leaf"},
		{"PFX with a line end after it", pfx + "\r\n", "leaf"},
		{"PFX with white space after it", pfx + " \n\t\n", "leaf"},
		{"PFX in base64", base64of([]byte(pfx)), "leaf"},
		{"PFX in base64, in lines, with a mark", "\ufeff" + inLines(base64of([]byte(pfx))), "leaf"},
		{"PFX with a line end after it, in base64", base64of([]byte(pfx + "\n")), "leaf"},
		{"PEM in base64", base64of([]byte(pair)), "leaf"},
		{"PEM with a mark in base64", base64of([]byte("\ufeff" + pair)), "leaf"},
		{"two certificates, the longer first", s.leaf.pem() + s.short.pem() + s.leaf.pkcs8(), "leaf"},
		{"two certificates, the longer last", s.leaf.pkcs8() + s.short.pem() + s.leaf.pem(), "leaf"},
		{"two certificates in a PFX", s.short.pfx(pkcs12.Modern, password, s.leaf.Certificate), "leaf"},
		{"one that begins later", s.future.pem() + s.leaf.pem() + s.leaf.pkcs8(), "leaf"},
		{"an expired one", s.expired.pem() + s.leaf.pkcs8(), "expired"},
		{"an expired one and one that begins later", s.expired.pem() + s.future.pem() + s.leaf.pkcs8(), "future"},
	} {
		t.Run(row.name, func(t *testing.T) {
			bundle, err := secretfile.Parse([]byte(row.text), password)
			if err != nil {
				t.Fatal(err)
			}
			got, err := bundle.Pair(now)
			if err != nil {
				t.Fatal(err)
			}
			if name := got.Leaf.Subject.CommonName; name != row.leaf || got.Chain[0] != got.Leaf {
				t.Errorf("got %s, chain from %s, want %s", name, got.Chain[0].Subject.CommonName, row.leaf)
			}
		})
	}
	if bundle, err := secretfile.Parse([]byte(s.leaf.pfx(pkcs12.Passwordless, "")), ""); err != nil || len(bundle.Keys) != 1 {
		t.Errorf("PFX without a password: got %v", err)
	}
}

// The last byte of a signature may be that of a line end.
func TestCertificateThatEndsLikeALineIsRead(t *testing.T) {
	s := certificates()
	last := s.other
	for !strings.ContainsAny(string(last.Certificate.Raw[len(last.Certificate.Raw)-1:]), " \t\r\n") {
		last = issue("last", last.Key, nil, now, now.Add(time.Hour))
	}
	for _, end := range []string{"", "\n"} {
		bundle, err := secretfile.Parse([]byte(string(s.leaf.Certificate.Raw)+string(last.Certificate.Raw)+end), "")
		if err != nil || len(bundle.Certificates) != 2 {
			t.Errorf("two certificates, with %q after them: got %d, %v", end, len(bundle.Certificates), err)
		}
	}
}

func TestFilesThatHoldNoPairAreRefusedInWords(t *testing.T) {
	s := certificates()
	pair := s.leaf.pem() + s.leaf.pkcs8()
	der := string(s.leaf.Certificate.Raw)
	pfx := s.leaf.pfx(pkcs12.Modern, password)
	encryptedKey := openssl(t, s.leaf.pkcs8(), "pkcs8", "-topk8", "-passout", "pass:x")
	oldEncryptedKey := openssl(t, s.leaf.pkcs8(), "rsa", "-traditional", "-aes128", "-passout", "pass:x")
	trust, err := pkcs12.Modern.EncodeTrustStore([]*x509.Certificate{s.root.Certificate}, password)
	if err != nil {
		t.Fatal(err)
	}
	request := openssl(t, s.leaf.pkcs8(), "req", "-new", "-key", "/dev/stdin", "-subj", "/CN=x")
	const noKey = "holds a certificate, but not its private key"
	const convert = "openssl pkcs12 -in FILE -nodes -out FILE.pem"
	for _, row := range []struct{ name, text, password, problem string }{
		{"empty", "", "", "is empty"},
		{"white space", "\ufeff\r\n\r\n", "", "is empty"},
		{"text", "see the vault", "", "holds no certificate: it is neither PEM"},
		{"text that begins with a zero", "0" + strings.Repeat("1234567 ", 30), "", "holds no certificate: it is neither PEM"},
		{"text in base64", base64.StdEncoding.EncodeToString([]byte("see the vault")), "", "holds no certificate: it is neither PEM"},
		{"noise", "\x89PNG\r\n\x1a\n\xff\xd8", "", "holds no certificate: it is neither PEM"},
		{"UTF-16", inUTF16(pair, true, false), "", "is in UTF-16"},
		{"UTF-16 without a mark", inUTF16(pair, false, false), "", "is in UTF-16"},
		{"DER certificate", der, "", noKey},
		{"DER certificate in base64", base64.StdEncoding.EncodeToString([]byte(der)), "", noKey},
		{"two DER certificates", der + string(s.other.Certificate.Raw), "", noKey},
		{"PEM certificate", s.leaf.pem(), "", noKey},
		{"key alone", s.leaf.pkcs8(), "", "holds a private key, but not its certificate"},
		{"another's certificate", s.other.pem() + s.leaf.pkcs8(), "", "the private key fits none of the certificates"},
		{"certificate request", request, "", "holds no certificate and no private key, but a certificate request"},
		{"PEM cut off", s.leaf.pem() + s.leaf.pkcs8()[:200], "", "the PEM block at line"},
		{"PEM cut off in its middle", s.leaf.pem()[:200] + "\n" + s.leaf.pkcs8(), "", "the PEM block at line 1 is damaged or cut off"},
		{"certificate of noise", "\n\n" + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("noise")})), "", "the PEM block at line 1 is not a certificate"},
		{"key of noise", s.leaf.pem() + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("noise")})), "", "the PEM block at line"},
		{"encrypted key", s.leaf.pem() + encryptedKey, "x", "is an encrypted private key: write it in the clear with openssl pkey"},
		{"encrypted key of old", s.leaf.pem() + oldEncryptedKey, "x", "is an encrypted private key"},
		{"PKCS #7", openssl(t, "", "crl2pkcs7", "-nocrl", "-certfile", writeTemp(t, s.leaf.pem())), "", "is PKCS #7, which holds no key"},
		{"PFX cut off", pfx[:len(pfx)-20], password, "is damaged or cut off"},
		{"PFX with words after it", pfx + "words", password, "is a PFX with other bytes after its end"},
		{"PFX with another password", pfx, password + "x", "is a PFX that certificatePassword does not open"},
		{"PFX without its password", pfx, "", "is a PFX with a password: set certificatePassword"},
		{"PFX without a password, with one", s.leaf.pfx(pkcs12.Passwordless, ""), password, "is a PFX without a password"},
		{"PFX of old with another password", s.leaf.pfx(pkcs12.LegacyDES, password), "x", "is a PFX that certificatePassword does not open"},
		{"PFX without a key", string(trust), password, "is a PFX without a private key"},
		{"PFX in BER", outerBER(t, pfx), password, convert},
		{"PFX in BER, in base64", base64.StdEncoding.EncodeToString([]byte(outerBER(t, pfx))), password, convert},
		{"PFX with BER in it", innerBER(t, pfx), password, convert},
	} {
		t.Run(row.name, func(t *testing.T) {
			bundle, err := secretfile.Parse([]byte(row.text), row.password)
			if err == nil {
				_, err = bundle.Pair(now)
			}
			if err == nil || !strings.Contains(err.Error(), row.problem) {
				t.Fatalf("got %v, want %q", err, row.problem)
			}
			for _, not := range []string{"asn1", "pkcs12:", "x509", "\n", "noise", "vault", password} {
				if strings.Contains(err.Error(), not) {
					t.Errorf("%q holds %q", err, not)
				}
			}
		})
	}
	if _, err := secretfile.ParsePEM([]byte(pfx)); err == nil || !strings.Contains(err.Error(), "PEM is expected: convert it with "+convert) {
		t.Errorf("PFX where PEM is expected: got %v", err)
	}
}

func writeTemp(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The command that the errors name makes a file that is read.
func TestTheAdvisedCommandConvertsBER(t *testing.T) {
	s := certificates()
	pfx := s.leaf.pfx(pkcs12.Modern, password, s.middle.Certificate)
	for name, ber := range map[string]string{"outer": outerBER(t, pfx), "inner": innerBER(t, pfx)} {
		text := openssl(t, "", "pkcs12", "-in", writeTemp(t, ber), "-nodes", "-passin", "pass:"+password)
		bundle, err := secretfile.Parse([]byte(text), "")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, err := bundle.Pair(now); err != nil || got.Leaf.Subject.CommonName != "leaf" {
			t.Errorf("%s: got %v, %v", name, got.Leaf, err)
		}
	}
}

func TestChainsAreOrdered(t *testing.T) {
	s := certificates()
	want := []*x509.Certificate{s.leaf.Certificate, s.middle.Certificate, s.root.Certificate, s.other.Certificate}
	for _, order := range [][]made{
		{s.leaf, s.middle, s.root, s.other},
		{s.other, s.root, s.middle, s.leaf},
		{s.middle, s.other, s.short, s.leaf, s.root},
	} {
		text := s.leaf.pkcs8()
		for _, c := range order {
			text += c.pem()
		}
		bundle, err := secretfile.ParsePEM([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		got, err := bundle.Pair(now)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(got.Chain, want, func(a, b *x509.Certificate) bool { return bytes.Equal(a.Raw, b.Raw) }) {
			var names []string
			for _, c := range got.Chain {
				names = append(names, c.Subject.CommonName)
			}
			t.Errorf("got %v, want leaf, middle, root, other", names)
		}
	}
}
