package mcp

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

// FuzzMatch compares our reading of a message with that of other parsers, as a server
// would have it. A message that they read differently must be refused.
func FuzzMatch(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"drop","arguments":{"a":[1,null,true,"x",{}]}}}`,
		`{"method":"resources/read","params":{"uri":"file:///a/../%62"}}`, `{"id":1,"result":{}}`, `{"method":"notifications/x"}`,
		`{"method":"tools/list","Method":"tools/call"}`, `{"method":"tools/list","method":"x"}`, `{"params":null,"method":"x"}`,
		`{"m\u0065thod":"tools\/call","params":{"n\u0061me":"\ud83d\ude00"}}`, `{"method":"a","params":{"name":"\ud800"}}`,
		`{"method":"Tools/Call"}`,
		`[{"method":"x"}]`, `{"method":"x"}{}`, "\ufeff{}", `{"method":"x","params":[]}`,
		`{"method":"x","param\u017f":{"name":"y"}}`, `{"method":1}`,
	} {
		f.Add([]byte(seed), "tools/call", "=?base64?ZHJvcA==?=")
		f.Add([]byte(seed), "", "drop")
	}
	rules := NewRules([]Rule{
		{Methods: []string{callTool}, Names: []string{"drop"}, Scopes: []string{"first"}},
		{Methods: []string{callTool}, Scopes: []string{"second"}},
	}, func(key, problem string) { f.Fatal(key, problem) })
	f.Fuzz(func(t *testing.T, body []byte, method, name string) {
		h := http.Header{"Content-Type": {"application/json"}}
		if method != "" {
			h.Set("Mcp-Method", method)
		}
		if name != "" {
			h.Set("Mcp-Name", name)
		}
		rule, err := rules.Match(h, body)
		if err != nil {
			return
		}
		m, err := parse(body)
		if err != nil {
			t.Fatalf("%q: matched, and then %v", body, err)
		}
		m.sameAsOthers(t, body)
		if method != "" && method != m.method {
			t.Errorf("%q: accepted with Mcp-Method %q", body, method)
		}
		if decoded, ok := decode(name); name != "" && !(ok && m.hasName(decoded)) {
			t.Errorf("%q: accepted with Mcp-Name %q", body, name)
		}
		isDrop := m.params.name.value == "drop"
		if isCall := m.method == callTool; isCall != (rule != nil) || isCall && isDrop != (rule.Scopes[0] == "first") {
			t.Errorf("%q: got rule %+v", body, rule)
		}
	})
}

// sameAsOthers compares m with what lax parsers read: names in any case, the last of
// several, and a text to its first NUL.
func (m message) sameAsOthers(t *testing.T, body []byte) {
	t.Helper()
	var lax struct {
		Method *string
		Params *struct{ Name, URI any }
		Result json.RawMessage
	}
	if err := json.Unmarshal(body, &lax); err != nil {
		t.Fatalf("%q: encoding/json: %v", body, err)
	}
	var generic map[string]any
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(&generic); err != nil || !utf8.Valid(body) {
		t.Fatalf("%q: encoding/json: %v", body, err)
	}
	method, _ := generic["method"].(string)
	if (lax.Method == nil) != (m.method == "") || lax.Method != nil && *lax.Method != m.method || method != m.method {
		t.Errorf("%q: method is %q, others read %v and %q", body, m.method, lax.Method, method)
	}
	params, _ := generic["params"].(map[string]any)
	for _, member := range []struct {
		name string
		ours text
		lax  any
	}{{"name", m.params.name, nil}, {"uri", m.params.uri, nil}} {
		if lax.Params != nil {
			member.lax = map[string]any{"name": lax.Params.Name, "uri": lax.Params.URI}[member.name]
		}
		var want any = member.ours.value
		if !member.ours.isString {
			want = nil
		}
		for _, got := range []any{params[member.name], member.lax} {
			if text, isText := got.(string); isText != member.ours.isString || isText && any(text) != want {
				t.Errorf("%q: %s is %v, others read %v", body, member.name, want, got)
			}
		}
		for name := range params {
			if cut, _, found := strings.Cut(name, "\x00"); found && strings.EqualFold(cut, member.name) {
				t.Errorf("%q: a member %q was accepted", body, name)
			}
		}
	}
	sdk, err := jsonrpc.DecodeMessage(body)
	if err != nil {
		return // the server refuses it
	}
	request, isRequest := sdk.(*jsonrpc.Request)
	if isRequest != (m.method != "") || isRequest && (request.Method != m.method || request.IsCall() && !m.hasID) {
		t.Errorf("%q: method is %q, the Go SDK reads %+v", body, m.method, sdk)
	}
}
