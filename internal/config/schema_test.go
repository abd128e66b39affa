package config_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"middletier/internal/config"
)

func compile(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := config.Schema(&settings{}, "middletier")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("config.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("config.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestSchemaTellsGoodFromBad(t *testing.T) {
	schema := compile(t)
	tests := []struct{ name, text, problem string }{
		{"everything", `{
			"server": {"address": "a", "timeout": "1m30.5s", "maxBodySize": "64KiB", "burst": 1, "ratio": 0.5,
				"serverTiming": true, "format": "text", "tls": {"certFile": "c"}},
			"azureAd": {"audiences": ["a"], "clientCredentials": [{"clientSecret": "s"}]},
			"downstreamApis": {"todo": {"access": [{"methods": ["GET"]}]}},
			"labels": {"a": "b"}}`, ""},
		{"size as a number", `{"server": {"maxBodySize": 65536}}`, ""},
		{"unknown key", `{"servr": {}}`, "servr"},
		{"unknown inner key", `{"downstreamApis": {"todo": {"url": "x"}}}`, "url"},
		{"wrong kind", `{"azureAd": {"audiences": "a"}}`, "want array"},
		{"bare duration", `{"server": {"timeout": 30}}`, "want string"},
		{"duration without unit", `{"server": {"timeout": "30"}}`, "pattern"},
		{"negative duration", `{"server": {"timeout": "-30s"}}`, "pattern"},
		{"bad size", `{"server": {"maxBodySize": "10MB"}}`, "pattern"},
		{"negative size", `{"server": {"maxBodySize": -1}}`, "minimum"},
		{"bad enum", `{"server": {"format": "xml"}}`, "'json', 'text'"},
		{"bad enum in a list", `{"downstreamApis": {"todo": {"access": [{"methods": ["FETCH"]}]}}}`, "'GET', 'POST'"},
		{"fraction", `{"server": {"burst": 1.5}}`, "want integer"},
		{"label that is not text", `{"labels": {"a": []}}`, "want string"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			value, err := jsonschema.UnmarshalJSON(strings.NewReader(test.text))
			if err != nil {
				t.Fatal(err)
			}
			err = schema.Validate(value)
			if test.problem == "" && err != nil {
				t.Errorf("got %v, want no error", err)
			}
			if test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem)) {
				t.Errorf("got %v, want an error with %q", err, test.problem)
			}
			if _, mistakes := load(t, test.text); (mistakes == "") != (test.problem == "") {
				t.Errorf("Parse disagrees: got %q", mistakes)
			}
		})
	}
}

func TestSchemaText(t *testing.T) {
	type small struct {
		Name string            `yaml:"name" doc:"The name."`
		Tags map[string]string `yaml:"tags"`
	}
	got, err := config.Schema(small{}, "small")
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "properties": {
    "name": {
      "type": "string",
      "description": "The name."
    },
    "tags": {
      "additionalProperties": {
        "type": "string"
      },
      "type": "object"
    }
  },
  "additionalProperties": false,
  "type": "object",
  "title": "small"
}
`
	if string(got) != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
