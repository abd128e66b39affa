package main

import (
	"fmt"
	"maps"
	"slices"
)

// warn reports probable mistakes, which do not keep the service from starting.
func (f file) warn(report report) {
	f.apiConfig().CORS.Warn(under("server.cors", report))
	if len(f.DownstreamAPIs) == 0 {
		report("downstreamApis", "there is no API that requests could be forwarded to")
	}
	for _, name := range slices.Sorted(maps.Keys(f.DownstreamAPIs)) {
		d, section := f.DownstreamAPIs[name], under("downstreamApis."+name, report)
		if len(d.Access) == 0 {
			section("access", "an API without access rules refuses every request")
		}
		if total := f.requestTimeout(d); d.Timeout > total {
			section("timeout", fmt.Sprintf("%s is longer than requestTimeout, which ends a request after %s", d.Timeout, total))
		}
	}
}
