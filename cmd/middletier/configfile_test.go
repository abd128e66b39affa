package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"middletier/internal/appsettings"
	"middletier/internal/config"
)

// exampleIntroduction stands before the keys in config.yaml.
const exampleIntroduction = `# yaml-language-server: $schema=config.schema.json
#
# The configuration of middletier: every key with its default or an example. Copy
# this file and change the copy: set the values marked (yours), delete what you do
# not need. Keys match in any case. The environment can set every key, and takes
# precedence over this file: two underscores between levels and an index for lists,
# such as AzureAd__TenantId or DownstreamApis__todo__Scopes__0. docs/configuration.md
# explains the keys. Written by make generate.

`

func currentExample() string {
	f := defaults()
	return exampleIntroduction + config.Example(&f)
}

func TestExampleIsCurrent(t *testing.T) { checkGenerated(t, "config.yaml", []byte(currentExample())) }

// readmeKeys are the keys that everyone needs; the README shows no others.
var readmeKeys = []string{
	"azureAd.tenantId", "azureAd.clientId", "azureAd.clientCredentials",
	"downstreamApis.NAME.baseUrl", "downstreamApis.NAME.scopes", "downstreamApis.NAME.access",
	"server.address", "server.publicUrl", "server.trustedProxies", "tokenCache.redis.url",
}

// What stands around the part of a document that make generate writes.
const (
	tableBegin = "<!-- Written by make generate from the code; do not edit. -->\n\n"
	tableEnd   = "\n<!-- End of what make generate writes. -->\n"
)

func TestReadmeIsCurrent(t *testing.T) {
	f := defaults()
	table, err := config.Table(&f, readmeKeys...)
	if err != nil {
		t.Fatal(err)
	}
	checkGeneratedPart(t, "README.md", table)
}

func TestMigratingIsCurrent(t *testing.T) {
	checkGeneratedPart(t, "docs/migrating.md", appsettings.Reference())
}

// checkGeneratedPart compares the part of a document that make generate writes.
func checkGeneratedPart(t *testing.T, name, part string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", name))
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begun := strings.Cut(string(text), tableBegin)
	_, after, ended := strings.Cut(rest, tableEnd)
	if !begun || !ended {
		t.Fatalf("%s has no place for what make generate writes", name)
	}
	checkGenerated(t, name, []byte(before+tableBegin+part+tableEnd+after))
}

// writtenKey is a key of the configuration in a document.
var writtenKey = regexp.MustCompile("`((?:server|azureAd|downstreamApis|tokenCache|logging|telemetry)\\.[A-Za-z.\\[\\]]+)`")

func TestDocumentsNameKeysThatExist(t *testing.T) {
	documents, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	f := defaults()
	for _, path := range append(documents, "../../README.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range writtenKey.FindAllStringSubmatch(string(text), -1) {
			if _, err := config.Table(&f, key[1]); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}

// registered are values in place of the example's placeholders.
var registered = []string{"AzureAd__TenantId=" + demoTenant, "AzureAd__ClientId=" + demoMiddleTier}

// As it is, the example is refused, by the keys that everyone must set.
func TestExampleMustBeFilledIn(t *testing.T) {
	_, err := load("../../config.yaml", nil)
	for _, key := range []string{"azureAd.tenantId", "azureAd.clientId"} {
		if err == nil || strings.Count(err.Error(), key+": is a placeholder of a sample") != 1 {
			t.Errorf("got %v, want %s as a placeholder", err, key)
		}
	}
	if err != nil && strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("got %v, want nothing else", err)
	}
}

// kindOfCredential is an entry of clientCredentials that is commented out.
var kindOfCredential = regexp.MustCompile(`(?m)(^    # - sourceType: (\w+).*\n(    #   .*\n)+)`)

// An uncommented credential of the example is correct except for its values.
func TestEveryCredentialOfTheExampleCanBeUncommented(t *testing.T) {
	example := currentExample()
	kinds := kindOfCredential.FindAllStringSubmatch(example, -1)
	if len(kinds) != 5 {
		t.Fatalf("got %d credentials that are commented out, want 5", len(kinds))
	}
	active := regexp.MustCompile(`(?m)^    - sourceType: ClientSecret.*\n(      .*\n)+`)
	for _, kind := range kinds {
		t.Run(kind[2], func(t *testing.T) {
			entry := strings.ReplaceAll("\n"+kind[1], "\n    # ", "\n    ")
			text := active.ReplaceAllLiteralString(example, entry)
			path := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := load(path, registered)
			if kind[2] == "Base64Encoded" { // the value itself is missing
				if err == nil || !strings.Contains(err.Error(), "base64EncodedValue") || strings.Contains(err.Error(), "\n") {
					t.Errorf("got %v, want a mistake in base64EncodedValue alone", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(f.AzureAd.ClientCredentials); got != "["+kind[2]+"]" {
				t.Errorf("got the credentials %s", got)
			}
		})
	}
}
