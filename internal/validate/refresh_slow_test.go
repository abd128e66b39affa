//go:build slow

package validate_test

import (
	"testing"
	"testing/synctest"
	"time"

	"middletier/internal/validate"
)

// Tokens come every ten minutes for three days, in which a key is published, a
// day later signs, and another day later is the only one.
func TestSlowAnnouncedRotationIsNotNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(jwk("a", keyA()))
		v := p.start(t, nil)
		id, key := "a", keyA()
		for tick := range 3 * 24 * 6 {
			switch tick {
			case 6:
				p.publish(jwk("b", keyB()), jwk("a", keyA()))
			case 24 * 6:
				id, key = "b", keyB()
			case 2 * 24 * 6:
				p.publish(jwk("b", keyB()))
			}
			before := time.Now()
			accept(t, v, signed(id, key))
			accept(t, v, signed(id, key, v1Form))
			if took := time.Since(before); took > 0 {
				t.Fatalf("waited %s on day %d", took, tick/6/24)
			}
			time.Sleep(10 * time.Minute)
		}
		if n := p.fetches("/keys2"); n < 3*24 || n > 3*28 {
			t.Errorf("%d fetches in three days, want about one an hour", n)
		}
		refuse(t, v, signed("a", keyA()), validate.BadSig)
	})
}
