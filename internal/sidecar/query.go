package sidecar

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// query is what the query of a request says that this listener reads. Other parameters
// are ignored.
type query struct {
	options []option          // optionsOverride.*
	agent   map[string]string // agent parameters by their names in lower case; nil: there are none
}

// option is an override with all its values, in their order. Which names there are is
// decided later: a closed gate ignores all of them.
type option struct {
	name   string // without optionsOverride., as it was first written
	key    string // what all spellings of name have in common
	values []string
}

// The names of parameters, in lower case.
const (
	optionPrefix    = "optionsoverride"
	agentIdentity   = "agentidentity"
	agentUsername   = "agentusername"
	agentUserID     = "agentuserid"
	sessionKeyField = "acquiretokenoptions.longrunningwebapisessionkey"
)

// maxParameters bounds the parameters of a query that are read.
const maxParameters = 100

var (
	errQuery          = invalid("The query is malformed: its percent-encoding, or its text, which must be UTF-8.")
	errManyParameters = invalid("The query has too many parameters.")
)

// readQuery reads a query as it was sent. Names are in any case. A value that is blank
// counts as absent; of several values the last counts, except of lists.
func readQuery(raw string) (query, error) {
	if raw == "" {
		return query{}, nil
	}
	var q query
	count := 0
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		if count++; count > maxParameters {
			return query{}, errManyParameters
		}
		escapedName, escapedValue, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(escapedName)
		if err != nil || !utf8.ValidString(name) {
			return query{}, errQuery
		}
		value, err := url.QueryUnescape(escapedValue)
		if err != nil || !utf8.ValidString(value) {
			return query{}, errQuery
		}
		q.add(name, value)
	}
	return q, nil
}

func (q *query) add(name, value string) {
	lower := toLower(name)
	switch lower {
	case agentIdentity, agentUsername, agentUserID:
		if q.agent == nil {
			q.agent = map[string]string{}
		}
		q.agent[lower] = value
		return
	}
	rest, ok := strings.CutPrefix(lower, optionPrefix)
	if !ok || rest != "" && rest[0] != '.' && rest[0] != '[' {
		return
	}
	name, rest = strings.TrimPrefix(name[len(optionPrefix):], "."), strings.TrimPrefix(rest, ".")
	key := optionKey(name, rest)
	i := slices.IndexFunc(q.options, func(o option) bool { return o.key == key })
	if i < 0 {
		q.options = append(q.options, option{name: name, key: key})
		i = len(q.options) - 1
	}
	q.options[i].values = append(q.options[i].values, value)
}

// optionKey is what spellings of one override have in common; lower is its name in lower
// case. Names of query parameters of an API are compared with case.
func optionKey(name, lower string) string {
	if strings.HasPrefix(lower, extraQuery) {
		return extraQuery + name[len(extraQuery):]
	}
	return lower
}

// last returns the value that counts, "" if it is blank.
func (o option) last() string {
	value := o.values[len(o.values)-1]
	if isBlank(value) {
		return ""
	}
	return value
}

// given reports whether o has any value. An option without one is absent.
func (o option) given() bool {
	return slices.ContainsFunc(o.values, func(v string) bool { return !isBlank(v) })
}

func isBlank(value string) bool { return strings.Trim(value, " ") == "" }

// toLower is strings.ToLower for ASCII. Other letters stay, so that the result is as long
// as s, and no name has a second spelling that is not in ASCII.
func toLower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}
