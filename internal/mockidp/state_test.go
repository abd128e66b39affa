package mockidp_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"middletier/internal/mockidp"
)

// open opens a state, which must work.
func open(t *testing.T, dir string) *mockidp.Server {
	t.Helper()
	server, err := mockidp.Open(testDirectory(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server
}

// A state that cannot be used is refused in words, and left as it is.
func TestStateOfOthersIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "mock-state.json")
	first := open(t, dir)
	kid, ca := first.KeyID(), string(first.CAPEM())
	first.Close()
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(map[string]any)) string {
		var state map[string]any
		if err := json.Unmarshal(good, &state); err != nil {
			t.Fatal(err)
		}
		change(state)
		text, err := json.Marshal(state)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, row := range []struct{ text, want string }{
		{"", "is not what this version of middletier mock writes"},
		{"{}", "is not what this version"},
		{string(good[:len(good)/2]), "is not what this version"},
		{string(good) + "{}", "is not what this version"},
		{"azureAd: {}\n", "is not what this version"},
		{with(func(s map[string]any) { s["version"] = 2 }), "is not what this version"},
		{with(func(s map[string]any) { s["extra"] = 1 }), "is not what this version"},
		{string(good) + strings.Repeat(" ", 16<<20), "is not what this version"},
		{with(func(s map[string]any) { s["sealingKey"] = "AA==" }), "sealingKey: is no key"},
		{with(func(s map[string]any) { delete(s, "ca") }), "ca: the certificate cannot be read"},
		{with(func(s map[string]any) { s["ca"] = s["signing"] }), "ca: is not the pair of a CA"},
		{with(func(s map[string]any) { s["signing"] = s["ca"] }), "signing: is not an RSA key"},
		{with(func(s map[string]any) { s["old"] = []any{s["ca"]} }), "old: is not an RSA key"},
		{with(func(s map[string]any) { s["signing"].(map[string]any)["key"] = s["ca"].(map[string]any)["key"] }), "signing: the key is not that of the certificate"},
		{with(func(s map[string]any) { s["signing"].(map[string]any)["key"] = "AA==" }), "signing: the key cannot be read"},
	} {
		if err := os.WriteFile(path, []byte(row.text), 0o600); err != nil {
			t.Fatal(err)
		}
		server, err := mockidp.Open(testDirectory(), dir)
		if err == nil {
			server.Close()
			t.Errorf("%.80s: got no error", row.text)
			continue
		}
		if !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.80s: got %v, want one line with %s", row.text, err, row.want)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != row.text {
			t.Errorf("%.80s: the file was changed", row.text)
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if again := open(t, dir); again.KeyID() != kid || string(again.CAPEM()) != ca {
		t.Error("the state of before is not used")
	}
}

func TestStateNeedsItsDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := mockidp.Open(testDirectory(), filepath.Join(file, "state")); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v, want an error that names %s", err, file)
	}
	dir := t.TempDir()
	server := open(t, dir)
	if _, err := mockidp.Open(testDirectory(), dir); err == nil || err.Error() != "another process uses "+dir {
		t.Errorf("opened twice: got %v", err)
	}
	server.Close()
	open(t, dir)
}

// A key that cannot be saved is an error of the request: after a restart it would be gone.
func TestKeyThatCannotBeSavedIsReported(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	k := startOpened(t, open(t, dir))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/mock/keys", "/mock/reset"} {
		status, body := k.do("POST", path, "application/json", "{}")
		if status != http.StatusInternalServerError || !strings.HasPrefix(string(body), "save the state: ") {
			t.Errorf("POST %s: got %d %s, want 500", path, status, body)
		}
	}
}

// What a user consented to on the page holds after a restart: without it, the client's refresh
// token would get nothing. A code ends with the process that knows whether it was used.
func TestStateKeepsConsents(t *testing.T) {
	dir := t.TempDir()
	server := open(t, dir)
	k := startOpened(t, server)
	u := k.user()
	query := asSPA("scope", "offline_access api://todo/Write")
	_, response := u.press(u.choose(u.open(contoso, query), aliceID), "action", "consent").response(t)
	code := spaCodeForm(response.Get("code"))
	status, body, _ := k.redeem(contoso, spaOrigin, code)
	if status != http.StatusOK {
		t.Fatalf("code: got %d %v", status, body)
	}
	refresh := form("grant_type", "refresh_token", "client_id", spaID, "refresh_token", body["refresh_token"].(string))
	restart := func() {
		server.Close()
		server = open(t, dir)
		k = startOpened(t, server)
	}

	restart()
	if status, body, _ := k.redeem(contoso, spaOrigin, refresh); status != http.StatusOK {
		t.Errorf("a refresh token of before: got %d %v, want 200", status, body)
	}
	if status, body, _ := k.redeem(contoso, spaOrigin, code); status != http.StatusBadRequest || !hasNumber(body, 70008) {
		t.Errorf("a code that was redeemed before: got %d %v, want 400 AADSTS70008", status, body)
	}
	k.do("POST", "/mock/grants", "application/json", `{"client": "spa", "resource": "todo", "user": "alice"}`)
	restart()
	if status, body, _ := k.redeem(contoso, spaOrigin, refresh); status != http.StatusBadRequest || !hasNumber(body, 65001) {
		t.Errorf("the consent was withdrawn: got %d %v, want 400 AADSTS65001", status, body)
	}
}

func hasNumber(body map[string]any, number float64) bool {
	numbers, _ := body["error_codes"].([]any)
	return len(numbers) == 1 && numbers[0] == number
}

// A consent that cannot be saved is an error that the application gets.
func TestConsentThatCannotBeSavedIsReported(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	u := startOpened(t, open(t, dir)).user()
	page := u.choose(u.open(contoso, asSPA("scope", "api://todo/Write")), aliceID)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, response := u.press(page, "action", "consent").response(t); response.Get("error") != "server_error" {
		t.Errorf("got %v, want server_error", response)
	}
}
