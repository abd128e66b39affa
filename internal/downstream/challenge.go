package downstream

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxClaims bounds the claims of a challenge, in bytes of JSON. They go into a
// token request.
const maxClaims = 8 << 10

// claimsOf returns the claims that an API's 401 asks for, as JSON, or "" if it has no
// valid ones. They are those of the first Bearer challenge that has some, whatever its
// error: Microsoft's page "Claims challenges, claims requests and client capabilities"
// shows insufficient_claims, and Azure Resource Manager sends invalid_token.
func claimsOf(challenges []challenge) string {
	for _, c := range challenges {
		if strings.EqualFold(c.scheme, "Bearer") {
			if claims := decodeClaims(c.params["claims"]); claims != "" {
				return claims
			}
		}
	}
	return ""
}

const (
	maxScheme  = 40 // logged characters of a scheme's name
	maxSchemes = 8  // logged schemes
)

// otherSchemes returns the names of the schemes in an API's 401, or "" if Bearer is among
// them or there are none. Proof of possession (PoP, DPoP) is another scheme than Bearer.
func otherSchemes(challenges []challenge) string {
	var names []string
	for _, c := range challenges {
		name := strings.Map(schemeChar, c.scheme)
		name = name[:min(len(name), maxScheme)]
		switch {
		case strings.EqualFold(c.scheme, "Bearer"):
			return ""
		case len(names) < maxSchemes && !slices.Contains(names, name):
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// schemeChar replaces characters that are not safe in a log line.
func schemeChar(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
		return r
	}
	return '?'
}

// decodeClaims parses claims in the encodings that APIs use: base64 in either alphabet,
// padded or not, or plain JSON, and either of them percent-encoded. The JSON must be a
// claims request: an object of objects.
func decodeClaims(s string) string {
	if len(s) > 4*maxClaims {
		return ""
	}
	claims := readClaims(s)
	// PathUnescape leaves a plus sign unchanged, which base64 uses.
	if unescaped, err := url.PathUnescape(s); claims == "" && err == nil && unescaped != s {
		claims = readClaims(unescaped)
	}
	return claims
}

// readClaims is decodeClaims without percent-encoding.
func readClaims(s string) string {
	data := []byte(strings.TrimSpace(s))
	if !bytes.HasPrefix(data, []byte("{")) {
		s = strings.NewReplacer("-", "+", "_", "/", " ", "", "\t", "").Replace(strings.TrimRight(string(data), "= \t"))
		var err error
		if data, err = base64.RawStdEncoding.DecodeString(s); err != nil {
			return ""
		}
	}
	var request map[string]map[string]any
	if len(data) > maxClaims || !utf8.Valid(data) || json.Unmarshal(data, &request) != nil || len(request) == 0 {
		return ""
	}
	for _, claims := range request {
		// xms_cc states what this client supports, and we add it to every token request.
		if _, ok := claims["xms_cc"]; ok || claims == nil {
			return ""
		}
	}
	return string(data)
}

// challenge is one challenge of a WWW-Authenticate header, with its parameters by their
// names in lower case. If a parameter is repeated, the first one counts.
type challenge struct {
	scheme string
	params map[string]string
}

// maxChallenges bounds how many challenges of a response are parsed.
const maxChallenges = 32

// challengesOf parses the challenges of a response. There may be several in a header, and
// several headers (RFC 9110, section 11.6.1).
func challengesOf(headers []string) []challenge {
	var all []challenge
	for _, header := range headers {
		all = append(all, parseChallenges(header)...)
		if len(all) > maxChallenges {
			return all[:maxChallenges]
		}
	}
	return all
}

// parseChallenges parses a header up to the first error.
func parseChallenges(header string) []challenge {
	var all []challenge
	rest := header
	afterScheme := false // and no comma yet: a token68 may follow
	for {
		trimmed := strings.TrimLeft(rest, " \t")
		afterScheme = afterScheme && !strings.HasPrefix(trimmed, ",")
		rest = strings.TrimLeft(trimmed, " \t,")
		word, after := cutToken(rest)
		if word == "" {
			return all
		}
		value, after, isParam := cutValue(after)
		switch {
		case !isParam && afterScheme: // a token68 without padding
			afterScheme = false
		case !isParam:
			all = append(all, challenge{word, map[string]string{}})
			afterScheme = true
		case len(all) == 0:
			return nil // a parameter without a scheme
		default:
			afterScheme = false
			params := all[len(all)-1].params
			if name := strings.ToLower(word); !has(params, name) {
				params[name] = value
			}
		}
		rest = after
	}
}

func has(m map[string]string, name string) bool {
	_, ok := m[name]
	return ok
}

// cutToken cuts a token (RFC 9110, section 5.6.2) or a token68 from the front of s.
func cutToken(s string) (token, rest string) {
	end := strings.IndexAny(s, " \t,=\"")
	if end < 0 {
		end = len(s)
	}
	return s[:end], s[end:]
}

// cutValue cuts an equals sign and a value, quoted or not, from the front of s. ok is
// false if there is none: then the word before s is a scheme, or a token68, which is
// ignored.
func cutValue(s string) (value, rest string, ok bool) {
	after, found := strings.CutPrefix(strings.TrimLeft(s, " \t"), "=")
	if !found {
		return "", s, false
	}
	after = strings.TrimLeft(after, " \t")
	if !strings.HasPrefix(after, `"`) {
		end := strings.IndexAny(after, " \t,")
		if end < 0 {
			end = len(after)
		}
		return after[:end], after[end:], true
	}
	var b strings.Builder
	for i := 1; i < len(after); i++ {
		switch c := after[i]; {
		case c == '"':
			return b.String(), after[i+1:], true
		case c == '\\' && i+1 < len(after):
			i++
			b.WriteByte(after[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", true // the quote is never closed
}
