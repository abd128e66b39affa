package credential

import (
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"middletier/internal/secretfile"
)

// secret is a client secret.
type secret struct{ content }

func openSecret(_ StoreConfig, entry Config) loader {
	if entry.ClientSecretFile != "" {
		return secret{content{key: "clientSecretFile", file: entry.ClientSecretFile}}
	}
	return secret{content{key: "clientSecret", text: entry.ClientSecret}}
}

func (secret) parse(data [][]byte) (confidential.Credential, time.Time, error) {
	text, err := secretfile.Secret(data[0])
	if err != nil {
		return confidential.Credential{}, time.Time{}, err
	}
	credential, err := confidential.NewCredFromSecret(text)
	return credential, time.Time{}, err
}
