package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"middletier/internal/testkit/redistest"
)

// The commands that the mock prints work unchanged.
func TestMockCommandsWorkAsPrinted(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	p := startProcess(t, nil, "mock", "--address", "127.0.0.1:0", "--ca-out", ca)
	p.await(t, "Ctrl-C stops it.")
	outputs := p.runPrinted(t)
	for i, want := range []string{"ey", "ey", "ey", `{"access_token":"ey`, `"token_type":"Bearer"`, "", "", `"flow":"client_credentials"`} {
		if i >= len(outputs) || !strings.Contains(outputs[i], want) || want == "" && outputs[i] != "" {
			t.Fatalf("got %q, want %q in number %d", outputs, want, i+1)
		}
	}
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(t); code != 0 {
		t.Errorf("exit code %d after an interrupt:\n%s", code, p.stdout.String())
	}
}

func TestMockSaysWhichFlagIsAtFault(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"--address", "256.0.0.1:1", "--ca-out", ca}, "--address: "},
		{[]string{"--address", "127.0.0.1:0", "--ca-out", t.TempDir()}, "--ca-out: "},
		{[]string{"--address", "127.0.0.1:0", "--ca-out", ca, "--todo-address", "256.0.0.1:1"}, "--todo-address: "},
		{[]string{"--address", "127.0.0.1:0", "--ca-out", ca, "--directory", filepath.Join(filepath.Dir(ca), "absent.yaml")}, filepath.Join(filepath.Dir(ca), "absent.yaml") + ": cannot be read: no such file"},
		{[]string{"--address", "127.0.0.1:0", "--ca-out", ca, "--todo-address", "127.0.0.1:0", "--directory", writeDirectory(t, "tenants: [{tenantId: "+demoTenant+"}]")}, "--todo-address: the directory has no app"},
	} {
		p := startProcess(t, nil, append([]string{"mock"}, row.args...)...)
		if code := p.wait(t); code != 1 || !strings.HasPrefix(p.stdout.String(), row.want) {
			t.Errorf("%q: exit code %d, %q, want 1 and %s", row.args, code, p.stdout.String(), row.want)
		}
	}
}

// A directory of one's own takes the place of the default one, the ToDo API's registration
// included.
func TestMockWithADirectory(t *testing.T) {
	const directory = `tenants: [{tenantId: 99999999-9999-4999-8999-999999999999, domain: fabrikam.example}]
users: [{name: carol&co}]
apps:
  - {name: web, clientId: 44444444-0000-4000-8000-000000000001, secrets: [web-secret]}
  - {name: todo, clientId: 33333333-0000-4000-8000-000000000001, idUris: [api://list], scopes: [ToDoList.Read], roles: [ToDoList.Read.All], optionalClaims: [idtyp]}
grants: [{client: web, resource: todo, scopes: [ToDoList.Read], roles: [ToDoList.Read.All]}]
`
	dir := t.TempDir()
	ca, port := filepath.Join(dir, "ca.pem"), freePorts(t, 1)[0]
	p := startProcess(t, nil, "mock", "--address", "127.0.0.1:0",
		"--ca-out", ca, "--todo-address", "127.0.0.1:"+port, "--directory", writeDirectory(t, directory))
	p.await(t, "Ctrl-C stops it.")
	for _, want := range []string{
		"web, 44444444-0000-4000-8000-000000000001\n", "carol&co@fabrikam.example",
		"todo, 33333333-0000-4000-8000-000000000001, api://list",
	} {
		if !strings.Contains(p.stdout.String(), want) {
			t.Errorf("got\n%swant %q in it", p.stdout.String(), want)
		}
	}
	outputs := p.runPrinted(t)
	if len(outputs) != 3 || !strings.HasPrefix(outputs[0], "ey") ||
		!strings.HasPrefix(outputs[1], "ey") || !strings.HasPrefix(outputs[2], "[") {
		t.Fatalf("got %q, want two tokens and the requests", outputs)
	}
	platform := regexp.MustCompile(`https://127\.0\.0\.1:[0-9]+`).FindString(p.stdout.String())
	output, err := runScript(t, dir, `set -eu
token=$(curl -sf --cacert ca.pem `+platform+`/99999999-9999-4999-8999-999999999999/oauth2/v2.0/token -d grant_type=client_credentials \
  -d client_id=44444444-0000-4000-8000-000000000001 -d client_secret=web-secret -d scope=api://list/.default | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
for token in "$token" "`+outputs[0]+`" "`+outputs[1]+`"; do
  curl -s -o answer -w '%{http_code} ' -H "Authorization: Bearer $token" http://127.0.0.1:`+port+`/items
done`)
	if err != nil || output != "200 200 401 " {
		t.Errorf("got %q, %v, want the API to accept the app's token and Carol's, and to refuse the expired one", output, err)
	}
}

// composePart returns a part of deploy/compose-sidecar.yaml, without its indent: the lines
// behind the one that begins with after.
func composePart(t *testing.T, after string) []string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/compose-sidecar.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ = bytes.Cut(text, []byte("\n"+after+"\n"))
	indent := regexp.MustCompile(`^ *`).FindString(string(text))
	var lines []string
	for line := range strings.Lines(string(text)) {
		line, inside := strings.CutPrefix(strings.TrimRight(line, "\n"), indent)
		if !inside {
			break
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		t.Fatalf("deploy/compose-sidecar.yaml has nothing behind %q", after)
	}
	return lines
}

// The agent of deploy/compose-sidecar.yaml calls the API with what its sidecar gives it,
// here with addresses in place of names.
func TestComposeSidecarRuns(t *testing.T) {
	t.Parallel()
	ports := freePorts(t, 3)
	platform, todo, sidecar := "localhost:"+ports[0], "127.0.0.1:"+ports[1], "localhost:"+ports[2]
	addresses := strings.NewReplacer("mock:9443", platform, "mock:9444", todo, "localhost:5000", sidecar, "+:5000", "+:"+ports[2], "$$", "$")
	var environ []string
	for _, line := range composePart(t, "    environment: &sidecar") {
		name, value, _ := strings.Cut(addresses.Replace(line), ": ")
		value, _, _ = strings.Cut(value, " #")
		environ = append(environ, "export "+name+"="+strings.Trim(value, `"`))
	}
	agent := strings.NewReplacer("while true; do", "for once in 1; do", "sleep 10", "").Replace(
		addresses.Replace(strings.Join(composePart(t, "      - |"), "\n")))
	output, err := runScript(t, t.TempDir(), "set -eu\n"+strings.Join(environ, "\n")+`
export SSL_CERT_FILE=ca.pem Server__AdminAddress=off
middletier mock --address `+platform+` --todo-address `+todo+` >mock.log &
until [ -s mock.log ]; do sleep 0.1; done
middletier check --online >check.log
middletier serve >serve.log &
curl -sf --retry 30 --retry-delay 1 --retry-connrefused http://`+sidecar+`/healthz
`+agent)
	if err != nil || !strings.HasSuffix(output, "Healthy[]\n") {
		t.Errorf("got %v\n%s", err, output)
	}
}

// The services of deploy/compose.yaml reach each other, here with addresses in place
// of their names.
func TestComposeConfigurationRuns(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	text, err := os.ReadFile("../../deploy/compose-config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ports := freePorts(t, 4)
	platform, todo, service, admin := "localhost:"+ports[0], "127.0.0.1:"+ports[1], "127.0.0.1:"+ports[2], "127.0.0.1:"+ports[3]
	config := strings.NewReplacer("mock:9443", platform, "mock:9444", todo, "redis:6379", redis.Addr()).Replace(string(text))
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	output, err := runScript(t, dir, `set -eu
export SSL_CERT_FILE=ca.pem TokenCache__Redis__Timeout=5s
middletier mock --address `+platform+` --todo-address `+todo+` >mock.log &
until [ -s mock.log ]; do sleep 0.1; done
middletier check --online
Server__Address=`+service+` Server__AdminAddress=`+admin+` middletier serve >serve.log &
curl -sf --retry 30 --retry-delay 1 --retry-connrefused http://`+service+`/readyz
curl -s -H "Authorization: Bearer $(curl -sk https://`+platform+`/mock/tokens/alice)" http://`+service+`/api/todo/items
`)
	if err != nil || !strings.HasSuffix(output, "{\"status\":\"ready\"}\n[]\n") {
		t.Errorf("got %v\n%s", err, output)
	}
	eventually(t, func() bool { return len(redis.Keys()) > 0 }, func() string { return "nothing is in Redis" })
}
