package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"middletier/internal/mockidp"
)

func TestDirectoryExampleIsTheDefaultDirectory(t *testing.T) {
	got, err := mockidp.ReadDirectory("../../directory.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if want := demoDirectory(mockSecret); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	text, err := os.ReadFile("../../directory.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if first, _, _ := strings.Cut(string(text), "\n"); first != "# yaml-language-server: $schema=directory.schema.json" {
		t.Errorf("the first line is %q, want the schema", first)
	}
}

// The schema accepts the example, and does not accept a misspelt key.
func TestDirectoryExampleFitsItsSchema(t *testing.T) {
	text, err := os.ReadFile("../../directory.yaml")
	if err != nil {
		t.Fatal(err)
	}
	schema, err := jsonschema.NewCompiler().Compile("../../directory.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		text string
		fits bool
	}{
		{string(text), true},
		{strings.Replace(string(text), "clientId:", "clientID:", 1), false},
	} {
		var directory any
		if err := yaml.Unmarshal([]byte(row.text), &directory); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(directory); (err == nil) != row.fits {
			t.Errorf("got %v, want a fit: %t", err, row.fits)
		}
	}
}

func TestDirectorySchemaIsCurrent(t *testing.T) {
	schema, err := mockidp.DirectorySchema()
	if err != nil {
		t.Fatal(err)
	}
	checkGenerated(t, "directory.schema.json", schema)
}

const directoryIntroduction = `# The directory of the identity platform

<!-- Written by make generate from the code; do not edit. -->

` + "`middletier mock --directory FILE`" + ` reads tenants, users, apps and grants from a file in YAML or, with the extension
` + "`.json`" + `, in JSON. Unknown keys are errors. [directory.yaml](../directory.yaml) is the default directory, and
` + "`directory.schema.json`" + ` gives editors completion. ` + "`POST /mock/users`, `/mock/apps` and `/mock/grants`" + ` take entries of
` + "`users`, `apps` and `grants`" + ` in JSON, with the same keys:
[Registrations](integration-testing.md#registrations).
`

func TestDirectoryReferenceIsCurrent(t *testing.T) {
	checkGenerated(t, "docs/directory.md", []byte(directoryIntroduction+mockidp.DirectoryReference()))
}

// writeDirectory writes a directory file.
func writeDirectory(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "directory.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
