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

// claimsOf returns the claims that an API's 401 asks for, as JSON, or "" where
// it asks for none that can be understood: those of the first Bearer challenge that
// has some, whatever its error. Microsoft's page "Claims challenges, claims requests
// and client capabilities" has insufficient_claims there, Azure Resource Manager
// invalid_token.
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
	maxScheme  = 40 // characters of a scheme's name that are shown
	maxSchemes = 8
)

// otherSchemes returns what an API's 401 asks for in place of a bearer token, by the
// names of the schemes, or "" where a bearer token is one of its wishes or it has
// none. Proof of possession (PoP, DPoP) is another scheme.
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

// schemeChar keeps what a log line can show.
func schemeChar(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
		return r
	}
	return '?'
}

// decodeClaims reads claims as APIs write them: base64 in either alphabet, padded or
// not, or plain JSON, and either of them percent-encoded. What they hold must have the
// form of a claims request: an object of objects.
func decodeClaims(s string) string {
	if len(s) > 4*maxClaims {
		return ""
	}
	claims := readClaims(s)
	if unescaped, err := url.PathUnescape(s); claims == "" && err == nil && unescaped != s { // a plus sign is of base64
		claims = readClaims(unescaped)
	}
	return claims
}

// readClaims is decodeClaims for what is not percent-encoded.
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
		// What the client can do is for us to say: xms_cc goes into every request.
		if _, ok := claims["xms_cc"]; ok || claims == nil {
			return ""
		}
	}
	return string(data)
}

// challenge is one of a WWW-Authenticate header, with its parameters by their
// names in lower case. Where one is given twice the first counts.
type challenge struct {
	scheme string
	params map[string]string
}

// maxChallenges bounds the challenges of an answer that are looked at.
const maxChallenges = 32

// challengesOf reads the challenges of an answer's headers. There may be several in a
// header, and several headers (RFC 9110, section 11.6.1).
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

// parseChallenges reads as much of a header as can be understood.
func parseChallenges(header string) []challenge {
	var all []challenge
	rest := header
	afterScheme := false // and no comma yet: what comes may be a token68
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
			return nil // a parameter of nothing
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

// cutToken takes a token off the front (RFC 9110, section 5.6.2), or a token68.
func cutToken(s string) (token, rest string) {
	end := strings.IndexAny(s, " \t,=\"")
	if end < 0 {
		end = len(s)
	}
	return s[:end], s[end:]
}

// cutValue takes an equals sign and a value off the front, quoted or not. ok is
// false where s does not go on with one: the word before it is a scheme, or a
// token68, which no scheme of ours has.
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
	return "", "", true // never closed: not understood
}
