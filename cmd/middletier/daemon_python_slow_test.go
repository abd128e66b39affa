//go:build slow

package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"middletier/internal/todo"
)

// A daemon for Python that was not changed for the platform lists all items through the
// service, and so does call with what import makes of the daemon's file. A user lists their
// own.
func TestSlowUnmodifiedDaemonForPython(t *testing.T) {
	program, err := filepath.Abs(filepath.Join(python, "daemon.py"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string]any{
		"middletier.json": map[string]any{
			"name": "middletier", "tenantId": demoTenant, "clientId": demoMiddleTier, "idUris": []string{"api://" + demoMiddleTier},
			"secrets": []string{mockSecret}, "scopes": todo.Scopes, "roles": todo.AppPermissions, "optionalClaims": []string{"idtyp", "xms_cc"},
		},
		"parameters.json": map[string]any{
			"authority": "https://contoso.ciamlogin.com/" + demoTenant, "client_id": demoDaemon, "scope": []string{appScope},
			"secret": mockSecret, "endpoint": "http://127.0.0.1:8080/app/todo/items",
		},
	} {
		text, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		writeTo(t, filepath.Join(dir, name), string(text))
	}
	writeTo(t, filepath.Join(dir, "test.yaml"),
		strings.ReplaceAll(documentedConfig(t), "https://127.0.0.1:9443", "https://contoso.ciamlogin.com"))
	output := runOnOwnMachine(t, dir, platformOfMicrosoftsName+fmt.Sprintf(`
REQUESTS_CA_BUNDLE=ca.pem '%s' '%s' parameters.json
middletier import parameters.json --out daemon.yaml >import.log
$(grep -o 'middletier call .*' daemon.yaml) --config daemon.yaml 2>/dev/null
as bob
`, pythonClient(t).Path, program))
	const tea = `{"id":1,"title":"tea","owner":"aaaaaaaa-0000-4000-8000-000000000001","name":"alice"}`
	const coffee = `{"id":2,"title":"coffee","owner":"bbbbbbbb-0000-4000-8000-000000000002","name":"bob"}`
	all, own := "["+tea+","+coffee+"]", "["+coffee+"]"
	if got, want := strings.Fields(output), []string{all, all, own}; !slices.Equal(got, want) {
		t.Errorf("the daemon, call and Bob list %q, want %q", got, want)
	}
}
