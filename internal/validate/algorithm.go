package validate

import (
	"crypto/rsa"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// algorithm is a signature algorithm of tokens.
type algorithm struct {
	method   jwt.SigningMethod
	checkKey func(public any) error // returns why a public key cannot be used with it
}

// algorithms are those that are accepted, by their names in alg (RFC 7518, section
// 3.1; RFC 8725, section 3.1). No other place knows one: to accept another
// algorithm, add its entry.
var algorithms = map[string]algorithm{
	"RS256": {jwt.SigningMethodRS256, checkRSAKey},
}

// algorithmNames returns the accepted algorithms for a log line.
func algorithmNames() string { return strings.Join(slices.Sorted(maps.Keys(algorithms)), " or ") }

const (
	minKeyBits = 2048  // RFC 7518, section 3.3
	maxKeyBits = 16384 // a longer key would make every signature check expensive
)

func checkRSAKey(public any) error {
	key, ok := public.(*rsa.PublicKey)
	switch {
	case !ok:
		return errors.New("not an RSA key")
	case key.N.BitLen() < minKeyBits || key.N.BitLen() > maxKeyBits:
		return errors.New("not of 2048 to 16384 bits")
	case key.N.Bit(0) == 0 || key.E < 3 || key.E%2 == 0 || key.E > math.MaxInt32:
		return errors.New("not a valid RSA key")
	}
	return nil
}
