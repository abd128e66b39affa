package validate_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"middletier/internal/testkit/tokentest"
	"middletier/internal/validate"
)

// FuzzMutatedToken changes a good token as the input says. What comes out is
// refused, unless it is the same token, or another good one as a whole.
func FuzzMutatedToken(f *testing.F) {
	v := start(f)
	forever := claim("exp", 253402300799) // longer than any fuzzing
	good := []string{
		userDraft().Token(forever), appDraft().Token(forever),
		userDraft().Token(forever, tokentest.NoHeader("typ"), claim("scp", "Write")),
	}
	for operation := range uint16(10) {
		for at := range uint16(3) {
			f.Add(uint8(at), []byte{1, 0, byte(at) * 85, 1, 1, 0, byte(at), 0, byte(operation), 0})
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, program []byte) {
		next := func(n int) int { // two bytes a number, so that every place in a token can be chosen
			if len(program) < 2 {
				return 0
			}
			k := int(program[0]) | int(program[1])<<8
			program = program[2:]
			return k % n
		}
		token := good[int(which)%len(good)]
		accept(t, v, token)
		for range 4 {
			token = mutate(next, token, good[next(len(good))])
			if len(program) == 0 || len(token) > math.MaxUint16 {
				break
			}
		}
		caller, err := v.Validate(t.Context(), token)
		if slices.Contains(good, token) {
			return
		}
		var refused *validate.InvalidTokenError
		if caller != nil || !errors.As(err, &refused) {
			t.Errorf("got %v, %v for %q", caller, err, token)
		}
	})
}
