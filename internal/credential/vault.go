package credential

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"middletier/internal/failure"
	"middletier/internal/reply"
)

// vaultCertificateName is Key Vault's own rule ("Objects, identifiers, and
// versioning").
var vaultCertificateName = regexp.MustCompile(`^[0-9A-Za-z-]{1,127}$`)

// isVaultURL reports whether text is the https URL of a host and no more.
func isVaultURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "https" && u.Hostname() != "" && strings.Trim(u.Path, "/") == "" &&
		u.RawQuery == "" && u.User == nil && u.Fragment == ""
}

// vaultCertificate is a certificate with its key in Azure Key Vault.
type vaultCertificate struct {
	certificateEntry
	config StoreConfig // how to reach the vault, and as whom
	url    string
	name   string
	opener string            // the client ID of the managed identity that opens it; "": Azure's default credential does
	client *azsecrets.Client // nil before the first read
}

func openVaultCertificate(s StoreConfig, entry Config) loader {
	return &vaultCertificate{
		certificateEntry: certificateEntry{content: content{key: "keyVaultCertificateName"}, claims: entry.ClientClaims, sendX5C: s.SendX5C},
		config:           s, url: entry.KeyVaultURL, name: entry.KeyVaultCertificateName, opener: entry.ManagedIdentityClientID,
	}
}

// newVaultClient asks nothing yet. opener is as in vaultCertificate.
func newVaultClient(c StoreConfig, vaultURL, opener string) (*azsecrets.Client, error) {
	who := c.VaultCredential
	switch {
	case who != nil:
	case opener != "":
		identity, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: azidentity.ClientID(opener)})
		if err != nil {
			return nil, errors.New(oneLine(err))
		}
		who = identity
	default:
		var options azidentity.DefaultAzureCredentialOptions
		switch ExchangeAudience(c.Instance) { // the vaults of a cloud are opened with its own tokens
		case "api://AzureADTokenExchangeUSGov":
			options.Cloud = cloud.AzureGovernment
		case "api://AzureADTokenExchangeChina":
			options.Cloud = cloud.AzureChina
		}
		chain, err := azidentity.NewDefaultAzureCredential(&options)
		if err != nil {
			return nil, errors.New(oneLine(err))
		}
		who = chain
	}
	client, err := azsecrets.NewClient(vaultURL, who, &azsecrets.ClientOptions{
		ClientOptions: azcore.ClientOptions{Transport: boundedClient{c.Client}},
	})
	if err != nil {
		return nil, errors.New(oneLine(err))
	}
	return client, nil
}

// maxVaultAnswer bounds what is read of a vault's answer, in bytes.
const maxVaultAnswer = 1 << 20

// boundedClient reads answers whole, and refuses those that are too large.
type boundedClient struct{ *http.Client }

// Do implements policy.Transporter.
func (c boundedClient) Do(req *http.Request) (*http.Response, error) {
	resp, err := c.Client.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := reply.Body(resp, maxVaultAnswer)
	if errors.Is(err, reply.ErrTooLarge) {
		return nil, errVaultAnswerTooLarge
	}
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

var errVaultAnswerTooLarge = failure.New(fmt.Sprintf("the vault's answer is larger than %d bytes", maxVaultAnswer))

// read gets the newest version of the certificate with its key, as PEM or PFX. A
// vault keeps the two together as a secret of the same name ("About Azure Key
// Vault certificates").
func (v *vaultCertificate) read(ctx context.Context) ([][]byte, error) {
	if v.client == nil {
		client, err := newVaultClient(v.config, v.url, v.opener)
		if err != nil {
			return nil, err
		}
		v.client = client
	}
	secret, err := v.client.GetSecret(ctx, v.name, "", nil)
	var refused *azcore.ResponseError
	var unknown *azidentity.AuthenticationFailedError
	switch {
	case errors.As(err, &refused):
		return nil, fmt.Errorf("the vault answered with status %d %s", refused.StatusCode, failure.Code(refused.ErrorCode))
	case errors.As(err, &unknown) && unknown.RawResponse != nil:
		return nil, fmt.Errorf("no token for the vault: status %d", unknown.RawResponse.StatusCode)
	case err != nil:
		return nil, fmt.Errorf("no answer of the vault, or no token for it%s: %w", tried(err), failure.Of(err))
	case secret.Value == nil || secret.ContentType == nil:
		return nil, errors.New("is not a certificate with its key")
	}
	switch *secret.ContentType {
	case "application/x-pem-file", "application/x-pkcs12": // the latter in base64
		return [][]byte{[]byte(*secret.Value)}, nil
	}
	return nil, errors.New("is not a certificate with its key")
}

// sdkKinds are the kinds of credentials, as the SDK names them.
var sdkKinds = regexp.MustCompile(`\b(Environment|WorkloadIdentity|ManagedIdentity|AzureCLI|AzureDeveloperCLI|AzurePowerShell)Credential\b`)

// tried names the credentials of which an error says that they were tried.
func tried(err error) string {
	var names []string
	for _, name := range sdkKinds.FindAllString(err.Error(), -1) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if names == nil {
		return ""
	}
	return " as " + strings.Join(names, ", ")
}

// oneLine shortens the SDK's errors, which list every way that was tried over
// many lines.
func oneLine(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	text, _, _ = strings.Cut(text, "eyJ") // how every token begins
	return text[:min(len(text), 600)]
}
