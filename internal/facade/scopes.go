package facade

import (
	"slices"
	"strings"
)

// openIDScopes may be requested beside the scopes of this service (OpenID Connect Core,
// sections 3.1.2.1, 5.4 and 11).
var openIDScopes = []string{"openid", "profile", "offline_access"}

// offlineAccess is the scope that asks for a refresh token.
const offlineAccess = "offline_access"

// scopes are those that clients may request.
type scopes struct {
	full   []string          // as the provider knows them, sorted
	byName map[string]string // the same by every name under which they may be requested

	everything string // the scope that stands for all that were granted
}

func newScopes(names []string, idURI string, aliases []string) scopes {
	s := scopes{byName: map[string]string{}, everything: idURI + "/.default"}
	for _, name := range names {
		if slices.Contains(openIDScopes, name) {
			continue
		}
		full := idURI + "/" + name
		s.full = append(s.full, full)
		s.byName[name], s.byName[full] = full, full
		for _, alias := range aliases {
			s.byName[alias+"/"+name] = full
		}
	}
	slices.Sort(s.full)
	s.full = slices.Compact(s.full)
	return s
}

// read returns the scopes of a request as the provider knows them: those of this service, and
// those that stand beside them. .default is none of them: it would ask the user to consent to
// all that the client's registration lists, whosesoever it is ("Scopes and permissions", "The
// .default scope").
func (s scopes) read(text string) (ours, beside []string, err error) {
	for scope := range strings.SplitSeq(text, " ") {
		full, known := s.byName[scope]
		switch {
		case scope == "":
		case known && !slices.Contains(ours, full):
			ours = append(ours, full)
		case known:
		case !slices.Contains(openIDScopes, scope):
			return nil, nil, errScope
		case !slices.Contains(beside, scope):
			beside = append(beside, scope)
		}
	}
	return ours, beside, nil
}

// withoutEverything returns the scopes of an answer without the one that clients may not request.
func (s scopes) withoutEverything(text string) string {
	words := strings.Fields(text)
	return strings.Join(slices.DeleteFunc(words, func(scope string) bool { return scope == s.everything }), " ")
}
