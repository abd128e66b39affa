package door

import "strings"

// MetadataPath is the well-known path of protected resource metadata (RFC 9728, section 3).
const MetadataPath = "/.well-known/oauth-protected-resource"

// MetadataURL returns the URL of the metadata of the resource at url, which has no slash at
// its end: the well-known path comes between host and path (RFC 9728, section 3.1).
func MetadataURL(url string) string {
	path := URLPath(url)
	return strings.TrimSuffix(url, path) + MetadataPath + path
}

// URLPath returns the path of a URL that has neither query nor fragment, as it is
// written.
func URLPath(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[i:]
	}
	return ""
}
