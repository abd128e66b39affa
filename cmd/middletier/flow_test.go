package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"middletier/internal/credential"
	"middletier/internal/todo"
)

func TestUsersSeeTheirOwnItemsAndTheDaemonAll(t *testing.T) {
	w := newWorld(t)
	withTodo(t, w)
	items := func(path, token string) []todo.Item {
		t.Helper()
		r := w.call("GET", path, token, "")
		var items []todo.Item
		if err := json.Unmarshal([]byte(r.body), &items); err != nil || r.StatusCode != 200 {
			t.Fatalf("GET %s: got %d %s, want 200 and a list", path, r.StatusCode, r.body)
		}
		return items
	}
	if r := w.call("POST", "/api/todo/items", w.alice(), `{"title":"buy milk"}`); r.StatusCode != 201 {
		t.Fatalf("POST as Alice: got %d %s, want 201", r.StatusCode, r.body)
	}
	if got := items("/api/todo/items", w.alice()); len(got) != 1 || got[0].Title != "buy milk" || got[0].Name != "alice" {
		t.Errorf("list as Alice: got %v, want her item", got)
	}
	if got := items("/api/todo/items", w.bob()); len(got) != 0 {
		t.Errorf("list as Bob: got %v, want none", got)
	}
	if got := items("/app/todo/items", w.daemon()); len(got) != 1 || got[0].Name != "alice" {
		t.Errorf("list as the daemon: got %v, want Alice's item", got)
	}
}

func TestReturningUserCostsOneExchange(t *testing.T) {
	w := newWorld(t)
	alice := w.alice()
	for range 5 {
		if r := w.call("GET", "/api/todo/items", alice, ""); r.StatusCode != 200 {
			t.Fatalf("got %d %s, want 200", r.StatusCode, r.body)
		}
	}
	if got := w.exchanges(); got != 1 {
		t.Errorf("got %d exchanges for 5 calls, want 1", got)
	}
}

func TestCallsAtOnceByANewUserShareOneExchange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.alice()
	var wg sync.WaitGroup
	statuses := make(chan int, 300)
	for range cap(statuses) {
		wg.Go(func() { statuses <- w.call("GET", "/api/todo/items", alice, "").StatusCode })
	}
	wg.Wait()
	close(statuses)
	for status := range statuses {
		if status != 200 {
			t.Fatalf("got %d, want 200", status)
		}
	}
	if got := w.exchanges(); got != 1 {
		t.Errorf("got %d exchanges for %d calls at once, want 1", got, cap(statuses))
	}
}

// Each caller's calls arrive with that caller's own token, in whatever order they
// are made.
func TestTokensOfUsersNeverMix(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	tokens := map[string]string{"alice": w.alice(), "bob": w.bob()}
	for name, token := range tokens {
		for i := range 40 {
			wg.Go(func() { w.call("GET", fmt.Sprintf("/api/todo/%s/%d", name, i), token, "") })
		}
	}
	wg.Wait()
	if got := len(w.api.seen()); got != 80 {
		t.Fatalf("the API got %d requests, want 80", got)
	}
	for _, r := range w.api.seen() {
		who := strings.Split(r.URL.Path, "/")[1]
		claims := claimsOf(t, r)
		if got := claims["name"]; got != who {
			t.Errorf("%s: the token is %v's", r.URL.Path, got)
		}
		if got := claims["aud"]; got != demoToDo {
			t.Errorf("%s: aud is %v, want the API's", r.URL.Path, got)
		}
	}
	if got := w.exchanges(); got != 2 {
		t.Errorf("got %d exchanges for two users, want 2", got)
	}
}

func TestAppCallsUseTheAppsOwnToken(t *testing.T) {
	w := newWorld(t)
	for i := range 2 {
		if r := w.call("GET", "/app/todo/items", w.daemon(), ""); r.StatusCode != 200 {
			t.Fatalf("got %d %s, want 200", r.StatusCode, r.body)
		}
		if obo, cc := w.idp.Count("on_behalf_of"), w.idp.Count("client_credentials"); obo != 0 || cc != 1 {
			t.Errorf("after call %d: %d on-behalf-of and %d client-credentials requests, want 0 and 1", i+1, obo, cc)
		}
	}
	if got := claimsOf(t, w.api.last(t))["idtyp"]; got != "app" {
		t.Errorf("idtyp of the token sent is %v, want app", got)
	}
}

func TestTokenRequestIsOnBehalfOfTheCaller(t *testing.T) {
	w := newWorld(t, func(f *file) {
		api := f.DownstreamAPIs["todo"]
		api.Scopes = []string{"api://todo/ToDoList.Read", "api://todo/ToDoList.ReadWrite"}
		f.DownstreamAPIs["todo"] = api
	})
	alice := w.alice()
	w.call("GET", "/api/todo/items", alice, "")
	var form map[string][]string
	for _, r := range w.idp.Requests() {
		if r.Flow == "on_behalf_of" {
			form = r.Form
		}
	}
	for name, want := range map[string]string{
		"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "requested_token_use": "on_behalf_of",
		"assertion": alice, "client_id": demoMiddleTier,
	} {
		if got := strings.Join(form[name], "|"); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for _, want := range w.file.DownstreamAPIs["todo"].Scopes {
		if got := strings.Join(form["scope"], "|"); !strings.Contains(" "+got+" ", " "+want+" ") {
			t.Errorf("scope: got %q, want %q in it", got, want)
		}
	}
}

// A certificate proves who we are as well as a secret does.
func TestCertificateCredential(t *testing.T) {
	certificate, path := newCertificate(t)
	directory := testDirectory()
	directory.Apps[0].Secrets, directory.Apps[0].Certificates = nil, certificate
	w := newStoppedWorldOf(t, directory, func(f *file) {
		f.AzureAd.ClientCredentials = []credential.Config{{SourceType: "Path", CertificateDiskPath: path}}
	})
	p := w.startReady()
	if r := w.call("GET", "/api/todo/items", w.alice(), ""); r.StatusCode != 200 {
		t.Errorf("user's call: got %d %s, want 200", r.StatusCode, r.body)
	}
	if r := w.call("GET", "/app/todo/items", w.daemon(), ""); r.StatusCode != 200 {
		t.Errorf("app's call: got %d %s, want 200", r.StatusCode, r.body)
	}
	scraped := p.scrape(t)
	expiry := strconv.FormatFloat(float64(certificate[0].NotAfter.Unix()), 'e', -1, 64)
	if want := "middletier_credential_expiry_timestamp_seconds " + expiry; !strings.Contains(scraped, want) {
		t.Errorf("metrics: got\n%swant %q in it", scraped, want)
	}
}

func TestDownstreamGetsOnlyTheExchangedToken(t *testing.T) {
	w := newWorld(t)
	alice := w.alice()
	req, err := http.NewRequest("GET", w.url+"/api/todo/items?access_token=of-the-query", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Authorization": "bEaReR " + alice, "Cookie": "session=1", "X-MS-TOKEN-AAD-ACCESS-TOKEN": alice,
		"X-MS-CLIENT-PRINCIPAL-ID": "mallory", "X_Ms_Client_Principal_Name": "mallory", "Proxy-Authorization": "Basic x",
		"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Host": "evil.example", "Forwarded": "for=6.6.6.6",
		"X-Kept": "yes", "Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	} {
		req.Header.Set(name, value)
	}
	if r := w.do(req); r.StatusCode != 200 {
		t.Fatalf("got %d %s, want 200", r.StatusCode, r.body)
	}
	got := w.api.last(t)
	if values := got.Header.Values("Authorization"); len(values) != 1 || strings.Contains(values[0], alice) {
		t.Errorf("Authorization: got %d values, want one without the caller's token", len(values))
	}
	if claims := claimsOf(t, got); claims["name"] != "alice" || claims["aud"] != demoToDo || claims["azp"] != demoMiddleTier {
		t.Errorf("the token sent is for aud %v, azp %v, of %v", claims["aud"], claims["azp"], claims["name"])
	}
	for _, name := range []string{
		"Cookie", "X-Ms-Token-Aad-Access-Token", "X-Ms-Client-Principal-Id", "X_Ms_Client_Principal_Name", "Proxy-Authorization",
	} {
		if value, present := got.Header[name]; present {
			t.Errorf("%s reached the API: %q", name, value)
		}
	}
	for name, want := range map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": strings.TrimPrefix(w.url, "http://"), "X-Forwarded-Proto": "http",
		"X-Kept": "yes", "Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	} {
		if got := got.Header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
