package sidecar

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"middletier/internal/downstream"
)

const testLimit = 1 << 20

// answer is an API's answer with this body, and headers by name and value.
func answer(body string, header ...string) *downstream.Answer {
	a := &downstream.Answer{Status: 200, Header: http.Header{}, Body: []byte(body)}
	for i := 0; i < len(header); i += 2 {
		a.Header.Add(header[i], header[i+1])
	}
	return a
}

func zipped(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestContentIsText(t *testing.T) {
	for _, row := range []struct{ contentType, body, want string }{
		{"", "text", "text"},
		{"application/json", `{"a":"ü"}`, `{"a":"ü"}`},
		{"APPLICATION/JSON; Charset=UTF-8", "ü", "ü"},
		{"text/plain", "\x00ü\r\n", "\x00ü\r\n"},
		{"text/html;charset=utf8", "ü", "ü"},
		{"application/problem+json", "{}", "{}"},
		{"application/vnd.example.v2+json; q=1", "{}", "{}"},
		{"application/soap+xml", "<a/>", "<a/>"},
		{"image/svg+xml", "<svg/>", "<svg/>"},
		{"application/xml", "<a/>", "<a/>"},
		{"application/x-www-form-urlencoded", "a=b", "a=b"},
		{"application/javascript", "1", "1"},
		{"application/x-ndjson", "{}\n{}\n", "{}\n{}\n"},
		{"text/event-stream", "data: x\n\n", "data: x\n\n"},
		{"multipart/mixed; boundary=b", "--b\r\n\r\nx\r\n--b--", "--b\r\n\r\nx\r\n--b--"},
		{"application/octet-stream; charset=utf-8", "said to be text", "said to be text"},
		{"text/plain; charset", "x", "x"},
		{"text/plain; charset=utf-8; charset=utf-8", "x", "x"},

		{"text/plain", "\ufeffü", "ü"},
		{"text/plain; charset=utf-8", "\ufeffü", "ü"},
		{"text/plain", "\xff\xfe\xfc\x00", "ü"},
		{"text/plain", "\xfe\xff\x00\xfc", "ü"},
		{"text/plain; charset=utf-16", "\xfe\xff\x00\xfc", "ü"},
		{"text/plain; charset=utf-16", "\xfc\x00", "ü"},
		{"text/plain; charset=utf-16be", "\x00\xfc", "ü"},
		{"text/plain; charset=UTF-16LE", "\x3d\xd8\x00\xde\xfd\xff", "😀\ufffd"},
		{"text/plain; charset=iso-8859-1", "\xfc", "ü"},
		{"text/plain; charset=us-ascii", "x", "x"},
		{`text/plain; charset="windows-1252"`, "\x80\xfc", "€ü"},
		{"text/plain; charset='windows-1252'", "\x80", "€"},
		{"text/plain; charset=windows-1251", "\xcf", "П"},
		{"text/plain; charset=shift_jis", "\x82\xa0", "あ"},
		{"application/json; charset=gb18030", "\xc4\xe3", "你"},
	} {
		got, err := readContent(answer(row.body, "Content-Type", row.contentType), testLimit)
		if err != nil || got == nil || string(got) != row.want {
			t.Errorf("%q %q: got %v %v, want %q", row.contentType, row.body, text(got), err, row.want)
		}
	}
}

func text(content []byte) string {
	if content == nil {
		return "null"
	}
	return string(content)
}

func TestEmptyContentIsNull(t *testing.T) {
	for _, a := range []*downstream.Answer{
		answer(""), answer("", "Content-Type", "image/png"), answer("", "Content-Encoding", "br"), answer("", "Content-Encoding", "gzip"),
		answer(zipped(t, ""), "Content-Encoding", "gzip", "Content-Type", "text/plain"),
	} {
		if got, err := readContent(a, testLimit); got != nil || err != nil {
			t.Errorf("%v: got %q %v, want null", a.Header, text(got), err)
		}
	}
}

func TestContentThatIsNotText(t *testing.T) {
	for _, row := range []struct {
		contentType, body string
		want              error
	}{
		{"image/png", "\x89PNG", errNotText},
		{"application/octet-stream", "text, but nobody says so", errNotText},
		{"application/pdf", "%PDF", errNotText},
		{"application/zip", "PK", errNotText},
		{"application/grpc+proto", "x", errNotText},
		{"audio/mpeg; x=1", "x", errNotText},
		{"", "\xff", errNotInCharset},
		{"application/json", "{\"a\":\"\xfc\"}", errNotInCharset},
		{"text/plain; charset=utf-8", "\xff\xfex\x00", errNotInCharset},
		{"text/plain; charset=utf-8", "\xed\xa0\x80", errNotInCharset},
		{"text/plain; charset=utf-16", "\x00\xd8x\x00", errNotInCharset},
		{"text/plain; charset=utf-16", "x\x00y", errNotInCharset},
		{"text/plain; charset=unknown-8", "x", errNotInCharset},
		{"text/plain; charset=utf-7", "x", errNotInCharset},
		{"text/plain; charset=hz-gb-2312", "x", errNotInCharset},
		{"text/plain; charset=windows-1253", "\xd2", errNotInCharset},
		{"image/png; charset=utf-8", "\x89PNG", errNotInCharset},
	} {
		got, err := readContent(answer(row.body, "Content-Type", row.contentType), testLimit)
		if !errors.Is(err, row.want) || got != nil {
			t.Errorf("%q %q: got %q %v, want %v", row.contentType, row.body, text(got), err, row.want)
		}
	}
}

func TestGzipIsUndone(t *testing.T) {
	for _, coding := range []string{"gzip", "x-gzip", "GZIP", "identity, gzip"} {
		a := answer(zipped(t, "\xfc"), "Content-Encoding", coding, "Content-Type", "text/plain; charset=iso-8859-1", "Content-Length", "25", "Etag", "1")
		got, err := readContent(a, testLimit)
		if err != nil || text(got) != "ü" || len(a.Header) != 2 || a.Header.Get("Etag") != "1" {
			t.Errorf("%s: got %q %v with %v, want ü without Content-Encoding and Content-Length", coding, text(got), err, a.Header)
		}
	}
	identity := answer("x", "Content-Encoding", "identity", "Content-Length", "1")
	if got, err := readContent(identity, testLimit); err != nil || text(got) != "x" || len(identity.Header) != 2 {
		t.Errorf("identity: got %q %v with %v", text(got), err, identity.Header)
	}
	for name, a := range map[string]*downstream.Answer{
		"br": answer("x", "Content-Encoding", "br"), "twice": answer("x", "Content-Encoding", "gzip", "Content-Encoding", "gzip"),
		"no gzip": answer("x", "Content-Encoding", "gzip"), "truncated": answer(zipped(t, "text")[:20], "Content-Encoding", "gzip"),
	} {
		if got, err := readContent(a, testLimit); !errors.Is(err, errContentEncoding) {
			t.Errorf("%s: got %q %v, want %v", name, text(got), err, errContentEncoding)
		}
	}
}

// A small answer may unpack to far more than memory holds.
func TestGzipIsUndoneUpToTheLimit(t *testing.T) {
	plain := strings.Repeat("x", testLimit)
	if got, err := readContent(answer(zipped(t, plain), "Content-Encoding", "gzip"), testLimit); err != nil || text(got) != plain {
		t.Errorf("at the limit: got %d bytes, %v", len(text(got)), err)
	}
	var failure *downstream.Error
	_, err := readContent(answer(zipped(t, plain+"x"), "Content-Encoding", "gzip"), testLimit)
	if !errors.As(err, &failure) || failure.Kind != downstream.ResponseTooLarge {
		t.Errorf("beyond the limit: got %v, want %v", err, downstream.ResponseTooLarge)
	}
}

// Whatever an API answers, what is returned is text, and nothing of it is replaced.
func FuzzContent(f *testing.F) {
	for _, charset := range []string{"", "utf-8", "utf-16", "utf-16be", "windows-1252", "shift_jis", "gb18030", "iso-2022-jp", "euc-kr", "big5", "none"} {
		f.Add("text/plain; charset="+charset, "", []byte("\xfe\xff\x00\xfc \x82\xa0\xff"))
	}
	f.Add("application/json", "gzip", []byte(zipped(f, "{}")))
	f.Fuzz(func(t *testing.T, contentType, contentEncoding string, body []byte) {
		const limit = 1 << 16
		a := &downstream.Answer{Header: http.Header{"Content-Type": {contentType}, "Content-Encoding": {contentEncoding}}, Body: bytes.Clone(body)}
		got, err := readContent(a, limit)
		switch {
		case err != nil && got != nil:
			t.Errorf("got both %q and %v", got, err)
		case err != nil || got == nil:
		case !utf8.Valid(got):
			t.Errorf("got %q, which is not UTF-8", got)
		case !bytes.Equal(a.Body, body):
			t.Error("the answer's body was changed")
		}
		_, charset := mediaType(contentType)
		if got != nil && charset == "" && contentEncoding == "" && utf8.Valid(body) && string(got) != strings.TrimPrefix(string(body), "\ufeff") {
			t.Errorf("got %q, want %q", got, body)
		}
	})
}

// The answer to the application takes little more memory than the API's text, whatever is in
// it: a few KB of gzip can be 32 MiB of it.
func TestContentIsEncodedInItsOwnSize(t *testing.T) {
	every := make([]byte, 0, 256)
	for c := range 0x80 {
		every = append(every, byte(c))
	}
	for _, text := range []string{"", string(every), "<&>ü€\U0001f600\u2028\ufffd", `{"a":"\n"}`, `plain, and "long"` + "\t enough"} {
		content := []byte(text)
		body, err := callAnswer{status: 200, headers: http.Header{"A": {"b"}}, content: content, sessionKey: "k1"}.append(nil, 1<<10)
		var got struct {
			StatusCode            int
			Headers               http.Header
			Content               *string
			LongRunningSessionKey string
		}
		if err != nil || json.Unmarshal(body, &got) != nil || got.Content == nil || *got.Content != text || got.StatusCode != 200 ||
			got.LongRunningSessionKey != "k1" || got.Headers.Get("A") != "b" {
			t.Errorf("%q: got %s %v", text, body, err)
		}
		if n := len(appendJSON(nil, content)); n != jsonSize(content) {
			t.Errorf("jsonSize(%q): got %d, want %d", text, jsonSize(content), n)
		}
	}
	const limit = 1 << 20
	for name, row := range map[string]struct {
		text string
		fits bool
	}{
		"HTML": {strings.Repeat("<p>", limit/3), true}, "quotes": {strings.Repeat(`"`, limit/2-1), true},
		"control characters": {strings.Repeat("\x01", limit/2), false},
	} {
		body, err := callAnswer{content: []byte(row.text)}.append(nil, limit+2)
		var failure *downstream.Error
		if row.fits != (err == nil) || err != nil && (!errors.As(err, &failure) || failure.Kind != downstream.ResponseTooLarge) {
			t.Errorf("%s: got %v, fits: %v", name, err, row.fits)
		}
		if cap(body) > limit+16<<10 {
			t.Errorf("%s: got %d bytes, want no more than the text", name, cap(body))
		}
	}
}

// Names and values of headers are escaped as package json does, in the same order.
func TestHeadersAreThoseOfPackageJSON(t *testing.T) {
	odd := []string{"", "a", "<", ">", "&", "<script>&amp;", `"`, `\`, "\t", "\x00", "\x1f", " ~", "\x7f", "ü", "\u2028\u2029", "\ufffd", "a\xffb"}
	for _, h := range []http.Header{
		{},
		{"A": {}},
		{"Date": {"Sat, 28 Nov 2026 08:00:00 GMT"}, "Content-Type": {"application/json; charset=utf-8"}, "Etag": {`W/"1"`}, "Link": {"</a>; rel=next", "b"}},
		{"B": odd, "A": {"x"}, "Aa": {"y"}, "a": {"z"}, "\"<ü": {"w"}},
	} {
		want, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendHeaders([]byte("x"), h); string(got) != "x"+string(want) {
			t.Errorf("got %s, want x%s", got, want)
		}
	}
}

// What needs no escapes is copied in one piece, so each character is tried at each place.
func TestContentIsEscapedAtEachPlace(t *testing.T) {
	for c := range 0x80 {
		for at := range 17 {
			content := []byte(strings.Repeat("x", at) + string(rune(c)) + strings.Repeat("y", 16-at))
			var got string
			body := appendJSON(nil, content)
			if err := json.Unmarshal(body, &got); err != nil || got != string(content) || len(body) != jsonSize(content) {
				t.Fatalf("%q: got %s %v, want %d bytes", content, body, err, jsonSize(content))
			}
		}
	}
}

func BenchmarkCallAnswer(b *testing.B) {
	var content []byte
	for i := range 10 {
		content = fmt.Appendf(content, `{"id":%d,"title":"write a benchmark that is fair","owner":"bbbbbbbb-0000-4000-9000-000000000000"},`, i)
	}
	a := callAnswer{status: 200, content: content, headers: http.Header{
		"Content-Type": {"application/json"}, "Date": {"Sat, 28 Nov 2026 08:00:00 GMT"}, "Content-Length": {"1091"},
	}}
	buffer := make([]byte, 0, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.append(buffer, 1<<20); err != nil {
			b.Fatal(err)
		}
	}
}
