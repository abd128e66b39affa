package validate

import (
	"encoding/json"
	"testing"
)

// FuzzClaims lists the claims of every object that is accepted, as JSON.
func FuzzClaims(f *testing.F) {
	for _, object := range objects {
		f.Add([]byte(object))
	}
	f.Add([]byte(`{"groups":["a",1,{"b":[]},null,[]],"x":{},"y":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := parseObject(data, idTokenNames); err != nil {
			return
		}
		claims, err := listClaims(data)
		if err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		size := 0
		for _, c := range claims {
			if size += len(c.Type) + len(c.Value); !json.Valid(c.Value) {
				t.Errorf("%q: the value %q of %q is no JSON", data, c.Value, c.Type)
			}
		}
		if len(claims) > maxClaims || size > maxClaimsSize {
			t.Errorf("%d claims of %d bytes", len(claims), size)
		}
	})
}
