package config_test

import (
	"testing"

	"middletier/internal/config"
)

// FuzzLoad: whatever the file and the environment hold, reading them ends, and
// ends without a panic.
func FuzzLoad(f *testing.F) {
	f.Add([]byte("server: {address: a, timeout: 5s}\nazureAd:\n  clientCredentials:\n    - clientSecret: |\n        x\n"),
		"AzureAd__Audiences__0=x")
	f.Add([]byte("a: &a {b: *a}\n<<: *a\n? k\n: !!str v\n"), "Labels__x=1")
	f.Add([]byte("? [k]\n: {~: >\n  v}\n"), "Server__TLS__CertFile=x")
	f.Add([]byte("%YAML 1.2\n---\n- \"\\u00e9\" # c\n- 'a\n  b'\n...\n"), "Server__Burst=1")
	f.Add([]byte("{\"downstreamApis\":{\"t\":{\"access\":[{\"methods\":[\"GET\"]}]}}}"), "DownstreamApis__T__BaseUrl=x")
	f.Fuzz(func(t *testing.T, text []byte, assignment string) {
		target := defaults()
		doc, err := config.Parse("config.yaml", text, config.Input{Environ: []string{assignment}}, &target)
		if doc == nil || err != nil && doc.Err() == nil {
			t.Errorf("got %v, %v", doc, err)
		}
		doc.Report("azureAd.audiences[0]", "is wrong")
		if doc.Err() == nil {
			t.Error("the report was lost")
		}
	})
}
