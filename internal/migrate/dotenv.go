package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// What the .env of Microsoft's samples for Node holds.
const (
	envTenant     = "TENANT_ID"
	envSubdomain  = "TENANT_SUBDOMAIN" // External ID
	envClient     = "CLIENT_ID"
	envSecret     = "CLIENT_SECRET"
	envThumbprint = "CERTIFICATE_THUMBPRINT"
	envPrivateKey = "CERTIFICATE_PRIVATE_KEY"
	envAssertion  = "CLIENT_ASSERTION"
	envInstance   = "AAD_ENDPOINT"
	envGraph      = "GRAPH_ENDPOINT"
)

var envNames = []string{
	envTenant, envSubdomain, envClient, envSecret, envThumbprint, envPrivateKey, envAssertion, envInstance, envGraph,
}

const defaultGraph = "https://graph.microsoft.com/"

// FromDotEnv reads the .env of a daemon for Node. file returns the path of a file with a
// secret by its name.
func FromDotEnv(path string, text []byte, file func(name string) string) (Result, error) {
	env, err := parseDotEnv(text)
	if err != nil {
		return Result{}, err
	}
	d := daemon{from: path, tenant: env[envTenant], clientID: env[envClient], instance: env[envInstance]}
	if subdomain := env[envSubdomain]; subdomain != "" {
		if err := checkValues(map[string]string{envSubdomain: subdomain}); err != nil {
			return Result{}, err
		}
		d.instance = "https://" + subdomain + ".ciamlogin.com/"
		if d.tenant == "" {
			d.tenant = subdomain + ".onmicrosoft.com"
		}
	}
	required := map[string]string{envTenant: d.tenant, envClient: d.clientID}
	for _, name := range []string{envInstance, envGraph} {
		if env[name] != "" {
			required[name] = env[name]
		}
	}
	if err := errors.Join(checkValues(required), checkTenant(envTenant, d.tenant), d.credentialOf(env, file)); err != nil {
		return Result{}, err
	}
	d.api = daemonAPI{name: "graph", baseURL: env[envGraph], call: "/v1.0/users"}
	if d.api.baseURL == "" {
		d.api.baseURL = defaultGraph
		d.api.comment = []string{envGraph + " is missing: this is Microsoft Graph of the public cloud."}
	}
	if base, err := url.Parse(d.api.baseURL); err != nil || base.Scheme == "" || base.Host == "" {
		return Result{}, fmt.Errorf("%s is not a URL", envGraph)
	}
	d.api.scope = strings.TrimSuffix(d.api.baseURL, "/") + "/.default"
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !slices.Contains(envNames, name) {
			d.notes = append(d.notes, name+": this program has nothing of this name.")
		}
	}
	return d.result(), nil
}

// credentialOf sets the credential, of which env must hold one.
func (d *daemon) credentialOf(env map[string]string, file func(string) string) error {
	var given []string
	for _, name := range []string{envSecret, envThumbprint, envAssertion} {
		if env[name] != "" {
			given = append(given, name)
		}
	}
	if len(given) == 0 && env[envPrivateKey] != "" {
		return fmt.Errorf("%s is missing: Entra finds the certificate of %s by it", envThumbprint, envPrivateKey)
	}
	if len(given) != 1 {
		return fmt.Errorf("needs exactly one of %s, %s and %s, has %d", envSecret, envThumbprint, envAssertion, len(given))
	}
	if err := checkValues(map[string]string{given[0]: env[given[0]]}); err != nil {
		return err
	}
	switch given[0] {
	case envSecret:
		d.secret(env[envSecret], file)
	case envAssertion:
		path := file("client-assertion")
		d.files = append(d.files, File{path, []byte(env[envAssertion]), "the client assertion"})
		d.credential = credentials(
			field{name: "sourceType", text: "SignedAssertionFilePath"},
			field{name: "signedAssertionFileDiskPath", text: path, comment: []string{
				"An assertion expires: what issues it must write it here again before that.",
			}},
		)
	case envThumbprint:
		key := strings.ReplaceAll(env[envPrivateKey], `\n`, "\n")
		path := file("client-key.pem")
		var comment []string
		if key == "" {
			comment = []string{"Missing: put the private key of the certificate here, in PEM. " + envPrivateKey + " was not in the file."}
		} else {
			if !strings.Contains(key, "-----BEGIN") {
				return fmt.Errorf("%s is not a private key in PEM", envPrivateKey)
			}
			d.files = append(d.files, File{path, []byte(strings.TrimSpace(key) + "\n"), "the private key"})
		}
		d.certificate(env[envThumbprint], path, comment)
	}
	return nil
}

func credentials(fields ...field) field {
	return field{name: "clientCredentials", entries: [][]field{fields}}
}

// secret sets a client secret as the credential.
func (d *daemon) secret(secret string, file func(string) string) {
	path := file("client-secret")
	d.files = append(d.files, File{path, []byte(secret), "the client secret"})
	d.credential = credentials(field{name: "sourceType", text: "ClientSecret"}, field{name: "clientSecretFile", text: path})
}

// certificate sets a private key with the thumbprint of its certificate as the credential.
func (d *daemon) certificate(thumbprint, keyPath string, comment []string) {
	d.credential = credentials(
		field{name: "sourceType", text: "Path"},
		field{name: "privateKeyDiskPath", text: keyPath, comment: comment},
		field{name: "certificateThumbprint", text: thumbprint},
	)
}

// The parts of a .env as the dotenv package for Node reads it: names, values with and
// without quotes, comments.
var (
	envLine     = regexp.MustCompile(`^[ \t]*(?:export[ \t]+)?([A-Za-z0-9_.-]+)[ \t]*(?:=|:[ \t])[ \t]*`)
	envUnquoted = regexp.MustCompile(`^[^#\r\n]*`)
)

// parseDotEnv reads the variables of a .env. In double quotes, \n and \r are line ends.
// The last value of a name counts, as in Node.
func parseDotEnv(text []byte) (map[string]string, error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	rest := strings.ReplaceAll(string(text), "\r\n", "\n")
	env := map[string]string{}
	for line := 1; rest != ""; {
		before := rest
		name := envLine.FindStringSubmatch(rest)
		if name == nil {
			first, after, _ := strings.Cut(rest, "\n")
			if first = strings.TrimSpace(first); first != "" && first[0] != '#' {
				return nil, fmt.Errorf("line %d is not NAME=VALUE", line)
			}
			rest = after
		} else {
			rest = rest[len(name[0]):]
			value, length := envValue(rest)
			env[name[1]] = value
			_, rest, _ = strings.Cut(rest[length:], "\n") // a comment
		}
		line += strings.Count(before[:len(before)-len(rest)], "\n")
	}
	return env, nil
}

// envValue returns the value at the front of rest, and the length of its text.
func envValue(rest string) (value string, length int) {
	if rest != "" && strings.ContainsRune("\"'`", rune(rest[0])) {
		quote := rest[0]
		for end := 1; end < len(rest); end++ {
			switch rest[end] {
			case '\\':
				end++
			case quote:
				value = rest[1:end]
				if quote == '"' {
					value = strings.NewReplacer(`\n`, "\n", `\r`, "\r").Replace(value)
				}
				return value, end + 1
			}
		}
	}
	unquoted := envUnquoted.FindString(rest)
	return strings.TrimSpace(unquoted), len(unquoted)
}
