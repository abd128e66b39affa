package mcp_test

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"

	"middletier/internal/mcp"
)

// headers are those of a message, with more of them as name and value.
func headers(more ...string) http.Header {
	h := http.Header{"Content-Type": {"application/json"}}
	for i := 0; i < len(more); i += 2 {
		h[more[i]] = append(h[more[i]], more[i+1])
	}
	return h
}

func newRules(t testing.TB, rules ...mcp.Rule) *mcp.Rules {
	t.Helper()
	return mcp.NewRules(rules, func(key, problem string) { t.Fatalf("%s: %s", key, problem) })
}

// testRules are for calls of some tools, for reading some resources, and for prompts.
func testRules(t testing.TB) *mcp.Rules {
	return newRules(t,
		mcp.Rule{Methods: []string{"tools/call"}, Names: []string{"delete_*", "*_all", "drop"}, Scopes: []string{"delete"}},
		mcp.Rule{Methods: []string{"resources/read"}, Names: []string{"file:///secret/*"}, Scopes: []string{"secret"}},
		mcp.Rule{Methods: []string{"prompts/get", "completion/complete"}, Scopes: []string{"prompt"}},
		mcp.Rule{Methods: []string{"tools/call"}, Scopes: []string{"call"}},
	)
}

const refused = "refused"

// decision is the scope of the rule that decides on a message, "" for none.
func decision(rules *mcp.Rules, h http.Header, body string) string {
	rule, err := rules.Match(h, []byte(body))
	switch {
	case err != nil:
		return refused
	case rule == nil:
		return ""
	}
	return rule.Scopes[0]
}

func TestTheFirstRuleThatMatchesDecides(t *testing.T) {
	rules := testRules(t)
	for body, want := range map[string]string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_item","arguments":{"name":"x"}}}`: "delete",
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"clear_all"}}`:                            "delete",
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"drop"}}`:                                 "delete",
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"drops"}}`:                                "call",
		`{"params":{"arguments":{},"name":"delete_"},"method":"tools/call","id":"a","jsonrpc":"2.0"}`:             "delete",
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list","_meta":{"name":"delete_x"}}}`:     "call",
		`{"jsonrpc":"2.0","method":"tools/call","params":{"name":"delete_item"}}`:                                 "delete", // without an id, too
		"\t\r\n {\"method\":\"tools\\/call\",\"params\":{\"n\\u0061me\":\"d\\u0065lete_x\"},\"id\":null} \n":      "delete",
		`{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"x"}}`:                                   "prompt",
		`{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"name":"x"}}}`:                   "prompt",
		`{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///secret/a"}}`:                  "secret",
		`{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///public/a%20b"}}`:              "",
		`{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"note:1","name":"file:///secret"}}`:    "",
		`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`:                                                          "",
		`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":null}`:                                            "",
		`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"delete_x"}}`:                           "",
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"clientInfo":{"name":"delete_x"}}}`:              "",
		`{"jsonrpc":"2.0","method":"notifications/initialized"}`:                                                  "",
		`{"jsonrpc":"2.0","id":1,"result":{"content":[],"name":"delete_x"}}`:                                      "",
		`{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}`:                                             "",
	} {
		if got := decision(rules, headers(), body); got != want {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
}

// An entry without methods is for every request, but a client's notifications and
// responses always pass.
func TestNotificationsAndResponsesPass(t *testing.T) {
	rules := newRules(t, mcp.Rule{Scopes: []string{"all"}})
	for body, want := range map[string]string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`:                "all",
		`{"jsonrpc":"2.0","method":"notifications/cancelled"}`:          "",
		`{"jsonrpc":"2.0","id":7,"result":{}}`:                          "",
		`{"jsonrpc":"2.0","id":1,"method":"notifications/cancelled"}`:   "all", // a request
		`{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"}}`: "all",
		`{"jsonrpc":"2.0","method":"Notifications/x"}`:                  "all",
	} {
		if got := decision(rules, headers(), body); got != want {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
}

// Whatever parsers and frameworks read differently is refused.
func TestMessagesThatServersReadDifferently(t *testing.T) {
	rules := testRules(t)
	call := func(params string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":` + params + `}`
	}
	for name, body := range map[string]string{
		"nothing": "", "white space": " \n", "text": `"tools/call"`, "null": "null", "number": "1", "an array": "[]",
		"a batch":               `[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]`,
		"a batch behind spaces": "\n\t [" + call(`{"name":"x"}`) + "]",
		"data behind it":        call(`{"name":"list"}`) + call(`{"name":"delete_x"}`),
		"a line behind it":      call(`{"name":"list"}`) + "\n" + call(`{"name":"delete_x"}`),
		"NUL behind it":         call(`{"name":"list"}`) + "\x00",
		"cut off":               `{"method":"tools/list"`,
		"a byte order mark":     "\ufeff" + call(`{"name":"list"}`),
		"another white space":   "\u00a0" + call(`{"name":"list"}`),
		"a form feed":           "\f" + call(`{"name":"list"}`),
		"UTF-16":                "{\x00\"\x00m\x00",
		"not UTF-8":             call("{\"name\":\"list\xff\"}"),
		"overlong UTF-8":        call("{\"n\xc1\xa1me\":\"list\"}"),
		"a lone surrogate":      call(`{"name":"list\ud800"}`),
		"in the arguments":      call(`{"name":"list","arguments":{"a":"\udc00"}}`),
		"a comment":             `{/*"*/"method":"tools/list"}`,
		"a comma at the end":    `{"method":"tools/list",}`,
		"single quotes":         `{'method':'tools/list'}`,
		"no quotes":             `{method:"tools/list"}`,
		"a control character":   call("{\"name\":\"li\tst\"}"),
		"not a number":          call(`{"name":"list","arguments":{"a":NaN}}`),

		"method twice":         `{"method":"tools/list","method":"tools/call","params":{"name":"drop"}}`,
		"method once escaped":  `{"method":"tools/list","m\u0065thod":"tools/call","params":{"name":"drop"}}`,
		"params twice":         `{"method":"tools/call","params":{"name":"list"},"params":{"name":"drop"}}`,
		"name twice":           call(`{"name":"list","name":"drop"}`),
		"name once escaped":    call(`{"name":"list","nam\u0065":"drop"}`),
		"an argument twice":    call(`{"name":"list","arguments":{"a":1,"a":2}}`),
		"deep in an argument":  call(`{"name":"list","arguments":{"a":[{"b":{"c":1,"c":2}}]}}`),
		"id twice":             `{"id":1,"id":2,"method":"tools/list"}`,
		"Method":               `{"method":"tools/list","Method":"tools/call","params":{"name":"drop"}}`,
		"Method alone":         `{"id":1,"Method":"tools/call","params":{"name":"drop"},"result":{}}`,
		"PARAMS":               `{"method":"tools/call","params":{"name":"list"},"PARAMS":{"name":"drop"}}`,
		"Name":                 call(`{"name":"list","Name":"drop"}`),
		"Name alone":           call(`{"Name":"drop"}`),
		"NAME escaped":         call(`{"name":"list","\u004eAME":"drop"}`),
		"full width":           call(`{"name":"list","ｎame":"drop"}`),
		"a long s":             `{"method":"tools/call","params":{"name":"list"},"param\u017f":{"name":"drop"}}`,
		"a name cut by NUL":    call(`{"name":"list","name\u0000x":"drop"}`),
		"space in a name":      call(`{"name":"list"," name":"drop"}`),
		"an invisible letter":  call(`{"name":"list","na\u200bme":"drop"}`),
		"a soft hyphen":        `{"me\u00adthod":"tools/call","result":{},"params":{"name":"drop"}}`,
		"Result":               `{"method":"tools/call","params":{"name":"drop"},"Result":{}}`,
		"both kinds":           `{"method":"tools/call","params":{"name":"drop"},"result":{}}`,
		"both kinds, an error": `{"error":{},"method":"tools/list"}`,
		"neither kind":         `{"jsonrpc":"2.0","id":1}`,
		"nothing in it":        `{}`,
		"method is a number":   `{"method":1}`,
		"method is null":       `{"method":null,"result":{}}`,
		"method is an array":   `{"method":["tools/call"],"params":{"name":"drop"}}`,
		"method is an object":  `{"method":{"":"tools/call"}}`,
		"method is empty":      `{"method":"","params":{"name":"drop"}}`,

		"params is an array":    call(`["drop",{}]`),
		"params is text":        call(`"drop"`),
		"params of another":     `{"method":"tools/list","params":["drop"]}`,
		"params is null":        call(`null`),
		"no params":             `{"id":1,"method":"tools/call"}`,
		"no name":               call(`{}`),
		"name is null":          call(`{"name":null}`),
		"name is a number":      call(`{"name":1}`),
		"name is a large one":   call(`{"name":1e999}`),
		"name is true":          call(`{"name":true}`),
		"name is an array":      call(`{"name":["drop"]}`),
		"name is an object":     call(`{"name":{"name":"drop"}}`),
		"name is empty":         call(`{"name":""}`),
		"a prompt without name": `{"id":1,"method":"prompts/get","params":{"uri":"x"}}`,
		"a resource without":    `{"id":1,"method":"resources/read","params":{"name":"x"}}`,

		"a method in another case": `{"id":1,"method":"Tools/Call","params":{"name":"drop"}}`,
		"a method in upper case":   `{"id":1,"method":"TOOLS/CALL","params":{"name":"drop"}}`,
		"a method and a space":     `{"id":1,"method":"tools/call ","params":{"name":"drop"}}`,
		"a method and NUL":         `{"id":1,"method":"tools/call\u0000x","params":{"name":"drop"}}`,
		"a method in full width":   `{"id":1,"method":"tools／call","params":{"name":"drop"}}`,
		"no name either":           `{"id":1,"method":"TOOLS/CALL"}`,
		"a tool in another case":   call(`{"name":"Delete_x"}`),
		"a tool in upper case":     call(`{"name":"DROP"}`),
		"a tool in full width":     call(`{"name":"ｄelete_x"}`),
		"a tool with a ligature":   call(`{"name":"clear_aｌl"}`),
		"a tool and a space":       call(`{"name":" drop"}`),
		"a tool and an invisible":  call(`{"name":"d\u200drop"}`),
		"a tool and NUL":           call(`{"name":"drop\u0000"}`),
		"a tool and a line":        call(`{"name":"list\n"}`),
		"a tool, with DEL":         call(`{"name":"list\u007f"}`),
		"a dotless i":              call(`{"name":"DELETE_ıtem"}`),

		"a resource, encoded":       `{"id":1,"method":"resources/read","params":{"uri":"file:///%73ecret/a"}}`,
		"a resource, in parts":      `{"id":1,"method":"resources/read","params":{"uri":"file:///%%37%33ecret/a"}}`,
		"a resource, twice":         `{"id":1,"method":"resources/read","params":{"uri":"file:///%2573ecret/a"}}`,
		"a resource by dots":        `{"id":1,"method":"resources/read","params":{"uri":"file:///public/../secret/a"}}`,
		"a resource by a dot":       `{"id":1,"method":"resources/read","params":{"uri":"file:///./secret/a"}}`,
		"a resource by backslashes": `{"id":1,"method":"resources/read","params":{"uri":"file:\\\\\\secret\\a"}}`,
		"a resource, two slashes":   `{"id":1,"method":"resources/read","params":{"uri":"file:////secret/a"}}`,
		"a resource with NUL":       `{"id":1,"method":"resources/read","params":{"uri":"file:///public%00"}}`,
		"a scheme in another case":  `{"id":1,"method":"resources/read","params":{"uri":"FILE:///secret/a"}}`,

		"nested deeply":         call(`{"name":"list","arguments":` + strings.Repeat(`{"a":`, 63) + `1` + strings.Repeat("}", 63) + `}`),
		"nested in arrays":      call(`{"name":"list","arguments":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`),
		"nested and unfinished": `{"id":` + strings.Repeat("[", 60000),
	} {
		if got := decision(rules, headers(), body); got != refused {
			t.Errorf("%s: %.120q: got %q, want a refusal", name, body, got)
		}
	}
	nested := call(`{"name":"list","arguments":` + strings.Repeat(`{"a":`, 61) + `1` + strings.Repeat("}", 61) + `}`)
	if got := decision(rules, headers(), nested); got != "call" {
		t.Errorf("nested less deeply: got %q", got)
	}
}

// What is expensive to fold is refused, and the rest takes one pass: a caller could keep the
// processor busy for seconds with one message.
func TestMessagesThatAreExpensiveToRead(t *testing.T) {
	rules := testRules(t)
	call := func(name string) string { return `{"id":1,"method":"tools/call","params":{"name":"` + name + `"}}` }
	read := func(uri string) string { return `{"id":1,"method":"resources/read","params":{"uri":"` + uri + `"}}` }
	long, longer := strings.Repeat("x", 8<<10), strings.Repeat("x", 8<<10+1)
	for _, row := range []struct{ name, body, want string }{
		{"a long name", call(long), "call"},
		{"a longer name", call(longer), refused},
		{"a long URI", read("a:" + long[2:]), ""},
		{"a longer URI", read("a:" + longer[2:]), refused},
		{"a longer method", `{"id":1,"method":"` + longer + `"}`, refused},
		{"a longer name in another method", `{"id":1,"method":"x/y","params":{"name":"` + longer + `"}}`, ""},
		{"a longer name, and the method in another case", `{"id":1,"method":"TOOLS/CALL","params":{"name":"` + longer + `"}}`, refused},
		{"a long argument", `{"id":1,"method":"tools/call","params":{"name":"list","arguments":{"ﷺ":"` + longer + `"}}}`, "call"},
		{"a long member beyond ASCII", `{"id":1,"method":"x/y","params":{"` + strings.Repeat("ﷺ", 22) + `":1}}`, refused},
		{"a long member", `{"id":1,"method":"x/y","params":{"` + long + `":1}}`, ""},
	} {
		if got := decision(rules, headers(), row.body); got != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
	nested := read("file:///%" + strings.Repeat("25", 4000) + "73ecret/x")
	if got := decision(rules, headers(), nested); got != refused {
		t.Errorf("encoded 4000 times: got %q, want a refusal", got)
	}
	if passes := testing.AllocsPerRun(1, func() { decision(rules, headers(), nested) }); passes > 200 {
		t.Errorf("encoded 4000 times: reading it takes %v allocations", passes)
	}
}

// What differs in case decides nothing, as long as the same entry decides.
func TestOtherSpellingsForWhichTheSameEntryDecides(t *testing.T) {
	rules := newRules(t,
		mcp.Rule{Methods: []string{"tools/call"}, Names: []string{"Get*", "get*", "straße"}, Scopes: []string{"get"}},
		mcp.Rule{Methods: []string{"resources/read"}, Names: []string{"file:///a%20b/*"}, Scopes: []string{"file"}},
	)
	for body, want := range map[string]string{
		`{"id":1,"method":"tools/call","params":{"name":"GetX"}}`:                  "get",
		`{"id":1,"method":"tools/call","params":{"name":"getX"}}`:                  "get",
		`{"id":1,"method":"tools/call","params":{"name":"GETX"}}`:                  refused,
		`{"id":1,"method":"tools/call","params":{"name":"straße"}}`:                "get",
		`{"id":1,"method":"tools/call","params":{"name":"Löschen"}}`:               "",
		`{"id":1,"method":"resources/read","params":{"uri":"file:///a%20b/c"}}`:    "file",
		`{"id":1,"method":"resources/read","params":{"uri":"file:///a%20b/%2e/"}}`: "file",
		`{"id":1,"method":"resources/read","params":{"uri":"file:///a b/c"}}`:      refused,
	} {
		if got := decision(rules, headers(), body); got != want {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
}

// Servers normalize URIs before they look at them, or look at a part of them alone.
func TestURIsThatServersReadDifferently(t *testing.T) {
	rules := newRules(t,
		mcp.Rule{
			Methods: []string{"resources/read"},
			Names: []string{
				"file:///secret/*", "file:///key.pem", "file:/java/*", "file:///c:/secret/*",
				"https://secret.example/*", "https://bücher.example/*",
				"notes://secret/*", "notes:/secret/*", "notes://list?owner=*",
			},
			Scopes: []string{"secret"},
		},
		mcp.Rule{Methods: []string{"resources/read"}, Scopes: []string{"read"}},
	)
	read := func(uri string) string {
		return `{"id":1,"method":"resources/read","params":{"uri":"` + strings.ReplaceAll(uri, `\`, `\\`) + `"}}`
	}
	for want, uris := range map[string][]string{
		"secret": {
			"file:///secret/a", "file:///secret/a?b#c", "file:///key.pem", "file:/java/a", "https://secret.example/a?b", "https://bücher.example/",
			"notes://secret/a", "notes:/secret/a", "notes://list?owner=bob",
		},
		"read": {
			"file:///public/a", "file:///public/a?b=/../secret/x", "file:/public", "file:public", "https://public.example",
			"https://public.example:8443/a?b=c",
			"https://user@public.example/", "notes://list", "notes://list?limit=1", "notes://list#a", "notes:a:b", "urn:isbn:1", "a", "a/b",
			"mail://bob%40contoso.example/inbox", "notes://public//a", "notes://public/a..b//c", "ui://widget/a%2Fb",
		},
		refused: {
			"file:/secret/a", "file:secret/a", `file:\secret\a`, "FILE:/secret/a", "file://localhost/secret/a", "file:////secret/a",
			"file:/x/../secret/a",
			"file:///secret/../public/a", "file:///public//../secret/a", "file:///a/../secret//../a",
			"file:%2f/secret/a", "file:///%2f/secret/a", "file://%2fsecret/a", "file:///public/..%2fsecret/a", "file:///public/x/..%5c..%5csecret/a",
			"file:///key.pem?a", "file:///key.pem#a", "file:///key.pem%3fa", "file:///key.pem%23a", "file:/key.pem?a", "file:///./key.pem?a",
			"file:///java/a", "file:////java/a", "file:///c|/secret/a", "file:/C:/secret/a",
			"https:secret.example/a", "https:/secret.example/a", "https:///secret.example/a", `https:\\secret.example\a`, "https://secret.example",
			"https://secret.example:443/a", "https://secret.example:/a", "https://user:password@secret.example/a", "https://Secret.example/a",
			"https://xn--bcher-kva.example/", "https://BÜCHER.example/", "notes://x@secret/a", "notes:/a/../secret/b",
			"notes://list%3fowner=bob", "notes://list?%6fwner=bob",
		},
	} {
		for _, uri := range uris {
			if got := decision(rules, headers(), read(uri)); got != want {
				t.Errorf("%s: got %q, want %q", uri, got, want)
			}
		}
	}
}

func TestHeadersAreThoseOfTheMessage(t *testing.T) {
	rules := testRules(t)
	const list = `{"id":1,"method":"tools/call","params":{"name":"list","taskId":"t"}}`
	const umlaut = `{"id":1,"method":"tools/call","params":{"name":"Löschen?"}}`
	const tools = `{"id":1,"method":"tools/list"}`
	const task = `{"id":1,"method":"tasks/get","params":{"taskId":"t-1"}}`
	encode := func(name string) string { return "=?base64?" + base64.StdEncoding.EncodeToString([]byte(name)) + "?=" }
	for _, row := range []struct {
		body    string
		want    string
		headers []string
	}{
		{list, "call", nil},
		{list, "call", []string{"Mcp-Method", "tools/call"}},
		{list, "call", []string{"Mcp-Method", "tools/call", "Mcp-Name", "list"}},
		{list, "call", []string{"Mcp-Name", "list"}},
		{list, "call", []string{"Mcp_name", "list"}}, // the same to some
		{list, "call", []string{"Mcp-Name", encode("list")}},
		{umlaut, "call", []string{"Mcp-Name", encode("Löschen?")}},
		{umlaut, "call", []string{"Mcp-Name", "Löschen?"}}, // as the Go SDK sends it
		{tools, "", []string{"Mcp-Method", "tools/list"}},
		{tools, "", []string{"Mcp-Method", "tools/list", "Mcp-Name", ""}},
		{task, "", []string{"Mcp-Method", "tasks/get", "Mcp-Name", "t-1"}}, // of an extension
		{`{"id":1,"method":"resources/read","params":{"uri":"a:b"}}`, "", []string{"Mcp-Method", "resources/read", "Mcp-Name", "a:b"}},
		{`{"method":"notifications/initialized"}`, "", []string{"Mcp-Method", "notifications/initialized"}},
		{`{"id":1,"result":{}}`, "", nil},

		{list, refused, []string{"Mcp-Method", "tools/list"}},
		{list, refused, []string{"Mcp-Method", ""}},
		{list, refused, []string{"Mcp-Method", "Tools/Call"}},
		{list, refused, []string{"Mcp-Method", "tools/call", "Mcp-Method", "tools/call"}},
		{list, refused, []string{"Mcp-Method", "tools/call", "Mcp_method", "tools/call"}},
		{list, refused, []string{"Mcp-Method", "tools/call, tools/call"}},
		{list, refused, []string{"Mcp-Method", encode("tools/call")}},
		{list, refused, []string{"Mcp-Name", "drop"}},
		{list, refused, []string{"Mcp-Name", "List"}},
		{list, refused, []string{"Mcp-Name", ""}},
		{list, refused, []string{"Mcp-Name", "t"}},
		{list, refused, []string{"Mcp-Name", "list", "Mcp-Name", "list"}},
		{list, refused, []string{"Mcp-Name", "list", "Mcp-Name", encode("list")}},
		{list, refused, []string{"Mcp-Name", "list", "MCP_NAME", "drop"}},
		{list, refused, []string{"Mcp-Name", encode("drop")}},
		{list, refused, []string{"Mcp-Name", encode(encode("list"))}},
		{list, refused, []string{"Mcp-Name", "=?BASE64?bGlzdA==?="}},
		{list, refused, []string{"Mcp-Name", "=?base64?bGlzdA?="}},
		{list, refused, []string{"Mcp-Name", "=?base64?bGlzdB==?="}}, // bits that do not count
		{list, refused, []string{"Mcp-Name", "=?base64?bGlz\ndA==?="}},
		{list, refused, []string{"Mcp-Name", "=?base64??="}},
		{list, refused, []string{"Mcp-Name", "=?base64?bGlzdA=="}},
		{list, refused, []string{"Mcp-Name", "=?utf-8?B?bGlzdA==?="}},
		{umlaut, refused, []string{"Mcp-Name", "=?base64?TMO2c2NoZW4_?="}}, // the alphabet of URLs
		{umlaut, refused, []string{"Mcp-Name", "L\xf6schen?"}},
		{tools, refused, []string{"Mcp-Name", "drop"}},
		{tools, refused, []string{"Mcp-Method", "tools/call", "Mcp-Name", "drop"}},
		{`{"id":1,"method":"tools/call","params":{"name":"=?base64?ZHJvcA==?="}}`, refused, []string{"Mcp-Name", "=?base64?ZHJvcA==?="}},
		{`{"id":1,"result":{}}`, refused, []string{"Mcp-Method", "tools/call"}},
		{`{"id":1,"result":{}}`, refused, []string{"Mcp-Name", "drop"}},
		{`{"method":"notifications/initialized"}`, refused, []string{"Mcp-Method", "tools/call"}},
	} {
		if got := decision(rules, headers(row.headers...), row.body); got != row.want {
			t.Errorf("%s %q: got %q, want %q", row.body, row.headers, got, row.want)
		}
	}
}

func TestOnlyJSONInUTF8IsRead(t *testing.T) {
	rules := testRules(t)
	const list = `{"id":1,"method":"tools/list"}`
	for _, kind := range []string{
		"application/json", "application/json;charset=utf-8", "Application/JSON ; Charset=\"UTF-8\"", "application/json; profile=x",
	} {
		if got := decision(rules, http.Header{"Content-Type": {kind}}, list); got != "" {
			t.Errorf("%s: got %q", kind, got)
		}
	}
	for name, h := range map[string]http.Header{
		"none":               {},
		"an empty type":      {"Content-Type": {""}},
		"text":               {"Content-Type": {"text/plain"}},
		"a form":             {"Content-Type": {"application/x-www-form-urlencoded"}},
		"another JSON":       {"Content-Type": {"application/json-patch+json"}},
		"UTF-16":             {"Content-Type": {"application/json; charset=utf-16"}},
		"UTF-7":              {"Content-Type": {"application/json; charset=utf-7"}},
		"Latin-1":            {"Content-Type": {"application/json; charset=iso-8859-1"}},
		"an empty charset":   {"Content-Type": {"application/json; charset="}},
		"two charsets":       {"Content-Type": {"application/json; charset=utf-8; charset=utf-16"}},
		"a charset in parts": {"Content-Type": {"application/json; charset*=utf-8''utf-16"}},
		"two types":          {"Content-Type": {"application/json", "application/json"}},
		"another spelling":   {"Content-Type": {"application/json"}, "Content_type": {"application/cbor"}},
		"gzip":               {"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}},
		"identity":           {"Content-Type": {"application/json"}, "Content-Encoding": {"identity"}},
		"gzip, and _":        {"Content-Type": {"application/json"}, "Content_encoding": {"gzip"}},
	} {
		if got := decision(rules, h, list); got != refused {
			t.Errorf("%s: got %q, want a refusal", name, got)
		}
	}
}

func TestMistakesInRules(t *testing.T) {
	var got []string
	mcp.NewRules([]mcp.Rule{
		{Methods: []string{"tools/call", ""}, Names: []string{"a", ""}},
		{Methods: []string{"tools/*"}},
		{Methods: []string{"notifications/initialized"}},
		{Methods: []string{"Tools/Call"}},
		{Methods: []string{"tools/list"}, Names: []string{"*"}},
		{Names: []string{"a\nb"}},
		{Methods: []string{"tools/call", "tools/list", "x/Y"}, Names: []string{"*"}},
	}, func(key, _ string) { got = append(got, key) })
	want := []string{
		"[0].methods[1]", "[0].names[1]", "[1].methods[0]", "[2].methods[0]", "[3].methods[0]", "[4].names", "[5].names[0]",
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestRulesThatCoverAllTools(t *testing.T) {
	for _, row := range []struct {
		rule mcp.Rule
		want bool
	}{
		{mcp.Rule{}, true},
		{mcp.Rule{Methods: []string{"tools/list", "tools/call"}}, true},
		{mcp.Rule{Methods: []string{"tools/call"}, Names: []string{"a", "*"}}, true},
		{mcp.Rule{Methods: []string{"tools/list"}}, false},
		{mcp.Rule{Methods: []string{"tools/call"}, Names: []string{"a*"}}, false},
		{mcp.Rule{Names: []string{"**"}}, true},
	} {
		if got := row.rule.CoversToolCalls(); got != row.want {
			t.Errorf("%+v: got %v", row.rule, got)
		}
	}
}
