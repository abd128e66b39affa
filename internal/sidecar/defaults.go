package sidecar

import (
	"fmt"
	"maps"
	"slices"
)

// Check reports every mistake in the defaults of calls, by the keys of an entry of the
// downstreamApis section. They are what a query may say, and nothing more.
func (a API) Check(report func(key, problem string)) {
	for _, setting := range []struct {
		key, value string
		set        func(*overrides, string) error
		problem    string
	}{
		{"httpMethod", a.HTTPMethod, (*overrides).setMethod, "must be an HTTP method, such as GET; TRACE and CONNECT are not sent"},
		{"acceptHeader", a.AcceptHeader, (*overrides).setAccept, "must be a list of media types, such as application/json"},
		{"contentType", a.ContentType, (*overrides).setContentType, "must be a media type, such as application/json"},
	} {
		if setting.value != "" && setting.set(&overrides{}, setting.value) != nil {
			report(setting.key, setting.problem)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.ExtraHeader)) {
		var o overrides
		switch err := o.setHeader(name, a.ExtraHeader[name]); {
		case err != nil:
			report("extraHeaderParameters", fmt.Sprintf("%q is not a header that can be sent; contentType sets Content-Type", name))
		case o.ignored != nil:
			report("extraHeaderParameters", fmt.Sprintf("%q is set by the service itself", name))
		}
	}
	if a.Client != nil {
		if _, _, err := a.Client.ParseRelative(a.RelativePath); err != nil {
			report("relativePath", "must be a path below baseUrl, percent-encoded where a URL needs it")
		}
	}
}
