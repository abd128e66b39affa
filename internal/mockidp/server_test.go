package mockidp_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"middletier/internal/mockidp"
)

func TestMetadata(t *testing.T) {
	k := start(t)
	for path, want := range map[string]string{
		"/" + contoso + "/v2.0": k.URL() + "/" + contoso + "/v2.0",
		"/contoso.example/v2.0": k.URL() + "/" + contoso + "/v2.0",
		"/" + contoso:           k.URL() + "/" + contoso + "/",
		"/common/v2.0":          k.URL() + "/{tenantid}/v2.0",
		"/organizations":        k.URL() + "/{tenantid}/",
	} {
		document := k.get(path + "/.well-known/openid-configuration")
		if document["issuer"] != want {
			t.Errorf("issuer of %s: got %v, want %s", path, document["issuer"], want)
		}
		jwks, _ := document["jwks_uri"].(string)
		keys := k.get(strings.TrimPrefix(jwks, k.URL()))["keys"].([]any)
		key := keys[0].(map[string]any)
		suffix := "/"
		if strings.HasSuffix(path, "/v2.0") {
			suffix = "/v2.0"
		}
		if len(keys) != 1 || key["kid"] != k.KeyID() || key["x5t"] != k.KeyID() || key["issuer"] != k.URL()+"/{tenantid}"+suffix ||
			key["e"] != "AQAB" {
			t.Errorf("keys of %s: got %v", path, keys)
		}
	}
	if got := k.Count("metadata"); got != 5 {
		t.Errorf("metadata requests: got %d, want 5", got)
	}
}

func TestUnknownTenantHasNoMetadata(t *testing.T) {
	k := start(t)
	for _, path := range []string{
		"/nobody/v2.0/.well-known/openid-configuration", "/consumers/.well-known/openid-configuration", "/nobody/discovery/v2.0/keys",
	} {
		status, body := k.do("GET", path, "", "")
		if status != http.StatusBadRequest || !strings.Contains(string(body), `"invalid_tenant"`) ||
			!strings.Contains(string(body), "AADSTS90002") {
			t.Errorf("GET %s: got %d %s, want 400 invalid_tenant", path, status, body)
		}
	}
}

func TestInstanceDiscovery(t *testing.T) {
	k := start(t)
	query := func(endpoint string) string {
		return "/common/discovery/instance?api-version=1.1&authorization_endpoint=" + url.QueryEscape(endpoint)
	}
	document := k.get(query(k.URL() + "/" + contoso + "/oauth2/v2.0/authorize"))
	if got, want := document["tenant_discovery_endpoint"], k.URL()+"/"+contoso+"/v2.0/.well-known/openid-configuration"; got != want {
		t.Errorf("tenant_discovery_endpoint: got %v, want %s", got, want)
	}
	status, body := k.do("GET", query("https://elsewhere/common/oauth2/v2.0/authorize"), "", "")
	if status != http.StatusBadRequest || !strings.Contains(string(body), `"invalid_instance"`) {
		t.Errorf("another host: got %d %s, want 400 invalid_instance", status, body)
	}
}

func TestOutage(t *testing.T) {
	k := start(t)
	path := "/" + contoso + "/discovery/v2.0/keys"
	before := k.get(path)
	k.Stop()
	if response, err := k.client.Get(k.URL() + path); err == nil {
		response.Body.Close()
		t.Fatalf("GET during an outage: got %d, want no answer", response.StatusCode)
	}
	if err := k.Restart(); err != nil {
		t.Fatalf("Restart: %v", err)
	}
	if after := k.get(path); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("keys after an outage: got %v, want %v", after, before)
	}
	if k.Restart() == nil || k.Start("127.0.0.1:0") == nil {
		t.Error("a running server started once more")
	}
}

func TestOutageEndsConnectionsInUse(t *testing.T) {
	k := start(t)
	k.AddFault(mockidp.Fault{Flow: "keys", Delay: time.Hour})
	failed := make(chan error)
	go func() {
		response, err := k.client.Get(k.URL() + "/" + contoso + "/discovery/keys")
		if err == nil {
			response.Body.Close()
		}
		failed <- err
	}()
	waitFor(t, func() bool { return k.Count("keys") == 1 })
	k.Stop()
	if err := <-failed; err == nil {
		t.Error("a request in flight was answered during an outage")
	}
}

// waitFor polls until the condition holds.
func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	timeout := time.After(10 * time.Second)
	for !condition() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatal("waited 10 s in vain")
		}
	}
}

func TestStartOnAllInterfacesIsReachableByName(t *testing.T) {
	server, err := mockidp.New(testDirectory())
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(":0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	if host := strings.TrimPrefix(server.URL(), "https://"); !strings.HasPrefix(host, "localhost:") {
		t.Errorf("URL: got %s, want localhost", server.URL())
	}
	if block, _ := pem.Decode(server.CAPEM()); block == nil || block.Type != "CERTIFICATE" {
		t.Errorf("CAPEM: got %s", server.CAPEM())
	}
}

// Where clients know the platform by another name, as in a container network,
// its issuers carry that name and its certificate has every one.
func TestStartUnderOtherNames(t *testing.T) {
	server, err := mockidp.New(testDirectory())
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start("127.0.0.1:0", "mock", "login.example"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	_, address, _ := strings.Cut(server.URL(), "https://mock:")
	for _, name := range []string{"mock", "login.example", "127.0.0.1", "localhost"} {
		conn, err := tls.Dial("tcp", "127.0.0.1:"+address, &tls.Config{RootCAs: server.CertPool(), ServerName: name})
		if err != nil {
			t.Errorf("as %s: %v", name, err)
			continue
		}
		_ = conn.Close() // nothing was sent
	}
}

// Libraries that ask Microsoft about hosts they do not know take one below ciamlogin.com as it
// is, and name its tenant SUB.onmicrosoft.com.
func TestStartAsExternalDirectory(t *testing.T) {
	server, err := mockidp.New(testDirectory())
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start("127.0.0.1:0", "Contoso.ciamlogin.com"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	for path, want := range map[string]int{
		"/contoso.onmicrosoft.com": 200, "/Contoso.OnMicrosoft.com": 200, "/fabrikam.onmicrosoft.com": 400, "/fabrikam.example": 200,
	} {
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, httptest.NewRequest("GET", path+"/v2.0/.well-known/openid-configuration", nil))
		if recorder.Code != want || want == 200 && path != "/fabrikam.example" &&
			!strings.Contains(recorder.Body.String(), "/"+contoso+"/oauth2/v2.0/token") {
			t.Errorf("metadata of %s: got %d %s, want %d and the first tenant's", path, recorder.Code, recorder.Body, want)
		}
	}
}

// Every answer has an id, and that of the request if the client asks for it.
func TestAnswersCarryRequestIDs(t *testing.T) {
	k := start(t)
	k.AddFault(mockidp.Fault{Flow: "keys", Status: 503})
	ids := map[string]bool{}
	for _, path := range []string{
		"/common/v2.0/.well-known/openid-configuration", "/common/discovery/v2.0/keys", "/nothing", "/common/oauth2/deviceauth",
		"/" + contoso + "/oauth2/v2.0/token", "/" + contoso + "/oauth2/v2.0/authorize",
	} {
		for _, asked := range []string{"true", "false"} {
			request, _ := http.NewRequest("GET", k.URL()+path, nil)
			request.Header.Set("client-request-id", aliceID)
			request.Header.Set("return-client-request-id", asked)
			response, err := k.client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			want := map[string]string{"true": aliceID}[asked]
			if got := response.Header.Get("client-request-id"); got != want {
				t.Errorf("%s, asked %s: got client-request-id %q, want %q", path, asked, got, want)
			}
			ids[response.Header.Get("x-ms-request-id")] = true
		}
	}
	if len(ids) != 12 || ids[""] {
		t.Errorf("got the ids %v, want 12", ids)
	}
	request, _ := http.NewRequest("GET", k.URL()+"/nothing", nil)
	request.Header.Set("client-request-id", "none")
	request.Header.Set("return-client-request-id", "true")
	response, err := k.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if got := response.Header.Get("client-request-id"); got != "" {
		t.Errorf("an id that is no GUID: got %q, want none back", got)
	}
}

func TestHandlerWithoutListener(t *testing.T) {
	server, err := mockidp.New(testDirectory())
	if err != nil {
		t.Fatal(err)
	}
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, httptest.NewRequest("GET", "/common/v2.0/.well-known/openid-configuration", nil))
	if recorder.Code != http.StatusOK || !strings.Contains(recorder.Body.String(), "https://localhost/{tenantid}/v2.0") {
		t.Errorf("metadata: got %d %s", recorder.Code, recorder.Body)
	}
}

func TestRotateKeys(t *testing.T) {
	k := start(t)
	first, old := k.KeyID(), k.obo()
	k.RotateKeys(true)
	if k.KeyID() == first {
		t.Fatal("the key id is the same after a rotation")
	}
	if keys := k.get("/common/discovery/v2.0/keys")["keys"].([]any); len(keys) != 2 {
		t.Errorf("keys after an overlapping rotation: got %d, want 2", len(keys))
	}
	if status, body := k.post(contoso, old); status != http.StatusOK {
		t.Errorf("assertion of a key that is still published: got %d %v, want 200", status, body)
	}
	k.RotateKeys(false)
	if keys := k.get("/common/discovery/v2.0/keys")["keys"].([]any); len(keys) != 1 {
		t.Errorf("keys after a rotation: got %d, want 1", len(keys))
	}
	k.wantRefusals([]refusalCase{{name: "assertion of a withdrawn key", form: old, code: "invalid_grant", number: 50013}})
	if status, body := k.post(contoso, k.obo()); status != http.StatusOK {
		t.Errorf("assertion of the new key: got %d %v, want 200", status, body)
	}
}

func TestFaultAnswersInEntrasWords(t *testing.T) {
	k := start(t)
	k.AddFault(mockidp.Fault{
		Flow: "on_behalf_of", Times: 1, Error: "interaction_required", Suberror: "basic_action",
		Claims: `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`, Description: "MFA.", ErrorCodes: []int{50076},
	})
	if status, body := k.post(contoso, k.daemon()); status != http.StatusOK {
		t.Errorf("another flow: got %d %v, want 200", status, body)
	}
	status, body := k.post(contoso, k.obo())
	if status != http.StatusBadRequest || body["error"] != "interaction_required" || body["suberror"] != "basic_action" ||
		!strings.Contains(fmt.Sprint(body["claims"]), "acrs") ||
		!strings.HasPrefix(fmt.Sprint(body["error_description"]), "AADSTS50076: MFA. Trace ID: ") {
		t.Errorf("faulty exchange: got %d %v", status, body)
	}
	if status, body := k.post(contoso, k.obo()); status != http.StatusOK {
		t.Errorf("after the fault's only time: got %d %v, want 200", status, body)
	}
	last := k.Requests()[1]
	if last.Status != http.StatusBadRequest || last.Error != "interaction_required" || fmt.Sprint(last.ErrorCodes) != "[50076]" {
		t.Errorf("record: got %+v", last)
	}
}

func TestFaultThrottlesAndBreaks(t *testing.T) {
	k := start(t)
	k.AddFault(mockidp.Fault{Times: 1, Status: http.StatusTooManyRequests, Header: map[string]string{"Retry-After": "7"}})
	k.AddFault(mockidp.Fault{Times: 1, Body: `{"broken":`})
	k.AddFault(mockidp.Fault{Drop: true})
	k.AddFault(mockidp.Fault{Flow: "keys", Status: http.StatusServiceUnavailable})
	address := k.URL() + "/" + contoso + "/oauth2/v2.0/token"
	throttled, err := k.client.PostForm(address, k.daemon())
	if err != nil {
		t.Fatal(err)
	}
	throttled.Body.Close()
	if throttled.StatusCode != http.StatusTooManyRequests || throttled.Header.Get("Retry-After") != "7" {
		t.Errorf("throttled: got %d %v", throttled.StatusCode, throttled.Header)
	}
	path := strings.TrimPrefix(address, k.URL())
	if status, body := k.do("POST", path, "application/x-www-form-urlencoded", k.daemon().Encode()); status != 200 ||
		string(body) != `{"broken":` {
		t.Errorf("broken: got %d %s", status, body)
	}
	if dropped, err := k.client.PostForm(address, k.daemon()); err == nil {
		dropped.Body.Close()
		t.Errorf("dropped: got %d, want no answer", dropped.StatusCode)
	}
	if status, _ := k.do("GET", "/common/discovery/keys", "", ""); status != http.StatusServiceUnavailable {
		t.Errorf("keys: got %d, want 503", status)
	}
	k.ClearFaults()
	if status, body := k.post(contoso, k.daemon()); status != http.StatusOK {
		t.Errorf("after ClearFaults: got %d %v, want 200", status, body)
	}
}

// A fault that is removed leaves the others.
func TestFaultIsRemovedAlone(t *testing.T) {
	k := start(t)
	removeFirst := k.AddFault(mockidp.Fault{Error: "first"})
	removeSecond := k.AddFault(mockidp.Fault{Error: "second", Times: 1})
	removeFirst()
	if _, body := k.post(contoso, k.daemon()); body["error"] != "second" {
		t.Errorf("without the first: got %v, want the second", body)
	}
	removeSecond() // it had its time
	removeFirst()
	if status, body := k.post(contoso, k.daemon()); status != http.StatusOK {
		t.Errorf("without both: got %d %v, want 200", status, body)
	}
}

func TestFaultDelaysWhileTheClientWaits(t *testing.T) {
	k := start(t)
	k.AddFault(mockidp.Fault{Flow: "metadata", Times: 1, Delay: 20 * time.Millisecond})
	begun := time.Now()
	k.get("/common/v2.0/.well-known/openid-configuration")
	if took := time.Since(begun); took < 20*time.Millisecond {
		t.Errorf("a delayed answer took %v, want 20 ms or more", took)
	}
	k.AddFault(mockidp.Fault{Flow: "metadata", Delay: time.Hour})
	ctx, leave := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		request, _ := http.NewRequestWithContext(ctx, "GET", k.URL()+"/common/v2.0/.well-known/openid-configuration", nil)
		response, err := k.client.Do(request)
		if err == nil {
			response.Body.Close()
		}
		failed <- err
	}()
	waitFor(t, func() bool { return k.Count("metadata") == 2 })
	leave()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("client that leaves: got %v", err)
	}
}

// watcher calls look when an answer begins.
type watcher struct {
	http.ResponseWriter
	look func()
}

func (w watcher) WriteHeader(status int) {
	w.look()
	w.ResponseWriter.WriteHeader(status)
}

func TestOutcomeIsRecordedBeforeItIsSent(t *testing.T) {
	k := start(t)
	recorded := 0
	look := func() { recorded = k.Requests()[0].Status }
	k.ServeHTTP(watcher{httptest.NewRecorder(), look}, httptest.NewRequest("GET", "/common/discovery/keys", nil))
	if recorded != http.StatusOK {
		t.Errorf("status on record when the answer begins: got %d, want 200", recorded)
	}
}

func TestJournalIsBounded(t *testing.T) {
	k := start(t)
	request := httptest.NewRequest("GET", "/nothing", nil)
	for range 10_005 {
		k.ServeHTTP(httptest.NewRecorder(), request)
	}
	if got := len(k.Requests()); got != 10_000 {
		t.Errorf("requests held: got %d, want 10000", got)
	}
	if got := k.Count(""); got != 10_005 {
		t.Errorf("requests counted: got %d, want 10005", got)
	}
	k.ResetRequests()
	if len(k.Requests()) != 0 || k.Count("") != 0 {
		t.Error("ResetRequests left something")
	}
}

// A web page of any origin can make a browser post large forms, over and over.
func TestLargeRequestsDoNotFillTheMemory(t *testing.T) {
	k := start(t)
	u := k.user()
	for range 100 {
		u.send("POST", "/"+contoso+"/oauth2/v2.0/authorize", form("state", strings.Repeat("s", 1_000_000)), "Origin", "https://evil.example")
	}
	held, requests := 0, k.Requests()
	for _, request := range requests {
		held += len(request.Form.Get("state"))
	}
	if held > 64<<20 || len(requests) < 60 {
		t.Errorf("got %d requests with %d bytes, want the last ones, with 64 MiB at the most", len(requests), held)
	}
	if got := k.Count("authorize"); got != 100 {
		t.Errorf("requests counted: got %d, want 100", got)
	}
	k.ResetRequests()
	u.send("POST", "/"+contoso+"/oauth2/v2.0/authorize", form("state", "s"))
	if got := len(k.Requests()); got != 1 {
		t.Errorf("after a reset: got %d requests, want 1", got)
	}
	for _, name := range []string{"scope", "claims"} {
		begin := change(form("client_id", nativeID, "scope", "openid"), []string{name, strings.Repeat(" ", 20_000) + "openid"})
		if got := u.send("POST", "/"+contoso+"/oauth2/v2.0/devicecode", begin); !strings.Contains(got.body, "AADSTS9000411") {
			t.Errorf("device code with 20 kB of %s: got %d %.200s, want AADSTS9000411", name, got.status, got.body)
		}
	}
}

func TestManyClientsAtOnce(t *testing.T) {
	k := start(t)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 5 {
				response, err := k.client.PostForm(k.URL()+"/"+contoso+"/oauth2/v2.0/token", k.obo())
				if err != nil || response.StatusCode != http.StatusOK {
					t.Errorf("on behalf of: got %v %v, want 200", response, err)
					return
				}
				response.Body.Close()
			}
		})
	}
	clients.Go(func() { k.RotateKeys(true) })
	clients.Go(func() { k.AddFault(mockidp.Fault{Flow: "keys", Status: 500}); k.ClearFaults() })
	clients.Go(func() { k.Requests(); k.Count("keys") })
	clients.Wait()
	if got := k.Count("on_behalf_of"); got != 40 {
		t.Errorf("exchanges: got %d, want 40", got)
	}
}

func TestStartRefusesATakenAddress(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	server, err := mockidp.New(testDirectory())
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(listener.Addr().String()); err == nil {
		server.Close()
		t.Error("Start on a taken address: got no error")
	}
}
