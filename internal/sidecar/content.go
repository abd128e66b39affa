package sidecar

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"

	"middletier/internal/downstream"
	"middletier/internal/problem"
)

// Answers of APIs that cannot be returned as text. Nothing of such an answer is returned:
// a client would take what is left for the whole.
var (
	errNotText = problem.New("downstream-invalid-response",
		"The downstream API's answer is not text, and this route returns text only. "+
			"The AuthorizationHeader route gives a token to call the API directly.")
	errNotInCharset = problem.New("downstream-invalid-response",
		"The downstream API's answer is in an unknown charset, or not valid in its charset, which is UTF-8 where none is declared.")
	errContentEncoding = problem.New("downstream-invalid-response",
		"The downstream API's answer has a Content-Encoding other than gzip, or is not valid gzip.")
)

// readContent returns the text of an API's answer, nil for an empty one: gzip undone, and
// in UTF-8. It removes the headers that no longer hold then. Text larger than limit is a
// *downstream.Error.
func readContent(a *downstream.Answer, limit int64) ([]byte, error) {
	body, err := decompress(a.Header, a.Body, limit)
	if err != nil {
		return nil, err
	}
	if len(body) == 0 {
		return nil, nil
	}
	kind, charset := mediaType(a.Header.Get("Content-Type"))
	if charset == "" && !isText(kind) {
		return nil, fmt.Errorf("%w: its type is %.64q", errNotText, kind)
	}
	text, err := decodeText(body, charset)
	if err != nil {
		return nil, fmt.Errorf("%w: %.64q: %w", errNotInCharset, charset, err)
	}
	return text, nil
}

// decompress undoes gzip (RFC 9110, section 8.4.1), and removes the headers about the
// compressed body.
func decompress(h http.Header, body []byte, limit int64) ([]byte, error) {
	var codings []string
	for _, list := range h["Content-Encoding"] {
		for coding := range strings.SplitSeq(list, ",") {
			coding = strings.ToLower(strings.TrimSpace(coding))
			if coding != "" && coding != "identity" {
				codings = append(codings, coding)
			}
		}
	}
	switch {
	case len(body) == 0 || len(codings) == 0:
		return body, nil
	case len(codings) > 1 || codings[0] != "gzip" && codings[0] != "x-gzip":
		return nil, fmt.Errorf("%w: %.64q", errContentEncoding, codings)
	}
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errContentEncoding, err)
	}
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errContentEncoding, err)
	case int64(len(text)) > limit:
		return nil, &downstream.Error{Kind: downstream.ResponseTooLarge, Err: fmt.Errorf("unpacked, it has more than %d bytes", limit)}
	}
	h.Del("Content-Encoding")
	h.Del("Content-Length")
	return text, nil
}

// mediaType returns type and charset of a Content-Type, in lower case.
func mediaType(contentType string) (kind, charset string) {
	kind, parameters, err := mime.ParseMediaType(contentType)
	if err != nil { // the type counts nevertheless
		kind, _, _ = strings.Cut(contentType, ";")
		kind = strings.ToLower(strings.TrimSpace(kind))
	}
	return kind, strings.ToLower(strings.Trim(parameters["charset"], `' `))
}

// textTypes are the types of text that have no name in common. Others are text if a
// charset is declared.
var textTypes = map[string]bool{
	"": true, // no type: many APIs send none with errors

	"application/json": true, "application/jsonl": true, "application/ndjson": true, "application/x-ndjson": true,
	"application/json-seq": true,
	"application/xml":      true, "application/xml-dtd": true,
	"application/javascript": true, "application/x-javascript": true, "application/ecmascript": true,
	"application/x-www-form-urlencoded": true, "application/graphql": true, "application/sql": true, "application/csv": true,
	"application/yaml": true, "application/x-yaml": true, "application/toml": true,
	"application/jwt": true, "application/jose": true, "application/x-pem-file": true,
	"application/http": true, // the parts of an OData batch
}

// isText reports whether content of a type is text.
func isText(kind string) bool {
	if textTypes[kind] || strings.HasPrefix(kind, "text/") || strings.HasPrefix(kind, "multipart/") {
		return true
	}
	for _, suffix := range [...]string{"+json", "+xml", "+yaml", "+json-seq", "+jwt"} { // RFC 6839 and its registry
		if strings.HasSuffix(kind, suffix) {
			return true
		}
	}
	return false
}

var (
	errInvalid = errors.New("some bytes are not valid")
	utf8BOM    = []byte("\ufeff")
)

// decodeText returns body in UTF-8, without a byte order mark. A declared charset decides;
// without one a byte order mark does. The text is not nil, and may be a part of body.
func decodeText(body []byte, charset string) ([]byte, error) {
	var bom []byte
	switch {
	case bytes.HasPrefix(body, utf8BOM):
		bom = utf8BOM
	case bytes.HasPrefix(body, []byte{0xff, 0xfe}), bytes.HasPrefix(body, []byte{0xfe, 0xff}):
		bom = body[:2]
	}
	if charset == "" && len(bom) == 2 {
		charset = "utf-16"
	}
	switch charset {
	case "", "utf-8", "utf8":
		body = bytes.TrimPrefix(body, utf8BOM)
		if !utf8.Valid(body) {
			return nil, errInvalid
		}
		return body, nil
	case "utf-16", "utf-16le", "utf-16be":
		order := unicode.LittleEndian
		if charset == "utf-16be" || len(bom) == 2 && bom[0] == 0xfe {
			order = unicode.BigEndian
		}
		if len(bom) == 2 {
			body = body[2:]
		}
		return decode(body, unicode.UTF16(order, unicode.IgnoreBOM))
	}
	found, err := htmlindex.Get(charset) // the names and charsets of browsers
	if err != nil {
		return nil, err
	}
	return decode(body, found)
}

// decode returns body in UTF-8. Decoders replace what is not valid; body is the same as
// before if it can be encoded again.
func decode(body []byte, charset encoding.Encoding) ([]byte, error) {
	text, err := charset.NewDecoder().Bytes(body)
	if err != nil {
		return nil, err
	}
	if bytes.ContainsRune(text, utf8.RuneError) {
		again, err := charset.NewEncoder().Bytes(text)
		if err != nil || !bytes.Equal(again, body) {
			return nil, errInvalid
		}
	}
	return text, nil
}

// shortEscapes are the characters that have short escapes in JSON (RFC 8259, section 7).
// Other control characters take six bytes, and all else stays.
var shortEscapes = [256]byte{'"': '"', '\\': '\\', '\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't'}

// escapeSizes are by how much characters get longer in JSON.
var escapeSizes = func() (sizes [256]uint8) {
	for c, short := range shortEscapes {
		switch {
		case short != 0:
			sizes[c] = 1
		case c < ' ':
			sizes[c] = 5
		}
	}
	return sizes
}()

// jsonSize returns the length of what appendJSON appends.
func jsonSize(text []byte) int {
	size := len(text) + 2
	for _, c := range text {
		size += int(escapeSizes[c])
	}
	return size
}

// appendJSON appends text, which is valid UTF-8, as a string of JSON.
func appendJSON(to, text []byte) []byte {
	const hex = "0123456789abcdef"
	to = append(to, '"')
	plain := 0 // where what needs no escapes begins
	for i, c := range text {
		if escapeSizes[c] == 0 {
			continue
		}
		to = append(to, text[plain:i]...)
		if short := shortEscapes[c]; short != 0 {
			to = append(to, '\\', short)
		} else {
			to = append(to, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		plain = i + 1
	}
	return append(append(to, text[plain:]...), '"')
}

// appendString appends a string as package json does. Names and values of headers stay as they
// are, except for quotes, the characters of HTML and what is not ASCII.
func appendString(to []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // a string always encodes
			return append(to, quoted...)
		}
	}
	return append(append(append(to, '"'), s...), '"')
}
