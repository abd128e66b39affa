package main

import (
	"bytes"
	"strings"
	"testing"

	"middletier/internal/validate"
)

// With encodedSlashes, an API gets %2F byte for byte, below its base URL only. The APIs
// beside it are as strict as ever.
func TestEncodedSlashesOnTheWire(t *testing.T) {
	w := newWorld(t, func(f *file) {
		f.Server.BasePath = "/middle"
		strict := f.DownstreamAPIs["todo"]
		strict.BaseURL += "/base/v1/"
		strict.Access = []validate.Rule{{Paths: []string{"/**"}, Scopes: []string{"ToDoList.ReadWrite"}}}
		lenient := strict
		lenient.EncodedSlashes = true
		f.DownstreamAPIs["todo"], f.DownstreamAPIs["files"] = strict, lenient
	})
	alice := w.alice()
	for _, row := range []struct {
		name, target string
		status       int
		arrives      string // below the base path
	}{
		{"an object's name", "/middle/api/files/bucket/a%2Fb.txt", 200, "/bucket/a%2Fb.txt"},
		{"an OData key, with a query", "/middle/api/files/Photos('x%2fy')/$value?$select=a%2Fb", 200, "/Photos('x%2fy')/$value?$select=a%2Fb"},
		{"beside other escapes", "/middle/api/files/%C3%A4%2F%20b", 200, "/%C3%A4%2F%20b"},
		{"none", "/middle/api/files/a/b", 200, "/a/b"},
		{"a strict API", "/middle/api/todo/bucket/a%2Fb.txt", 400, ""},
		{"dot segments between", "/middle/api/files/a%2F..%2F..%2F..%2Fsecrets", 400, ""},
		{"encoded dot segments between", "/middle/api/files/a%2F%2e%2e%2Fb", 400, ""},
		{"dot segments with a parameter", "/middle/api/files/a%2F..;x%2Fb", 400, ""},
		{"a host", "/middle/api/files/%2F%2Fevil.example", 400, ""},
		{"encoded twice", "/middle/api/files/a%252Fb", 400, ""},
		{"a backslash", "/middle/api/files/a%2F..%5Cb", 400, ""},
		{"before the path", "/middle/api/files%2Fbucket", 404, ""},
		{"before the name", "/middle/api%2Ffiles/bucket", 404, ""},
		{"in the base path", "/middle%2Fapi/files/bucket", 404, ""},
	} {
		before := len(w.api.seen())
		r := rawRequest(t, w, "GET "+row.target+
			" HTTP/1.1\r\nHost: middle.example\r\nAuthorization: Bearer "+alice+"\r\nConnection: close\r\n\r\n")
		if r.StatusCode != row.status {
			t.Errorf("%s: got %d, want %d", row.name, r.StatusCode, row.status)
		}
		seen := w.api.seen()[before:]
		if row.arrives == "" && len(seen) > 0 || row.arrives != "" && (len(seen) != 1 || seen[0].RequestURI != "/base/v1"+row.arrives) {
			t.Errorf("%s: the API got %v, want %q", row.name, seen, row.arrives)
		}
	}
}

func TestEncodedSlashesExcludeRulesThatNamePaths(t *testing.T) {
	const key = "    encodedSlashes: true\n    access:"
	lenient := strings.Replace(goodConfig, "    access:", key, 1)
	for text, want := range map[string]string{
		lenient: "",
		strings.Replace(lenient, "methods: [GET]", `methods: [GET], paths: ["/**"]`, 1):    "",
		strings.Replace(lenient, "methods: [GET]", `methods: [GET], paths: [/items/*]`, 1): ":10: downstreamApis.todo.encodedSlashes: must be false if an access rule names paths",
	} {
		var stderr bytes.Buffer
		code := run(t.Context(), []string{"check", "--config", writeConfig(t, text)}, streams{nil, &bytes.Buffer{}, &stderr})
		if (code != 0) != (want != "") || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: got %d %q, want %q", text, code, stderr.String(), want)
		}
	}
}
