//go:build slow

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"middletier/internal/testkit/tooltest"
)

// ownMachine makes the shell that reads it one of a machine of its own: with a network of
// its own, where port 443 is free, and with a hosts file of its own.
const ownMachine = `set -eu
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
PATH=$PATH:/usr/sbin
ip link set lo up
printf '127.0.0.1 localhost contoso.ciamlogin.com\n' >hosts
mount --bind hosts /etc/hosts
`

// platformOfMicrosoftsName starts everything on it, with a name for the platform that
// libraries take for one of Microsoft's. The daemon's API has the URL at which it calls.
const platformOfMicrosoftsName = `
export SSL_CERT_FILE=ca.pem NODE_EXTRA_CA_CERTS=ca.pem CURL_CA_BUNDLE=ca.pem
middletier mock --address 127.0.0.1:443 --host contoso.ciamlogin.com --todo-address 127.0.0.1:9444 >mock.log 2>&1 &
until curl -sf https://contoso.ciamlogin.com/mock/requests >requests.json; do sleep 0.1; done
curl -sf https://contoso.ciamlogin.com/mock/apps -d @middletier.json >registered.json
middletier serve --config test.yaml >serve.log 2>&1 &
curl -sf --retry 30 --retry-delay 1 --retry-connrefused http://127.0.0.1:8080/readyz >ready.json
as() { # USER …: calls with a token of the user
    token=$(curl -sf "https://contoso.ciamlogin.com/mock/tokens/$1")
    curl -sf -H "Authorization: Bearer $token" http://127.0.0.1:8080/api/todo/items "${@:2}"
}
as alice -d '{"title":"tea"}' >added.json
as bob?scp=ToDoList.ReadWrite -d '{"title":"coffee"}' >added.json
`

// A daemon for Node that was not changed for the platform lists all items through the
// service, and so does call with what import makes of the daemon's file. A user lists their
// own.
func TestSlowUnmodifiedDaemonForNode(t *testing.T) {
	node := javascriptClients(t)
	program, err := filepath.Abs(filepath.Join(javascript, "daemon.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	const api = "http://127.0.0.1:8080/app/todo"
	config := strings.ReplaceAll(documentedConfig(t), "https://127.0.0.1:9443", "https://contoso.ciamlogin.com")
	writeTo(t, filepath.Join(dir, "test.yaml"), config)
	writeTo(t, filepath.Join(dir, "middletier.json"), `{"name": "middletier", "tenantId": "`+demoTenant+`", "clientId": "`+demoMiddleTier+`",
		"idUris": ["api://`+demoMiddleTier+`", "`+api+`"], "secrets": ["`+mockSecret+`"], "optionalClaims": ["idtyp", "xms_cc"],
		"scopes": ["ToDoList.Read", "ToDoList.ReadWrite"], "roles": ["ToDoList.Read.All", "ToDoList.ReadWrite.All"]}`)
	writeTo(t, filepath.Join(dir, ".env"), fmt.Sprintf(
		"TENANT_ID=%s\nCLIENT_ID=%s\nCLIENT_SECRET=%s\nAAD_ENDPOINT=https://contoso.ciamlogin.com\nGRAPH_ENDPOINT=%s\n",
		demoTenant, demoDaemon, mockSecret, api))
	output := runOnOwnMachine(t, dir, platformOfMicrosoftsName+fmt.Sprintf(`
'%s' --env-file=.env '%s'
middletier import .env --out daemon.yaml >import.log
middletier call --config daemon.yaml graph /items 2>/dev/null
as alice
`, node, program))
	const (
		tea    = `{"id":1,"title":"tea","owner":"aaaaaaaa-0000-4000-8000-000000000001","name":"alice"}`
		coffee = `{"id":2,"title":"coffee","owner":"bbbbbbbb-0000-4000-8000-000000000002","name":"bob"}`
	)
	all, own := "["+tea+","+coffee+"]", "["+tea+"]"
	if got, want := strings.Fields(output), []string{all, all, own}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// runOnOwnMachine runs a script on a machine of its own, which needs namespaces of users
// and networks (Linux), and returns its output.
func runOnOwnMachine(t *testing.T, dir, script string) (output string) {
	t.Helper()
	tooltest.Find(t, "ip", "iproute2")
	if out, err := exec.CommandContext(t.Context(), "unshare", "-rmn", "true").CombinedOutput(); err != nil {
		tooltest.Missing(t, fmt.Sprintf("namespaces are needed: unshare -rmn: %v %s", err, out))
	}
	writeTo(t, filepath.Join(dir, "script.sh"), ownMachine+script)
	output, err := runScript(t, dir, "unshare -rmn bash script.sh")
	if err != nil {
		t.Fatalf("%v\n%s\n%s\n%s", err, output, readIfAny(dir, "mock.log"), readIfAny(dir, "serve.log"))
	}
	return output
}

// readIfAny returns what a file holds, or nothing.
func readIfAny(dir, name string) string {
	text, _ := os.ReadFile(filepath.Join(dir, name))
	return string(text)
}
