package credential

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Config is an entry of clientCredentials: one way to prove who we are, under the names of
// Microsoft.Identity.Web. The tag "only" says which kinds a key belongs to.
type Config struct {
	SourceType                  string            `yaml:"sourceType" enum:"ClientSecret,Path,Base64Encoded,KeyVault,SignedAssertionFilePath,SignedAssertionFromManagedIdentity" doc:"The kind of credential."`
	ClientSecret                string            `yaml:"clientSecret" secret:"true" only:"ClientSecret" doc:"The secret itself; better set from the environment."`
	ClientSecretFile            string            `yaml:"clientSecretFile" only:"ClientSecret" doc:"A file that holds the secret; read again when it changes." yours:"/run/secrets/client-secret"`
	CertificateDiskPath         string            `yaml:"certificateDiskPath" only:"Path" doc:"A PEM file (certificate, chain and key) or PFX file; read again when it changes." example:"/run/secrets/client.pem"`
	Base64EncodedValue          string            `yaml:"base64EncodedValue" secret:"true" only:"Base64Encoded" doc:"A PFX or PEM file in base64; better set from the environment."`
	PrivateKeyDiskPath          string            `yaml:"privateKeyDiskPath" only:"Path" doc:"A file with the private key, if it is not with the certificate; read again when it changes."`
	CertificateThumbprint       string            `yaml:"certificateThumbprint" only:"Path" doc:"The certificate's SHA-1 or SHA-256 thumbprint; with certificateDiskPath another certificate is refused; with privateKeyDiskPath alone it stands for the certificate."`
	CertificatePassword         string            `yaml:"certificatePassword" secret:"true" only:"Path,Base64Encoded" doc:"The password of the PFX file; better set from the environment."`
	CertificatePasswordFile     string            `yaml:"certificatePasswordFile" only:"Path,Base64Encoded" doc:"A file that holds that password; read again when it changes."`
	KeyVaultURL                 string            `yaml:"keyVaultUrl" only:"KeyVault" doc:"The vault; Azure's default credential opens it." example:"https://contoso.vault.azure.net"`
	KeyVaultCertificateName     string            `yaml:"keyVaultCertificateName" only:"KeyVault" doc:"A certificate with an exportable key; read again every hour." example:"middletier"`
	SignedAssertionFileDiskPath string            `yaml:"signedAssertionFileDiskPath" only:"SignedAssertionFilePath" doc:"A file with a token of another platform, such as Kubernetes; read at every use; default from AZURE_FEDERATED_TOKEN_FILE." example:"/var/run/secrets/azure/tokens/azure-identity-token"`
	ManagedIdentityClientID     string            `yaml:"managedIdentityClientId" only:"SignedAssertionFromManagedIdentity,KeyVault" doc:"A user-assigned managed identity. Empty: the system-assigned one signs the assertion; Azure's default credential opens the vault."`
	TokenExchangeURL            string            `yaml:"tokenExchangeUrl" only:"SignedAssertionFromManagedIdentity" doc:"The audience of the managed identity's token; default: that of the cloud, such as api://AzureADTokenExchange."`
	ClientClaims                map[string]string `yaml:"clientClaims" only:"Path,Base64Encoded,KeyVault" doc:"More claims for the assertion that is signed with the certificate."`
	Skip                        bool              `yaml:"skip" doc:"Leave this entry out."`
}

// String names the kind of credential only.
func (c Config) String() string { return c.SourceType }

// GoString is String, for %#v.
func (c Config) GoString() string { return c.SourceType }

// MarshalText is String, for loggers and encoders, which look past it.
func (c Config) MarshalText() ([]byte, error) { return []byte(c.SourceType), nil }

// configKey is a key of Config that belongs to some kinds only.
type configKey struct {
	name  string
	kinds []string
	isSet bool
}

// keys returns the keys of c by name.
func (c Config) keys() map[string]configKey {
	keys := map[string]configKey{}
	for field, value := range reflect.ValueOf(c).Fields() {
		if only := field.Tag.Get("only"); only != "" {
			name := field.Tag.Get("yaml")
			keys[name] = configKey{name, strings.Split(only, ","), !value.IsZero() && (value.Kind() != reflect.Map || value.Len() > 0)}
		}
	}
	return keys
}

// DecideSourceType sets SourceType where it is missing and the keys belong to one kind only.
func (c *Config) DecideSourceType() {
	if kinds := c.kindsOfKeys(); c.SourceType == "" && len(kinds) == 1 {
		c.SourceType = kinds[0]
	}
}

// kindsOfKeys returns the kinds that have a key that is set and no other kind has.
func (c Config) kindsOfKeys() (kinds []string) {
	for _, key := range c.keys() {
		if key.isSet && len(key.kinds) == 1 && !slices.Contains(kinds, key.kinds[0]) {
			kinds = append(kinds, key.kinds[0])
		}
	}
	if len(kinds) == 0 && c.ManagedIdentityClientID != "" { // a vault has keys of its own
		return []string{"SignedAssertionFromManagedIdentity"}
	}
	slices.Sort(kinds)
	return kinds
}

// Check reports every mistake in c by its key.
func (c Config) Check(report func(key, problem string)) {
	if c.Skip {
		return
	}
	kind, known := kinds[c.SourceType]
	switch {
	case known:
	case c.SourceType == "" && len(c.kindsOfKeys()) > 1:
		report("sourceType", "must be set: the entry holds keys of "+strings.Join(c.kindsOfKeys(), " and "))
		return
	default:
		report("sourceType", "must be one of "+strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
		return
	}
	keys := c.keys()
	given := 0
	for _, key := range kind.oneOf {
		if keys[key].isSet {
			given++
		}
	}
	if kind.oneOf != nil && given != 1 {
		report("", fmt.Sprintf("%s needs exactly one of %s", c.SourceType, strings.Join(kind.oneOf, ", ")))
	}
	for _, key := range kind.all {
		if !keys[key].isSet {
			report(key, "must be set: "+c.SourceType+" needs it")
		}
	}
	if kind.check != nil {
		kind.check(c, report)
	}
	c.checkValues(report)
}

// Warn reports the keys that belong to other kinds than sourceType says. They have no effect.
func (c Config) Warn(report func(key, text string)) {
	if _, known := kinds[c.SourceType]; !known || c.Skip {
		return
	}
	keys := c.keys()
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		if key := keys[name]; key.isSet && !slices.Contains(key.kinds, c.SourceType) {
			report(name, "has no effect: it does not belong to "+c.SourceType)
		}
	}
}

// checkCertificateFile reports which files are missing.
func checkCertificateFile(c Config, report func(key, problem string)) {
	switch {
	case c.CertificateDiskPath != "":
	case c.PrivateKeyDiskPath == "":
		report("certificateDiskPath", "must be set: Path needs it, or privateKeyDiskPath with certificateThumbprint")
	case c.CertificateThumbprint == "":
		report("certificateThumbprint", "must be set: a privateKeyDiskPath without certificateDiskPath needs it")
	}
	if _, err := parseThumbprint(c.CertificateThumbprint); err != nil && c.CertificateThumbprint != "" {
		report("certificateThumbprint", err.Error())
	}
}

// ownClaims are the claims that every client assertion has.
var ownClaims = []string{"aud", "exp", "iat", "iss", "jti", "nbf", "sub"}

func (c Config) checkValues(report func(key, problem string)) {
	if c.SourceType == "KeyVault" && c.KeyVaultURL != "" && !isVaultURL(c.KeyVaultURL) {
		report("keyVaultUrl", "must be the https URL of a vault, as https://NAME.vault.azure.net")
	}
	if c.SourceType == "KeyVault" && c.KeyVaultCertificateName != "" && !vaultCertificateName.MatchString(c.KeyVaultCertificateName) {
		report("keyVaultCertificateName", "must be a name of letters, digits and dashes")
	}
	if c.CertificatePassword != "" && c.CertificatePasswordFile != "" {
		report("certificatePasswordFile", "cannot be set together with certificatePassword")
	}
	if !slices.Contains(c.keys()["clientClaims"].kinds, c.SourceType) {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(c.ClientClaims)) {
		if name == "" || slices.Contains(ownClaims, name) {
			report("clientClaims", fmt.Sprintf("%q cannot be set: the client assertion has its own", name))
		}
	}
}
