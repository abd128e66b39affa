package credential

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/golang-jwt/jwt/v5"

	"middletier/internal/secretfile"
)

// assertionFile is a file with a token of another platform, which is our client assertion.
// The platform replaces the token well before it expires.
type assertionFile struct {
	content
	last atomic.Pointer[string] // the last good one
}

func openAssertionFile(_ StoreConfig, entry Config) loader {
	return &assertionFile{content: content{key: "signedAssertionFileDiskPath", file: entry.SignedAssertionFileDiskPath}}
}

// parse returns a credential that reads the file at every use. While there is nothing good
// in it, such as in the middle of being replaced, it uses the last good token.
func (f *assertionFile) parse(data [][]byte) (confidential.Credential, time.Time, error) {
	if err := f.accept(data[0]); err != nil {
		return confidential.Credential{}, time.Time{}, fmt.Errorf("%s %w", f.file, err)
	}
	return confidential.NewCredFromAssertionCallback(func(context.Context, confidential.AssertionRequestOptions) (string, error) {
		if data, err := secretfile.Read(f.file); err == nil {
			_ = f.accept(data) // the reload that follows the file says what is wrong with it
		}
		return *f.last.Load(), nil
	}), time.Time{}, nil
}

// accept remembers what was read, if it is a token. It may be expired: the
// provider's clock counts.
func (f *assertionFile) accept(data []byte) error {
	assertion, err := secretfile.Secret(data)
	if err != nil {
		return err
	}
	if _, _, err := jwt.NewParser().ParseUnverified(assertion, jwt.MapClaims{}); err != nil {
		return errors.New("does not hold a signed token")
	}
	f.last.Store(&assertion)
	return nil
}
