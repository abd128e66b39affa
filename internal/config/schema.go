package config

import (
	"encoding/json"
	"reflect"

	"github.com/invopop/jsonschema"
)

// Schema returns the JSON Schema (2020-12) of the struct that root is or points to, for
// editors. It accepts only the spelling of the tags; Load accepts keys in any case.
func Schema(root any, title string) ([]byte, error) {
	t := reflect.TypeOf(root)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	s := schemaOf(t, nil)
	s.Version = jsonschema.Version
	s.Title = title
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(text, '\n'), nil
}

func schemaOf(t reflect.Type, enum []string) *jsonschema.Schema {
	switch shapeOf(t) {
	case boolShape:
		return &jsonschema.Schema{Type: "boolean"}
	case intShape:
		return &jsonschema.Schema{Type: "integer"}
	case floatShape:
		return &jsonschema.Schema{Type: "number"}
	case durationShape:
		return &jsonschema.Schema{Type: "string", Pattern: durationPattern}
	case sizeShape:
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			{Type: "string", Pattern: sizePattern},
			{Type: "integer", Minimum: "0"},
		}}
	case listShape:
		return &jsonschema.Schema{Type: "array", Items: schemaOf(t.Elem(), enum)}
	case mapShape:
		return &jsonschema.Schema{Type: "object", AdditionalProperties: schemaOf(t.Elem(), enum)}
	case structShape:
		return structSchema(t)
	default:
		return textSchema(enum)
	}
}

func structSchema(t reflect.Type) *jsonschema.Schema {
	properties := jsonschema.NewProperties()
	for _, f := range fieldsOf(t) {
		s := schemaOf(f.typ, f.enum)
		s.Description = f.explanation()
		properties.Set(f.name, s)
	}
	return &jsonschema.Schema{
		Type:                 "object",
		Properties:           properties,
		AdditionalProperties: jsonschema.FalseSchema,
	}
}

func textSchema(enum []string) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "string"}
	for _, text := range enum {
		s.Enum = append(s.Enum, text)
	}
	return s
}
