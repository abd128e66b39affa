package main

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// multiTenant makes the service one of many tenants, of which some are allowed.
func multiTenant(tenantID string, allowed ...string) func(*file) {
	return func(f *file) {
		f.AzureAd.TenantID, f.AzureAd.AllowedTenants = tenantID, allowed
		d := f.DownstreamAPIs["todo"]
		d.Tenant = demoTenant
		f.DownstreamAPIs["todo"] = d
	}
}

func (w *world) mallory() string {
	return w.idp.UserToken("mallory", "app", "middletier", "ToDoList.ReadWrite")
}

// tenantOf returns the tid of the token that the API got last.
func (w *world) tenantOf() string {
	w.t.Helper()
	token := strings.TrimPrefix(w.api.last(w.t).Header.Get("Authorization"), "Bearer ")
	parts := strings.Split(token, ".")
	claims, err := base64.RawURLEncoding.DecodeString(parts[1%len(parts)])
	if err != nil {
		w.t.Fatal(err)
	}
	var read struct{ Tid string }
	if err := json.Unmarshal(claims, &read); err != nil {
		w.t.Fatal(err)
	}
	return read.Tid
}

func TestUsersOfSeveralTenantsAreServedEachInTheirOwn(t *testing.T) {
	for _, tenantID := range []string{"organizations", "common"} {
		t.Run(tenantID, func(t *testing.T) {
			w := newWorld(t, multiTenant(tenantID, demoTenant, fabrikam))
			for token, tenant := range map[string]string{w.alice(): demoTenant, w.mallory(): fabrikam} {
				if r := w.call("GET", "/api/todo/items", token, ""); r.StatusCode != http.StatusOK {
					t.Fatalf("a user of %s: got %d %s", tenant, r.StatusCode, r.body)
				}
				if got := w.tenantOf(); got != tenant {
					t.Errorf("the API got a token of %s, want one of %s", got, tenant)
				}
			}
			if r := w.call("GET", "/app/todo/items", w.daemon(), ""); r.StatusCode != http.StatusOK || w.tenantOf() != demoTenant {
				t.Errorf("a daemon: got %d %s, and the API a token of %s", r.StatusCode, r.body, w.tenantOf())
			}
		})
	}
}

func TestTenantThatIsNotAllowedIsToldSoOnceItsTokenVerified(t *testing.T) {
	w := newWorld(t, multiTenant("organizations", demoTenant))
	good := w.mallory()
	for range 2 {
		if r := w.call("GET", "/api/todo/items", good, ""); r.StatusCode != 403 || r.kind() != "tenant-not-allowed" ||
			r.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("got %d %s %q, want 403 tenant-not-allowed", r.StatusCode, r.body, r.Header.Get("WWW-Authenticate"))
		}
	}
	forged := good[:len(good)-8] + "AAAAAAAA"
	if r := w.call("GET", "/api/todo/items", forged, ""); r.StatusCode != 401 || r.kind() != "invalid-token" {
		t.Errorf("with a broken signature: got %d %s, want 401 invalid-token", r.StatusCode, r.body)
	}
	if n := w.exchanges(); n != 0 {
		t.Errorf("%d exchanges, want none", n)
	}
	if seen := w.api.seen(); len(seen) != 0 {
		t.Errorf("the API got %d requests, want none", len(seen))
	}
}

func TestCheckAndCallOfAMultiTenantService(t *testing.T) {
	w := newStoppedWorld(t, multiTenant("organizations", "*"))
	lines, err := w.check(w.transport())
	if err != nil || !strings.HasPrefix(lines["todo: app token"], "ok ") || !strings.HasPrefix(lines["clientCredentials[0]"], "ok ") {
		t.Errorf("check: got %v, %q", err, lines)
	}
	d := w.file.DownstreamAPIs["todo"]
	d.Tenant, d.Access = "", d.Access[:0]
	w.file.DownstreamAPIs["todo"] = d
	lines, err = w.check(w.transport())
	if err != nil || !strings.HasPrefix(lines["todo: app token"], "skipped tenant: must be set if") ||
		!strings.HasPrefix(lines["clientCredentials[0]"], "skipped loaded, but not tried: no scopes of one resource") {
		t.Errorf("check without a tenant for the API: got %v, %q", err, lines)
	}
	var out syncBuffer
	err = callCommand{Name: "todo", Path: "/items"}.call(t.Context(), w.file, w.transport(), http.DefaultTransport, streams{nil, &out, &out})
	if err == nil || !strings.HasPrefix(err.Error(), "downstreamApis.todo.tenant: must be set if") {
		t.Errorf("call without a tenant for the API: got %v", err)
	}
}
