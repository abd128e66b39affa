// Package migrate turns the configuration of another program into config.yaml: an
// appsettings.json, the .env of a daemon for Node, or the parameters.json of one for
// Python.
//
// A secret goes into a file of its own, never into the text. What cannot be carried over
// stands in a comment with the reason.
package migrate

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"middletier/internal/config"
)

// Result is what a file becomes.
type Result struct {
	Config string   // the text of config.yaml
	Files  []File   // that Config names, with secrets
	Notes  []string // what could not be carried over, and why
}

// File is a file with a secret.
type File struct {
	Path    string
	Content []byte
	What    string // what it holds, such as "the client secret"
}

// Form is one of the forms that can be read.
type Form int

// The forms.
const (
	Unknown        Form = iota
	AppSettings         // appsettings.json
	DotEnv              // the .env of a daemon for Node
	ParametersJSON      // the parameters.json of a daemon for Python
)

// FormOf tells the form of a file by its name and text.
func FormOf(path string, text []byte) Form {
	name := strings.ToLower(filepath.Base(path))
	switch {
	case strings.HasSuffix(name, ".json"), isJSON(text):
		if isParameters(text) {
			return ParametersJSON
		}
		return AppSettings
	case name == ".env", strings.HasPrefix(name, ".env."), strings.HasSuffix(name, ".env"):
		return DotEnv
	}
	return Unknown
}

// daemon is what the files of daemons hold.
type daemon struct {
	from       string // the file
	instance   string
	tenant     string
	clientID   string
	credential field
	files      []File
	api        daemonAPI
	notes      []string // what could not be carried over
}

type daemonAPI struct {
	name, baseURL, scope string
	call                 string // the path of the call that the daemon makes
	comment              []string
}

// result writes the configuration of a daemon.
func (d daemon) result() Result {
	head := []string{
		"Made from " + filepath.Base(d.from) + ". It calls its API as the application itself:",
		"",
		"    middletier call " + d.api.name + " " + d.api.call,
		"",
		"The paths of files are relative to the folder in which middletier is started.",
		"docs/configuration.md explains all keys.",
	}
	azureAd := field{name: "azureAd"}
	if d.instance != "" {
		azureAd.fields = append(azureAd.fields, field{name: "instance", text: d.instance})
	}
	azureAd.fields = append(azureAd.fields,
		field{name: "tenantId", text: d.tenant},
		field{name: "clientId", text: d.clientID},
		d.credential)
	api := field{name: d.api.name, fields: []field{
		{name: "baseUrl", text: d.api.baseURL},
		{name: "appScopes", texts: []string{d.api.scope}, comment: d.api.comment},
		{comment: []string{
			"To let callers of the service use this API as well, through /app/" + d.api.name + "/…:",
			"access:",
			"  - appPermissions: [ROLE.OF.THE.CALLER]",
		}},
	}}
	text := write([]field{{comment: withNotes(head, d.notes)}, azureAd, {name: "downstreamApis", fields: []field{api}}})
	return Result{Config: text, Files: d.files, Notes: d.notes}
}

// field is a key with its value, which is one of text, texts, fields and entries. One
// without a name is a comment.
type field struct {
	name    string
	comment []string // lines above it
	text    string
	texts   []string
	fields  []field
	entries [][]field
}

// write writes fields in YAML, with an empty line between those of the first level.
func write(fields []field) string {
	var b strings.Builder
	for i, f := range fields {
		if i > 0 {
			b.WriteByte('\n')
		}
		f.write(&b, "", "")
	}
	return b.String()
}

// write writes f. Its first line has the prefix first, such as "- ", the others prefix.
func (f field) write(b *strings.Builder, first, prefix string) {
	writeComment(b, f.comment, prefix)
	if f.name == "" {
		return
	}
	switch name := first + config.QuoteYAML(f.name) + ":"; {
	case f.fields != nil:
		fmt.Fprintln(b, name)
		for _, below := range f.fields {
			below.write(b, prefix+"  ", prefix+"  ")
		}
	case f.entries != nil:
		fmt.Fprintln(b, name)
		for _, entry := range f.entries {
			writeEntry(b, entry, prefix+"  ")
		}
	case f.texts != nil:
		quoted := make([]string, len(f.texts))
		for i, text := range f.texts {
			quoted[i] = config.QuoteYAML(text)
		}
		fmt.Fprintf(b, "%s [%s]\n", name, strings.Join(quoted, ", "))
	default:
		fmt.Fprintln(b, name, config.QuoteYAML(f.text))
	}
}

// writeComment writes the lines of a comment. They may hold names from the file.
func writeComment(b *strings.Builder, lines []string, prefix string) {
	for _, line := range lines {
		line = strings.Map(func(r rune) rune {
			if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
				return unicode.ReplacementChar
			}
			return r
		}, line) // it replaces invalid UTF-8 too
		fmt.Fprintln(b, strings.TrimRight(prefix+"# "+line, " "))
	}
}

// writeEntry writes an entry of a list. Comments of its first key stand above the entry.
func writeEntry(b *strings.Builder, fields []field, prefix string) {
	first := prefix + "- "
	for _, f := range fields {
		if f.name != "" && first != prefix+"  " {
			writeComment(b, f.comment, prefix)
			f.comment = nil
			f.write(b, first, prefix+"  ")
			first = prefix + "  "
			continue
		}
		f.write(b, prefix+"  ", prefix+"  ")
	}
}

var (
	guid    = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	apiName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)
)

// placeholder matches what samples hold in place of a value.
var placeholder = regexp.MustCompile(`(?i)enter[_ ]the[_ ]|\[enter |^<.*>$|^your[_ -]|^\{.*\}$`)

// belongs says what stands in the place of a placeholder.
var belongs = map[string]string{
	envTenant: "the tenant's GUID or domain", envSubdomain: "the tenant's name, the SUB of SUB.ciamlogin.com",
	envClient: "the application (client) ID of the registration", envSecret: "the client secret of the registration",
	envThumbprint: "the thumbprint of the registration's certificate", envAssertion: "a signed token of another platform",
	envInstance: "the URL of the cloud, such as https://login.microsoftonline.com/",
	envGraph:    "the URL of Microsoft Graph, such as " + defaultGraph,
	"authority": "a URL such as https://login.microsoftonline.com/TENANT", "client_id": "the application (client) ID of the registration",
	"scope": "RESOURCE/.default, such as " + defaultGraph + ".default", "endpoint": "the API's URL, such as " + defaultGraph + "v1.0/users",
	"secret": "the client secret of the registration", "thumbprint": "the thumbprint of the registration's certificate",
	"private_key_file": "the path of the certificate's private key, in PEM",
}

// checkTenant refuses what names no tenant: a daemon gets its tokens from one.
func checkTenant(name, tenant string) error {
	if slices.Contains([]string{"common", "organizations", "consumers"}, strings.ToLower(tenant)) {
		return fmt.Errorf("%s names no tenant, and a daemon gets its tokens from one: in place of %q belongs its GUID or domain", name, tenant)
	}
	return nil
}

// checkValues returns what is missing or still a sample's placeholder.
func checkValues(values map[string]string) error {
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := values[name]
		switch {
		case value == "":
			problems = append(problems, fmt.Errorf("%s is missing", name))
		case placeholder.MatchString(value), strings.Trim(value, "0-") == "":
			problems = append(problems, fmt.Errorf("%s is still the sample's placeholder; here belongs %s", name, belongs[name]))
		}
	}
	return errors.Join(problems...)
}
