package downstream

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// maxClaims bounds the claims of a challenge, in bytes of JSON. They go into a
// token request.
const maxClaims = 8 << 10

// claimsOf returns the claims that an API's 401 asks for, as JSON, or "" where
// it asks for none that can be understood. There may be several challenges in a
// header, and several headers (RFC 9110, section 11.6.1; Microsoft's page
// "Claims challenges, claims requests and client capabilities").
func claimsOf(headers []string) string {
	for _, header := range headers {
		for _, c := range parseChallenges(header) {
			if strings.EqualFold(c.scheme, "Bearer") && c.params["error"] == "insufficient_claims" {
				if claims := decodeClaims(c.params["claims"]); claims != "" {
					return claims
				}
			}
		}
	}
	return ""
}

// decodeClaims reads base64 in either alphabet, padded or not. What it holds must
// have the form of a claims request: an object of objects.
func decodeClaims(s string) string {
	if len(s) > 2*maxClaims {
		return ""
	}
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	data, err := base64.RawStdEncoding.DecodeString(s)
	var request map[string]map[string]any
	if err != nil || len(data) > maxClaims || !utf8.Valid(data) || json.Unmarshal(data, &request) != nil || len(request) == 0 {
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

// parseChallenges reads as much of a header as can be understood.
func parseChallenges(header string) []challenge {
	var all []challenge
	rest := header
	for {
		rest = strings.TrimLeft(rest, " \t,")
		word, after := cutToken(rest)
		if word == "" {
			return all
		}
		value, after, isParam := cutValue(after)
		switch {
		case !isParam:
			all = append(all, challenge{word, map[string]string{}})
		case len(all) == 0:
			return nil // a parameter of nothing
		default:
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
