//go:build slow

package main

import "testing"

// severalTenants are what azureAd can say of our tenant and others.
var severalTenants = map[string]func(*file){
	"organizations": multiTenant("organizations", demoTenant),
	"common":        multiTenant("common", demoTenant),
}

// notAllowed are good tokens where there are several tenants, though of one that
// is not allowed.
var notAllowed = []string{"tid and iss another tenant", "v1.0, tid and iss another tenant"}

func TestSlowHostileTokensAreRefusedInSeveralTenants(t *testing.T) {
	for tenancy, configure := range severalTenants {
		t.Run(tenancy, func(t *testing.T) { hostileTokensAreRefused(t, configure, notAllowed) })
	}
}

func TestSlowGoodTokensOfEveryKindAreServedInSeveralTenants(t *testing.T) {
	for tenancy, configure := range severalTenants {
		t.Run(tenancy, func(t *testing.T) { goodTokensOfEveryKindAreServed(t, configure) })
	}
}
