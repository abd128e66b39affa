package config

import (
	"encoding/json"
	"fmt"
	"reflect"
)

// mask replaces a secret that is set.
const mask = "***"

// Masked returns the struct that root is or points to as JSON, with the keys of Load and
// without secrets.
func Masked(root any) ([]byte, error) {
	text, err := json.MarshalIndent(masked(reflect.Indirect(reflect.ValueOf(root)), rules{}), "", "  ")
	return append(text, '\n'), err
}

func masked(v reflect.Value, r rules) any {
	switch kind := shapeOf(v.Type()); {
	case kind == structShape:
		all := map[string]any{}
		for _, f := range fieldsOf(v.Type()) {
			all[f.name] = masked(v.Field(f.index), r.below(f))
		}
		return all
	case kind == mapShape:
		all := map[string]any{}
		for name, value := range v.Seq2() {
			all[name.String()] = masked(value, r)
		}
		return all
	case kind == listShape:
		all := make([]any, v.Len())
		for i := range all {
			all[i] = masked(v.Index(i), r)
		}
		return all
	case r.secret && !v.IsZero():
		return mask
	case kind == durationShape, kind == sizeShape:
		return fmt.Sprint(v.Interface())
	}
	return v.Interface()
}
