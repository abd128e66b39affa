package obo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// vault is where a certificate lies in Azure Key Vault.
type vault struct {
	client *azsecrets.Client
	name   string
}

// openVault asks nothing yet. c says how to reach the vault, and as whom.
func openVault(c Config, credential Credential) (*vault, error) {
	who := c.VaultCredential
	if who == nil {
		var options azidentity.DefaultAzureCredentialOptions
		switch exchangeAudience(c.Instance) { // the vaults of a cloud are opened with its own tokens
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
	client, err := azsecrets.NewClient(credential.KeyVaultURL, who, &azsecrets.ClientOptions{
		ClientOptions: azcore.ClientOptions{Transport: recorder{c.Client}},
	})
	if err != nil {
		return nil, errors.New(oneLine(err))
	}
	return &vault{client, credential.KeyVaultCertificateName}, nil
}

// read gets the newest version of the certificate with its key, as PEM or PFX. A
// vault keeps the two together as a secret of the same name ("About Azure Key
// Vault certificates").
func (v *vault) read(ctx context.Context) ([]byte, error) {
	secret, err := v.client.GetSecret(ctx, v.name, "", nil)
	var refused *azcore.ResponseError
	switch {
	case errors.As(err, &refused):
		return nil, fmt.Errorf("the vault answered with status %d %s", refused.StatusCode, refused.ErrorCode)
	case err != nil:
		return nil, errors.New(oneLine(err))
	case secret.Value == nil || secret.ContentType == nil:
		return nil, errors.New("is not a certificate with its key")
	}
	switch *secret.ContentType {
	case "application/x-pem-file", "application/x-pkcs12": // the latter in base64
		return []byte(*secret.Value), nil
	}
	return nil, errors.New("is not a certificate with its key")
}

// oneLine shortens the SDK's errors, which list every way that was tried over
// many lines.
func oneLine(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	text, _, _ = strings.Cut(text, "eyJ") // how every token begins
	return text[:min(len(text), 600)]
}
