package main

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"middletier/internal/credential"
)

// GET /config shows what is derived from other keys as if it had been written.
func TestConfigurationIsShownAsInForce(t *testing.T) {
	w := newStoppedWorld(t, func(f *file) {
		f.AzureAd.Audiences = nil
		own := f.DownstreamAPIs["todo"]
		own.Tenant, own.AppScopes, own.RequestTimeout = fabrikam, []string{"api://other/.default"}, 2*time.Minute
		f.DownstreamAPIs = map[string]downstreamAPI{"todo": f.DownstreamAPIs["todo"], "own": own}
		f.AzureAd.ClientCredentials = []credential.Config{{SourceType: "ClientSecret", ClientSecret: testSecret}}
	})
	type api struct {
		AppScopes      []string
		Tenant         string
		RequestTimeout string
	}
	var got struct {
		AzureAd struct {
			Audiences []string
			AppIDURI  string `json:"appIdUri"`
		}
		DownstreamAPIs map[string]api `json:"downstreamApis"`
	}
	r := w.ask("GET", w.admin(t)+"/config")
	if err := json.Unmarshal([]byte(r.body), &got); err != nil {
		t.Fatal(err)
	}
	want := got
	want.AzureAd.Audiences, want.AzureAd.AppIDURI = []string{demoMiddleTier, "api://" + demoMiddleTier}, "api://"+demoMiddleTier
	want.DownstreamAPIs = map[string]api{
		"todo": {[]string{"api://todo/.default"}, demoTenant, "30s"},
		"own":  {[]string{"api://other/.default"}, fabrikam, "2m0s"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
